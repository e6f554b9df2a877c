"""What refusals advise: in the window's words, and as changes that lead to a legal choice."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.models.method_fields import FIELDS
from app.models.remedies import fix_of
from app.models.window_words import OPTIONS, in_window, report_in_window
from core.errors import ErrorReport
from core.jobs import MethodOptions
from core.methods.table import EXPORT, GROUPS, METHOD, ROUNDED, Choice, refusal
from tests.core.test_errors import leaves, made

# Fields that have a place of their own in the pane of methods.
ELSEWHERE = {"method", "export", "beside", "bits", "group", "rules", "skip", "text", "imatrix"}
CHOICES = [
    Choice(*values)
    for values in itertools.product(METHOD, EXPORT, (1, 4, 5, 8), (*GROUPS, 48), (True, False), ("", *ROUNDED))
]


# Of the command line: an option, or a command between backticks.
COMMANDED = re.compile(r"(?<![\w-])--[a-z]|main\.py|`(plan|search|download|imatrix|token|inspect)\b")
# Where strings with dashes are no words to a user: style sheets, other programs' arguments.
NO_WORDS = {"report/page.py", "report/report.py", "report/svg.py", "estimate/machine.py", "sources/converter.py"}
CORE = Path(__file__).parents[2] / "core"


def mended(choice: Choice, changes: dict) -> Choice:
    known = {name: value for name, value in changes.items() if hasattr(choice, name)}
    if "asymmetric" in changes:
        known["symmetric"] = not changes["asymmetric"]
    return replace(choice, **known)


def steps_to_legal(choice: Choice) -> int:
    """How often the button has to be pressed until the choice can be made."""
    for step in range(20):
        found = refusal(choice)
        if found is None:
            return step
        choice = mended(choice, fix_of(found.remedy).changes)
    return 20


def test_every_refusal_has_a_button_and_they_lead_to_a_legal_choice(qapp):
    seen = set()
    for choice in CHOICES:
        found = refusal(choice)
        if found is None or (found.what, found.remedy) in seen:
            continue
        seen.add((found.what, found.remedy))
        fix = fix_of(found.remedy)
        assert fix is not None, found
        assert steps_to_legal(choice) < 20, choice
        assert "--" not in fix.words
        assert "--" not in in_window(f"{found.what} {found.why} {found.remedy}")
    assert len(seen) > 20


@pytest.mark.parametrize(
    ("remedy", "words", "changes"),
    [
        ("Use --group channel", "Use group channel", {"group": -1}),
        ("Use --bits 8 --group tensor", "Use 8 bits group tensor", {"bits": 8, "group": 0}),
        ("Leave --text out", "Leave calibration text out", {"text": ()}),
        ("Use --prestep smoothquant, or leave it out", "Use pre-step SmoothQuant", {"prestep": "smoothquant"}),
        ("Add --activations static", "Add activations static", {"activations": "static"}),
    ],
)
def test_remedies_in_words_and_changes(qapp, remedy, words, changes):
    fix = fix_of(remedy)
    assert (fix.words, fix.changes) == (words, changes)


@pytest.mark.parametrize("remedy", ["Check the path", "Use --range LOW:HIGH", "Leave --group and --asymmetric out", ""])
def test_what_no_button_can_do_is_left_to_words(qapp, remedy):
    fix = fix_of(remedy)
    assert fix is None or set(fix.changes) <= set(MethodOptions.model_fields)


def test_every_option_of_methods_has_a_place_in_the_window():
    assert {field.name for field in FIELDS} | ELSEWHERE == set(MethodOptions.model_fields)
    options = {name for method in METHOD.values() for name in method.options}
    assert options <= {field.name for field in FIELDS} | ELSEWHERE


def test_names_have_the_capitals_of_their_titles(qapp):
    assert in_window("awq cannot be symmetric: AWQ has none") == "AWQ cannot be symmetric: AWQ has none"
    assert in_window("Use --export gptq, not nf4") == "Use form GPTQ, not NF4"
    assert in_window("int has its own") == "int has its own"


def strings_in(tree: ast.AST) -> Iterator[str]:
    """Those of a module but for docstrings, with a letter for what is filled in."""
    docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - docs
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs | inside:
            yield node.value


def test_the_window_names_no_option_and_no_command(qapp):
    """Neither in errors, nor in anything else that the engine may say."""
    errors = [made(kind, words) for kind in leaves() for words in ("thing", "")]
    reports = [report_in_window(ErrorReport.of(error)) for error in errors]
    said = [words for report in reports for words in (report.what, report.why, report.remedy)]
    for path in CORE.rglob("*.py"):
        if path.relative_to(CORE).as_posix() not in NO_WORDS | {"errors.py"}:
            found = filter(COMMANDED.search, strings_in(ast.parse(path.read_text(encoding="utf-8"))))
            said += [in_window(words) for words in found if words not in OPTIONS]
    left = [words for words in said if COMMANDED.search(words)]
    assert left == []
    assert len(said) > 250


def test_the_device_is_called_as_in_settings(qapp):
    assert in_window("Use --device cpu") == "Choose the processor under “Compute on”"


def test_paths_stay_as_they_are(qapp):
    path = "/hub/models--owner--text/awq/model-nf4.gguf"
    assert in_window(f"{path} does not exist") == f"{path} does not exist"
    assert in_window(f"It is damaged ({path})") == f"It is damaged ({path})"

"""What refusals advise: in the window's words, and as changes that lead to a legal choice."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from app.models.method_fields import FIELDS
from app.models.remedies import fix_of, in_window
from core.jobs import MethodOptions
from core.methods.table import EXPORT, GROUPS, METHOD, ROUNDED, Choice, refusal

# Fields that have a place of their own in the pane of methods.
ELSEWHERE = {"method", "export", "beside", "bits", "group", "rules", "skip", "text", "imatrix"}
CHOICES = [
    Choice(*values)
    for values in itertools.product(METHOD, EXPORT, (1, 4, 5, 8), (*GROUPS, 48), (True, False), ("", *ROUNDED))
]


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

"""Words of errors in the window: where they name options and commands, the window names its fields, boxes and pages."""

from __future__ import annotations

import re
from dataclasses import replace

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

from core.errors import ErrorReport
from core.methods.table import FORM, METHOD

_T = QT_TRANSLATE_NOOP
# option: (field of MethodOptions or '', words with its value, words without one)
OPTIONS: dict[str, tuple[str, str, str]] = {
    "--method": ("method", _T("WindowWords", "method {0}"), _T("WindowWords", "method")),
    "--export": ("export", _T("WindowWords", "form {0}"), _T("WindowWords", "form")),
    "--bits": ("bits", _T("WindowWords", "{0} bits"), _T("WindowWords", "bits")),
    "--group": ("group", _T("WindowWords", "group {0}"), _T("WindowWords", "group")),
    "--range": ("range", _T("WindowWords", "range {0}"), _T("WindowWords", "range")),
    "--activations": ("activations", _T("WindowWords", "activations {0}"), _T("WindowWords", "8-bit activations")),
    "--activation-range": ("activation_range", "", _T("WindowWords", "range of activations")),
    "--prestep": ("prestep", _T("WindowWords", "pre-step {0}"), _T("WindowWords", "pre-step")),
    "--alpha": ("alpha", "", _T("WindowWords", "“Moved to weights”")),
    "--asymmetric": ("asymmetric", "", _T("WindowWords", "zero points")),
    "--restricted": ("restricted", "", _T("WindowWords", "“Leave the lowest integer out”")),
    "--double-quant": ("double_quant", "", _T("WindowWords", "scales in 8 bits")),
    "--imatrix": ("imatrix", "", _T("WindowWords", "importance matrix")),
    "--text": ("text", "", _T("WindowWords", "calibration text")),
    "--length": ("length", _T("WindowWords", "windows of {0} tokens"), _T("WindowWords", "tokens of each window")),
    "--act-order": ("act_order", "", _T("WindowWords", "“Columns”")),
    "--damp": ("damp", "", _T("WindowWords", "“Damping”")),
    "--sinks": ("sinks", "", _T("WindowWords", "“First position”")),
    "--asymmetric-target": ("target", "", _T("WindowWords", "“Original's outputs”")),
    "--passes": ("passes", "", _T("WindowWords", "“Passes of improvement”")),
    "--skip": ("skip", "", _T("WindowWords", "“Leave in 16 bits”")),
    "--rule": ("rules", "", _T("WindowWords", "rules")),
    "--context": ("", _T("WindowWords", "windows of {0} tokens"), _T("WindowWords", "tokens of each window")),
    "--tensor-type": ("", "", _T("WindowWords", "a type chosen for single tensors")),
    "--output-tensor-type": ("", "", _T("WindowWords", "“Output layer”")),
    "--token-embedding-type": ("", "", _T("WindowWords", "“Token embedding”")),
    "--pure": ("", "", _T("WindowWords", "“Every tensor in this type”")),
}
# Expressions for phrases in which more than the option's name is another, and what the window says; tried in order.
PHRASES: tuple[tuple[str, str], ...] = (
    ("listed by `python main.py quantize --help`", _T("WindowWords", "that the Quantize page offers")),
    ("`python main.py inspect` lists", _T("WindowWords", "the plan lists")),
    ("`plan` lists", _T("WindowWords", "the plan lists")),
    (r"as --converter, or in the settings", _T("WindowWords", "in Settings, under “llama.cpp folder”")),
    ("Leave out --strict", _T("WindowWords", "Untick “Fail where a type does not fit”")),
    ("Leave such layers in 16 bits with --skip", _T("WindowWords", "Name such layers under “Leave in 16 bits”")),
    ("Leave out --skip", _T("WindowWords", "Empty “Leave in 16 bits”")),
    (r"keep this tensor with --tensor-type \S+=(\w+)", _T("WindowWords", r"give it \1 in the plan")),
    (r"another type with --tensor-type \S+=(\w+)", _T("WindowWords", r"another type in the plan, such as \1")),
    ("leave the tensor out with --exclude-weights", _T("WindowWords", "name the tensor under “No importance for”")),
    (r"Add one of (.*) to --export", _T("WindowWords", r"Tick one of \1 as well")),
    ("Leave --restricted out", _T("WindowWords", "Untick “Leave the lowest integer out”")),
    (r"Leave (\S+) out of --export", _T("WindowWords", r"Untick \1")),
    ("make a GGUF file with --to", _T("WindowWords", "make a GGUF file")),
    ("Use --to with one of", _T("WindowWords", "Choose one of")),
    (r"Give one \(--imatrix FILE\), compute one with `imatrix`,", _T("WindowWords", "Choose one, have one computed,")),
    (r"\(--allow-requantize\)", _T("WindowWords", "(the box below the types)")),
    ("leave out --resume", _T("WindowWords", "choose Retry")),
    ("(Use --device cpu|Leave --device out)", _T("WindowWords", "Choose the processor under “Compute on”")),
    (r",? or (with )?`token --save`", ""),
    ("Choose files with --include PATTERN", _T("WindowWords", "Choose among its files")),
    (r"Choose one: `download` takes --include .*", _T("WindowWords", "Choose one of its files")),
    ("Leave it out with --include", _T("WindowWords", "Leave it out when you choose among the files")),
    (
        r"Download it first: main\.py download .*, or give --download",
        _T("WindowWords", "Download it on the Models page"),
    ),
    (r"Find it with `search`", _T("WindowWords", "Search for it on the Models page")),
    (r" \(`search` finds models\)", ""),
    ("the same command goes on", _T("WindowWords", "a retry goes on")),
    ("name it with --base OWNER/NAME", _T("WindowWords", "name it under “Made from”")),
    ("name it with --license", _T("WindowWords", "write it into the card")),
    # What an option is called in brackets, where the words before them say what it does.
    (r" \((?:[^()]*\s)?--[a-z][^()]*\)", ""),
)
# Paths of the Hub's cache have two dashes inside of names, and names of methods may be parts of paths.
_VALUED = re.compile(r"(?<![\w-])(--[a-z-]+) ([\w.-]*\w)")
_BARE = re.compile(r"(?<![\w-])--[a-z-]+")
# Names that are titles but for their capitals, which a title on a button or a card has.
_TITLES = {row.name: row.title for row in (*METHOD.values(), *FORM.values()) if row.title.lower() == row.name}
_NAMES = re.compile(rf"(?<![\w/.-])({'|'.join(map(re.escape, _TITLES))})(?![\w/-]|\.\w)")


def in_window(words: str) -> str:
    """An error's words with what the window calls options, methods and forms."""
    for phrase, instead in PHRASES:
        words = re.sub(phrase, _tr(instead), words)
    words = _NAMES.sub(lambda match: _TITLES[match[0]], _VALUED.sub(_valued, words))
    return _BARE.sub(lambda match: _tr(OPTIONS[match[0]][2]) if match[0] in OPTIONS else match[0], words)


def report_in_window(report: ErrorReport) -> ErrorReport:
    """A report as the window shows it; its details stay as they are."""
    return replace(report, **{name: in_window(getattr(report, name)) for name in ("what", "why", "remedy")})


def _valued(match: re.Match[str]) -> str:
    option, value = match[1], match[2]
    words = _tr(OPTIONS[option][1]) if option in OPTIONS else ""
    return words.format(value) if words else match[0]


def _tr(words: str) -> str:
    return QCoreApplication.translate("WindowWords", words) if words else ""

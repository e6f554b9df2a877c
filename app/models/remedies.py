"""What refusals of methods advise, said in the window's words and as a change of the choices.

They are written as options of the command line (`Use --bits 8 --group channel`), which the window has fields for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

from core.methods.table import FORM, GROUP_NAMES, METHOD

_T = QT_TRANSLATE_NOOP
# option: (field of MethodOptions, words with its value, words without one)
OPTIONS: dict[str, tuple[str, str, str]] = {
    "--method": ("method", _T("Remedies", "method {0}"), _T("Remedies", "method")),
    "--export": ("export", _T("Remedies", "form {0}"), _T("Remedies", "form")),
    "--bits": ("bits", _T("Remedies", "{0} bits"), _T("Remedies", "bits")),
    "--group": ("group", _T("Remedies", "group {0}"), _T("Remedies", "group")),
    "--range": ("range", _T("Remedies", "range {0}"), _T("Remedies", "range")),
    "--activations": ("activations", _T("Remedies", "activations {0}"), _T("Remedies", "8-bit activations")),
    "--prestep": ("prestep", _T("Remedies", "pre-step {0}"), _T("Remedies", "pre-step")),
    "--alpha": ("alpha", "", _T("Remedies", "what is moved to weights")),
    "--asymmetric": ("asymmetric", "", _T("Remedies", "zero points")),
    "--restricted": ("restricted", "", _T("Remedies", "leaving the lowest out")),
    "--double-quant": ("double_quant", "", _T("Remedies", "scales in 8 bits")),
    "--imatrix": ("imatrix", "", _T("Remedies", "importance matrix")),
    "--text": ("text", "", _T("Remedies", "calibration text")),
    "--length": ("length", _T("Remedies", "windows of {0} tokens"), _T("Remedies", "tokens of each window")),
    "--skip": ("skip", "", _T("Remedies", "Leave out")),
}
_VALUED = re.compile(r"(--[a-z-]+) ([\w.-]*\w)")
_BARE = re.compile(r"--[a-z-]+")
_USE = re.compile(r"(Use|Add) ((?:--[a-z-]+ [\w.-]+ ?)+)(?:,? ?or .*)?\.?")
_SWITCHED = re.compile(r"(?:(Add) (--[a-z-]+)|Leave (--[a-z-]+) out)\.?")
# Names that are titles but for their capitals, which a title on a button or a card has.
_TITLES = {row.name: row.title for row in (*METHOD.values(), *FORM.values()) if row.title.lower() == row.name}
_NAMES = re.compile(rf"\b({'|'.join(map(re.escape, _TITLES))})\b")
_NAMED_GROUPS = {word: number for number, word in GROUP_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Fix:
    """A change that a refusal advises. words: of a button. changes: fields of MethodOptions."""

    words: str
    changes: dict[str, Any]


def in_window(words: str) -> str:
    """A refusal's words with what the window calls options, methods and forms."""
    words = _NAMES.sub(lambda match: _TITLES[match[0]], _VALUED.sub(_valued, words))
    return _BARE.sub(lambda match: _tr(OPTIONS[match[0]][2]) if match[0] in OPTIONS else match[0], words)


def fix_of(remedy: str) -> Fix | None:
    """What a remedy would change, where it is one change or several that can be made here."""
    if match := _USE.fullmatch(remedy):
        pairs = re.findall(r"(--[a-z-]+) ([\w.-]+)", match[2])
        changes = {OPTIONS[option][0]: _value(option, value) for option, value in pairs if option in OPTIONS}
        return Fix(in_window(f"{match[1]} {match[2].strip()}"), changes) if len(changes) == len(pairs) else None
    match = _SWITCHED.fullmatch(remedy)
    option = (match[2] or match[3]) if match else ""
    if match is None or option not in OPTIONS:
        return None
    field = OPTIONS[option][0]
    empty: dict[str, Any] = {"text": (), "imatrix": "", "range": "", "activations": "", "prestep": "", "alpha": 0.5}
    return Fix(in_window(remedy.rstrip(".")), {field: True if match[1] else empty.get(field, False)})


def _valued(match: re.Match[str]) -> str:
    option, value = match[1], match[2]
    words = _tr(OPTIONS[option][1]) if option in OPTIONS else ""
    return words.format(value) if words else match[0]


def _value(option: str, value: str) -> Any:
    if option in ("--bits", "--length"):
        return int(value)
    if option == "--group":
        return _NAMED_GROUPS[value] if value in _NAMED_GROUPS else int(value)
    return value


def _tr(words: str) -> str:
    return QCoreApplication.translate("Remedies", words)

"""What refusals of methods advise, as a change of the choices.

They are written as options of the command line (`Use --bits 8 --group channel`), which the window has fields for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from app.models.window_words import OPTIONS, in_window
from core.methods.table import GROUP_NAMES

_USE = re.compile(r"(Use|Add) ((?:--[a-z-]+ [\w.-]+ ?)+)(?:,? ?or .*)?\.?")
_SWITCHED = re.compile(r"(?:(Add) (--[a-z-]+)|Leave (--[a-z-]+) out)\.?")
_NAMED_GROUPS = {word: number for number, word in GROUP_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Fix:
    """A change that a refusal advises. words: of a button. changes: fields of MethodOptions."""

    words: str
    changes: dict[str, Any]


def fix_of(remedy: str) -> Fix | None:
    """What a remedy would change, where it is one change or several that can be made here."""
    if match := _USE.fullmatch(remedy):
        pairs = re.findall(r"(--[a-z-]+) ([\w.-]+)", match[2])
        changes = {_field(option): _value(option, value) for option, value in pairs if _field(option)}
        return Fix(in_window(f"{match[1]} {match[2].strip()}"), changes) if len(changes) == len(pairs) else None
    match = _SWITCHED.fullmatch(remedy)
    field = _field(match[2] or match[3]) if match else ""
    if match is None or not field:
        return None
    empty: dict[str, Any] = {"text": (), "imatrix": "", "range": "", "activations": "", "prestep": "", "alpha": 0.5}
    return Fix(in_window(remedy.rstrip(".")), {field: True if match[1] else empty.get(field, False)})


def _field(option: str) -> str:
    return OPTIONS[option][0] if option in OPTIONS else ""


def _value(option: str, value: str) -> Any:
    if option in ("--bits", "--length"):
        return int(value)
    if option == "--group":
        return _NAMED_GROUPS[value] if value in _NAMED_GROUPS else int(value)
    return value

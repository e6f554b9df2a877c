"""What counts as a size or a number in a config.json, and how a wrong one is shown."""

from __future__ import annotations

import math
from typing import Any

MAX_SIZE = 1 << 31


def is_size(value: Any) -> bool:
    """Whether it is a positive whole number of a credible size."""
    return type(value) is int and 0 < value < MAX_SIZE


def fits(type_name: str, value: Any, zero: bool = False) -> bool:
    """Whether a hyperparameter is a positive number (or zero, where that is one) that its GGUF type can hold.

    Of a text or a list of switches, whether it is one.
    """
    if type_name == "STRING":
        return isinstance(value, str)
    if type_name == "ARRAY[BOOL]":
        return isinstance(value, list) and all(isinstance(item, bool) for item in value)
    if zero and type(value) in (int, float) and value == 0:
        return True
    return is_size(value) if type_name == "UINT32" else type(value) in (int, float) and 0 < value < math.inf


def short(value: Any) -> str:
    """A value as it can stand in a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""Which of the ways to compute the same fits a device: compiled for the processor, Triton's, or torch's own."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def fastest(device: str, compiled: Function, plain: Function) -> Function:
    """`compiled` for cpu, for cuda the twin of `plain` in the module triton_* beside its own, else `plain` itself."""
    if device == "cpu":
        return compiled
    if device == "cuda" and importlib.util.find_spec("triton") is not None:
        folder, _, name = plain.__module__.rpartition(".")
        found: Any = importlib.import_module(f"{folder}.triton_{name}")
        return getattr(found, plain.__name__)  # type: ignore[no-any-return]
    return plain

"""Whole searches as single kernels: on CUDA, Triton's version of a torch function where there is one that is proven.

Torch makes one pass over memory for every operation, hundreds of them for a search; a kernel of Triton reads its groups
once and keeps them close. Which is used is decided here: `fused` marks the functions of torch that have a twin of the
same name in a module of Triton, and takes the twin where the tensors are on CUDA, Triton can be imported, and its first
results, on some of what it is called with, are the torch function's to the bit. Where one of these fails (Triton
needs a C compiler, to name one thing), torch computes as everywhere else, and a log line says why.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
log = logging.getLogger(__name__)

# How many groups of the first call, from all over it, a kernel is compared with torch on before it is used.
PROVED_ON = 4096
# What a kernel of Triton runs on.
DEVICE = "cuda"


def fused(module: str, axis: int = 0, within: float = 0.0) -> Callable[[Function], Function]:
    """Marks a function of torch whose twin is in `module`; groups are its first argument's axis `axis`.

    Its other arguments are tensors with as many groups on the same axis, or constants; results are tensors. within:
    how much of a result the twin may differ by.
    """

    def mark(function: Function) -> Function:
        twin = _Twin(function, module, axis, within)

        @functools.wraps(function)
        def call(x: Tensor, *arguments: Any) -> Any:
            chosen = twin.chosen(x, arguments) if x.device.type == DEVICE and x.numel() else function
            return chosen(x, *arguments)

        return call  # type: ignore[return-value]  # of the same parameters

    return mark


class _Twin:
    """The two versions of one function, and for which constants Triton's is proven."""

    def __init__(self, function: Callable[..., Any], module: str, axis: int, within: float) -> None:
        """As in `fused`."""
        self.function = function
        self.module = module
        self.axis = axis
        self.within = within
        self.proven: dict[Any, Callable[..., Any]] = {}

    def chosen(self, x: Tensor, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """The version to call; the first call with other constants or another shape of groups is compared."""
        key = tuple("tensor" if isinstance(a, Tensor) else a for a in arguments), _others(x, self.axis)
        if key not in self.proven:
            self.proven[key] = self._proven(x, arguments)
        return self.proven[key]

    def _proven(self, x: Tensor, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        step = -(-x.shape[self.axis] // PROVED_ON)
        places = torch.arange(0, x.shape[self.axis], step, device=x.device)
        few = [a.index_select(self.axis, places) if isinstance(a, Tensor) else a for a in (x, *arguments)]
        name = self.function.__name__
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(self.module), name)
            same = alike(found(*few), self.function(*few), self.within)
        except Exception as problem:  # a missing library or compiler, or whatever a driver says: torch can do it
            log.info("%s runs in torch: %s: %s", name, type(problem).__name__, problem)
            return self.function
        if not same:
            log.warning("%s runs in torch: Triton's results differ on this device", name)
        return found if same else self.function


def _others(x: Tensor, axis: int) -> tuple[int, ...]:
    """The shape of x without its groups."""
    return tuple(length for i, length in enumerate(x.shape) if i != axis % x.dim())


def alike(ours: Any, theirs: Any, within: float = 0.0) -> bool:
    """Whether tensors, or tuples of them, are equal to a part; NaN equals NaN, and the two zeros each other."""
    if isinstance(ours, Tensor):
        return torch.allclose(ours, theirs, rtol=within, atol=0.0, equal_nan=True)
    return all(alike(one, other, within) for one, other in zip(ours, theirs, strict=True))

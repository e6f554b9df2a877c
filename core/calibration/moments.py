"""What meets the matrices of a layer while a text passes it: second moments, for each set that sees the same.

Experts see few tokens each. What they share is blended into the moments of each, the more so the fewer tokens it met,
so that even one that no token chose is quantized for the inputs that experts of its layer have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from core.calibration.units import Hook, Unit
from core.methods.hessian import Hessian

# Of how many inputs, as a part of the columns, the moments of all experts count in those of one.
SHARED = 1 / 8


class Inputs:
    """What meets matrices that share their inputs. cross: of what met them in the original model, or None.

    sinks: how often position 0 counts. hooks: who else is told of what meets them.
    """

    def __init__(self, units: Sequence[Unit], device: torch.device, sinks: float, crossed: bool) -> None:
        self.units = tuple(units)
        columns = units[0].linear.columns
        self.hessian = Hessian(columns, device)
        self.cross = Hessian(columns, device) if crossed else None
        self.tokens = 0
        self.hooks: list[Hook] = []
        self._sinks = sinks
        self._original: torch.Tensor | None = None

    @property
    def module(self) -> nn.Module:
        """The first of the matrices' modules, whose inputs are those of all."""
        return self.units[0].module

    def remember(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A hook for the original model's module, which is called first."""
        self._original = arguments[0].detach()

    def count(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A hook for the module as it is now; inputs (windows, length, columns), or (tokens, columns) of an expert."""
        for hook in self.hooks:
            hook(module, arguments)
        x = arguments[0].detach()
        weights = None
        if x.ndim > 2 and self._sinks != 1:
            weights = torch.ones(x.shape[:-1], device=x.device)
            weights[:, 0] = self._sinks
            weights = weights.reshape(-1)
        flat = x.reshape(-1, x.shape[-1])
        self.tokens += len(flat)
        self.hessian.add(flat, weights)
        if self.cross is not None:
            assert self._original is not None
            self.cross.add(flat, weights, self._original.reshape(flat.shape))
            self._original = None

    def drift(self, share: float) -> list[Any]:
        """Of each matrix `share` of W (X0 X' - X X') as float32 arrays (rows, columns), None without the original.

        Call it once, after which the cross moments are gone.
        """
        if self.cross is None:
            return [None] * len(self.units)
        difference = self.cross.mean() - self.hessian.mean()
        self.cross = None
        return [
            (share * (torch.from_numpy(unit.weights()).to(difference.device) @ difference)).cpu().numpy()
            for unit in self.units
        ]


class _AllMet(Exception):
    """What is watched has been called; the rest of the layer's computation is of no use."""


class _Computation:
    """Runs a layer as far as the last of some modules, every one of which calls `met` before it computes."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = tuple(modules)
        self._left: set[nn.Module] = set()

    def __call__(self, compute: Callable[[], Any]) -> None:
        """A module that is not called, such as an expert that no token chose, keeps the layer from ending early."""
        self._left = set(self.modules)
        with suppress(_AllMet):
            compute()

    def met(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A hook, behind the one that counts."""
        self._left.discard(module)
        if not self._left:
            raise _AllMet


@contextmanager
def watched(
    found: Sequence[Inputs], originals: Mapping[nn.Module, nn.Module]
) -> Iterator[tuple[_Computation, _Computation]]:
    """Counts while the block runs, in which the layer is computed by what is given here: the original's, and its own.

    originals: the original model's module for each that is watched, or nothing.
    """
    crossed = [inputs for inputs in found if inputs.cross is not None]
    original = _Computation([originals[inputs.module] for inputs in crossed])
    own = _Computation([inputs.module for inputs in found])
    hooks = [
        *((originals[inputs.module], inputs.remember) for inputs in crossed),
        *((inputs.module, inputs.count) for inputs in found),
        *((module, computation.met) for computation in (original, own) for module in computation.modules),
    ]
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks]
    try:
        yield original, own
    finally:
        for handle in handles:
            handle.remove()


def blend_experts(found: Sequence[Inputs]) -> None:
    """Counts what all experts of a stage met into the moments of each."""
    experts = [inputs for inputs in found if inputs.units[0].is_expert]
    if not experts:
        return
    shared = Hessian.of_all([inputs.hessian for inputs in experts])
    for inputs in experts:
        inputs.hessian.blend(shared, SHARED * len(shared))


def runs(units: Sequence[Unit], room: int) -> Iterator[list[list[Unit]]]:
    """Matrices by what they see, as many sets at once as `room` bytes hold the moments of, but at least one."""
    groups: dict[tuple[str, int], list[Unit]] = {}
    for unit in units:
        groups.setdefault(unit.inputs, []).append(unit)
    left = list(groups.values())
    while left:
        fits = 0
        used = 0
        while fits < len(left):
            used += 4 * left[fits][0].linear.columns ** 2
            if fits and used > room:
                break
            fits += 1
        yield left[:fits]
        left = left[fits:]

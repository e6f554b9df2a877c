"""Parts of a layer that are not computed again in every pass: what they give follows from what their last matrix meets.

Attention ends in its output matrix, feed-forward in the one that leads down. When all else in such a part is solved,
what meets that matrix is the same in all passes that follow, so it is kept from the pass in which it was counted. All
passes together then cost little more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from core.calibration.units import Unit


@dataclass(frozen=True, slots=True)
class Part:
    """A module that gives what the matrix at its end gives. length: of the tuple that it gives, 0 for a tensor."""

    path: str
    length: int


# The parts of a kind of layer by the path of the matrix at their end.
Parts = dict[str, Part]


def parts_of(layer: nn.Module, compute: Callable[[], Any]) -> Parts:
    """Looks at a layer while `compute` runs it once: which modules end in which matrix."""
    given: dict[str, list[Any]] = {}
    handles = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: given.setdefault(name, []).append(output)
        )
        for name, module in layer.named_modules()
        if name
    ]
    try:
        compute()
    finally:
        for handle in handles:
            handle.remove()
    found: Parts = {}
    for name, (first, *others) in given.items():
        for end in (path for path in given if path.startswith(name + ".")):
            is_end = isinstance(layer.get_submodule(end), nn.Linear) and len(given[end]) == 1 and not others
            length = _length(first, given[end][0])
            # The outermost comes first.
            if is_end and length is not None and end not in found:
                found[end] = Part(name, length)
    return found


def _length(whole: Any, last: Any) -> int | None:
    """Of the tuple in which a part gives its last matrix' output, beside nothing else; None where it does not."""
    if whole is last:
        return 0
    is_alone = isinstance(whole, tuple) and whole and whole[0] is last and all(other is None for other in whole[1:])
    return len(whole) if is_alone else None


class Shortcuts:
    """Those of one layer. room: how many bytes of all windows may be kept. Call `end` when done."""

    def __init__(self, layer: nn.Module, units: Sequence[Unit], parts: Parts, room: int) -> None:
        self._names = {module: name for name, module in layer.named_modules()}
        self._layer, self._units, self._parts, self._room = layer, units, parts, room
        self._kept: dict[nn.Module, dict[int, torch.Tensor]] = {}
        self._replaced: list[nn.Module] = []
        # The first window of those that are on their way through the layer.
        self.window = 0

    def keeps(self, unit: Unit, tokens: int) -> bool:
        """Whether what meets a matrix is to be kept, of so many tokens; then `keep` is a hook for it."""
        part = self._parts.get(self._names[unit.module])
        if part is None:
            return False
        inside = set(self._layer.get_submodule(part.path).modules())
        others = [other for other in self._units if other.module in inside and other is not unit]
        bytes_held = 4 * tokens * max(unit.module.get_parameter("weight").shape)
        if bytes_held > self._room or any(other.stage >= unit.stage for other in others):
            return False
        self._room -= bytes_held
        return True

    def keep(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A hook for such a matrix."""
        self._kept.setdefault(module, {})[self.window] = arguments[0].detach().cpu()

    def solved(self) -> None:
        """From now on the parts whose last matrix has been counted give what is kept."""
        for end in self._kept:
            part = self._parts[self._names[end]]
            module = self._layer.get_submodule(part.path)
            if module not in self._replaced:
                self._replaced.append(module)
                module.forward = _Shortcut(self, end, self._kept[end], part.length)

    def end(self) -> None:
        """Everything is computed again."""
        for module in self._replaced:
            del module.forward
        self._replaced, self._kept = [], {}


class _Shortcut:
    """Stands in for a part's computation."""

    def __init__(self, of: Shortcuts, end: nn.Module, kept: dict[int, torch.Tensor], length: int) -> None:
        self._of, self._end, self._kept, self._length = of, end, kept, length
        self._done: set[int] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        window = self._of.window
        known = self._kept[window].to(next(self._end.parameters()).device)
        if window not in self._done:
            # Not by a call, since hooks have had their say about these inputs.
            known = self._end.forward(known)
            self._kept[window] = known.cpu()
            self._done.add(window)
        return (known, *(None for _ in range(self._length - 1))) if self._length else known

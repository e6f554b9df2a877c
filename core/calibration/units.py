"""The matrices of a layer that are quantized, in the order in which data meets them, and what the rest must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from core.methods.calibration import stage_of
from core.methods.gptq import Solved
from core.methods.grids import Grid, Values
from core.methods.linear import Floats
from core.network.network import Layer, Linear

EXPERTS = "_exps"
# A forward pre-hook of torch: a module and what it is called with.
Hook = Callable[[nn.Module, tuple[Any, ...]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One matrix. name: what its solution is called. expert: which of `linear.modules` it is."""

    name: str
    linear: Linear
    expert: int = 0

    @property
    def gguf(self) -> str:
        """Its tensor in a GGUF file, which all experts share."""
        return self.linear.tensor.name

    @property
    def part(self) -> str:
        """Which of a layer's tensors it is: attn_q, ffn_down_exps, ..."""
        return self.gguf.split(".")[2]

    @property
    def stage(self) -> int:
        """When data meets it, a number of core.methods.calibration.STAGES."""
        return stage_of(self.part)

    @property
    def is_expert(self) -> bool:
        """Whether only some of the tokens meet it."""
        return self.part.endswith(EXPERTS)

    @property
    def inputs(self) -> tuple[str, int]:
        """The same for all matrices of a stage that see the same."""
        kind = self.part.rpartition("_")[2]
        return kind if kind in ("exps", "shexp") else "", self.expert

    @property
    def module(self) -> nn.Module:
        """The torch module with its `weight` (rows, columns)."""
        return self.linear.modules[self.expert]

    def weights(self) -> Floats:
        """Its numbers as they are in memory now; they are not to be changed."""
        numbers: Floats = self.module.get_parameter("weight").detach().cpu().numpy()
        return numbers


def seeing_the_same(units: Sequence[Unit]) -> dict[tuple[int, tuple[str, int]], list[Unit]]:
    """Matrices by stage and inputs, in the order in which data meets them; experts are left out."""
    groups: dict[tuple[int, tuple[str, int]], list[Unit]] = {}
    for unit in sorted(units, key=lambda unit: unit.stage):
        if not unit.is_expert:
            groups.setdefault((unit.stage, unit.inputs), []).append(unit)
    return groups


class Target(Protocol):
    """What becomes of a model's matrices: a checkpoint's or a GGUF file's view of them."""

    @property
    def path(self) -> Path:
        """The model, for messages."""

    def units(self, layer: Layer) -> Sequence[Unit]:
        """A layer's matrices that are quantized."""

    @property
    def is_prepared(self) -> bool:
        """Whether `prepare` takes the windows through a layer."""
        return False

    def prepare(self, layer: Layer, units: Sequence[Unit], run: Callable[[], None]) -> None:
        """May change a layer's weights before any is quantized, so that it computes the same.

        run: takes all windows through the layer.
        """

    def repeat(self, layer: Layer) -> None:
        """The same changes from what an interrupted job has kept."""

    def observer(self, unit: Unit) -> Hook | None:
        """Who looks at what meets a matrix, and those that see the same, when all before them is as it has become."""
        return None

    def watched(self) -> AbstractContextManager[None]:
        """While the block runs all windows pass, so that matrices can be looked at of which no observer was asked."""
        return nullcontext()

    def grid(self, unit: Unit) -> Grid | None:
        """What a matrix is solved on; None where its method looks at nothing but its weights."""

    def alone(self, unit: Unit) -> Values:
        """A matrix by such a method."""

    def has(self, layer: int) -> bool:
        """Whether a layer's solution is there from an interrupted job."""

    def restore(self, layer: int, units: Sequence[Unit]) -> Mapping[str, Values]:
        """The solution of a layer, by the units' names."""

    def keep(self, layer: int, solved: Mapping[str, tuple[Unit, Solved, int]]) -> None:
        """Keeps a solution: of each matrix what was found, and how many inputs it met."""

    def report(self, unit: Unit, solved: Solved, tokens: int) -> None:
        """Tells who watches that a matrix is solved."""

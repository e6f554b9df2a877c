"""What is known before a checkpoint is written: solved matrices, folded scales, what meets the layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from core.checkpoints import findings
from core.checkpoints.alone import solved_alone
from core.checkpoints.decide import Decided, Item
from core.checkpoints.figures import layer_of
from core.checkpoints.findings import Findings
from core.checkpoints.folds import Changes, together
from core.checkpoints.solutions import Solutions
from core.checkpoints.solve import Quantized
from core.checkpoints.source import CheckpointSource
from core.jobs import CheckpointJob
from core.methods.linear import Floats, Linear
from core.progress import Progress

Maker = Callable[[Item, Floats], Quantized]


@dataclass(frozen=True)
class Beforehand:
    """maker: how matrices become what they do. found: findings of layers. changes: what is folded into tensors."""

    maker: Maker
    found: tuple[Findings, ...] = ()
    changes: Changes = field(default_factory=dict)

    @functools.cached_property
    def input_ranges(self) -> dict[str, tuple[float, float]]:
        """What static scales of activations cover, by the names of the matrices."""
        return {
            name: (row.range_low, row.range_high)
            for layer in self.found
            for row in layer.activations
            for name in (row.name, *row.shared)
            if row.range_low is not None and row.range_high is not None
        }


def solved(
    job: CheckpointJob, source: CheckpointSource, decided: Decided, folder: Path, progress: Progress
) -> Solutions | None:
    """Takes the text through the model where that is asked for: solves matrices, folds scales, looks at activations.

    None where it is not asked for; else what is found is kept in `folder`. Raises what
    core.checkpoints.calibrated.solve raises.
    """
    if not decided.is_calibrated:
        return None
    from core.checkpoints.calibrated import solve  # networks, which others do without

    solutions = solve(job, source, decided, folder, progress)
    solutions.close()
    return solutions


def beforehand(decided: Decided, solutions: Solutions | None) -> Beforehand:
    """What solutions come to in the form that was decided on. Raises ReadFailed."""

    def alone(item: Item, w: Floats) -> Quantized:
        return solved_alone(decided, item, w)

    if solutions is None:
        return Beforehand(alone)
    from core.checkpoints.calibrated import changes_in, solved_layer

    @functools.lru_cache(maxsize=1)
    def layer(number: int) -> dict[str, Linear]:
        return solved_layer(solutions, number, decided)

    def made(item: Item, w: Floats) -> Quantized:
        known = layer(layer_of(item)).get(item.entry.name)
        return alone(item, w) if known is None else known

    found = tuple(findings.read(solutions.folder, number) for number in solutions.layers)
    return Beforehand(made, found, together(changes_in(solutions, number) for number in solutions.layers))

"""Methods that look at activations, for checkpoints: which matrices of a folder become what, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.calibration.layers import devices_for, solve_layers
from core.calibration.units import Unit
from core.checkpoints import findings
from core.checkpoints.alone import solved_alone
from core.checkpoints.decide import Decided, Item
from core.checkpoints.figures import layer_figures, report
from core.checkpoints.findings import Findings
from core.checkpoints.solutions import Solutions, fingerprint
from core.checkpoints.source import CheckpointSource
from core.errors import Cancelled
from core.jobs import CheckpointJob
from core.methods.gptq import Solved
from core.methods.grids import PARTS, IntegerGrid, Values
from core.methods.linear import Linear
from core.network.network import Layer, check_context, open_network
from core.progress import Progress
from core.sources import open_source
from core.texts import windows_of


def solve(
    job: CheckpointJob, source: CheckpointSource, decided: Decided, folder: Path, progress: Progress
) -> Solutions:
    """Quantizes every layer that has no solution in `folder` yet. Cancelled, it removes them; interrupted, it does not.

    Raises CannotRun, DeviceNotAvailable, NonFiniteActivations, NonFiniteWeights, TextTooShort, and what open_source and
    reading raise.
    """
    options = job.options
    progress.stage("Reading the text")
    with open_source(job.source) as model, open_network(model, job.device) as network:
        check_context(model, options.length, "--length")
        ids, _ = windows_of(options.text, network.tokenizer, options.length, options.samples)
        solutions = Solutions(folder, fingerprint(options, source.files, ids))
        target = _Checkpoint(source, decided, solutions, progress)
        try:
            solve_layers(
                network, target, ids, decided.settings.calibration, devices_for(job.device), folder.parent, progress
            )
        except Cancelled:
            solutions.remove()
            raise
        except BaseException:
            solutions.close()
            raise
    return solutions


def solved_layer(solutions: Solutions, layer: int, decided: Decided) -> dict[str, Linear]:
    """A layer's matrices by their names in the source. Raises ReadFailed."""
    return {
        name: Linear(decided.scheme_of(name), *(arrays[part] for part in PARTS))
        for name, arrays in solutions.read(layer).items()
    }


class _Checkpoint:
    """A folder's matrices as core.calibration asks for them."""

    def __init__(self, source: CheckpointSource, decided: Decided, solutions: Solutions, progress: Progress) -> None:
        self.path = source.path
        self._decided, self._solutions, self._progress = decided, solutions, progress
        self._items: dict[str, dict[int, Item]] = {}
        for item in decided.items:
            if item.matrix is not None:
                self._items.setdefault(item.entry.gguf, {})[item.entry.expert] = item
        self._by_name = {item.entry.name: item for item in decided.items}

    def units(self, layer: Layer) -> Sequence[Unit]:
        """Every quantized matrix of a layer."""
        return [
            Unit(item.entry.name, linear, expert)
            for name, linear in layer.linears.items()
            for expert, item in sorted(self._items.get(name, {}).items())
        ]

    def grid(self, unit: Unit) -> IntegerGrid | None:
        """Integers with ranges as they were chosen."""
        item = self._by_name[unit.name]
        if item.settings is None or not item.is_calibrated:
            return None
        return IntegerGrid(self._decided.scheme_of(unit.name), item.settings.ranges, unit.linear.columns)

    def alone(self, unit: Unit) -> Values:
        """By the table of methods."""
        return solved_alone(self._decided, self._by_name[unit.name], unit.weights())

    def has(self, layer: int) -> bool:
        """Whether its file is there."""
        return self._solutions.has(layer)

    def restore(self, layer: int, units: Sequence[Unit]) -> Mapping[str, Values]:
        """From its file; what was found of it is told again."""
        for figures in findings.read(self._solutions.folder, layer).layers:
            report(figures, self._progress)
        return solved_layer(self._solutions, layer, self._decided)

    def keep(self, layer: int, solved: Mapping[str, tuple[Unit, Solved, int]]) -> None:
        """Writes findings, then the solution, whose being there says that the layer is done."""
        figures = (layer_figures(self._by_name[name], found, tokens) for name, (_, found, tokens) in solved.items())
        findings.keep(self._solutions.folder, layer, Findings(layers=tuple(figures)))
        arrays: dict[str, Any] = {
            name: {part: getattr(found.made, part) for part in PARTS} for name, (_, found, _) in solved.items()
        }
        self._solutions.keep(layer, arrays)

    def report(self, unit: Unit, solved: Solved, tokens: int) -> None:
        """As a figure of the job's progress."""
        report(layer_figures(self._by_name[unit.name], solved, tokens), self._progress)

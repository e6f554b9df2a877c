"""Methods that look at activations, for checkpoints: which matrices of a folder become what, and where it is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from core.calibration.layers import devices_for, solve_layers
from core.calibration.units import Hook, Target, Unit
from core.checkpoints import findings
from core.checkpoints.alone import solved_alone
from core.checkpoints.decide import Decided, Item
from core.checkpoints.figures import layer_figures, layer_of, report
from core.checkpoints.findings import Findings
from core.checkpoints.folding import NOTHING, apply, prepare
from core.checkpoints.folds import CHANGES, Change
from core.checkpoints.observing import Watch
from core.checkpoints.solutions import Solutions, fingerprint
from core.checkpoints.source import CheckpointSource
from core.errors import NonFiniteActivations
from core.given_texts import given_texts
from core.jobs import CheckpointJob, LayerFigures
from core.methods.gptq import Solved, loss
from core.methods.grids import PARTS, IntegerGrid, Values
from core.methods.linear import Linear
from core.network.network import Layer, open_network
from core.progress import Progress
from core.sources import open_source
from core.texts import windows_of


def solve(
    job: CheckpointJob, source: CheckpointSource, decided: Decided, folder: Path, progress: Progress
) -> Solutions:
    """Quantizes every layer that has no solution in `folder` yet. Cancelled, it removes them unless the job keeps them.

    Raises CannotRun, DeviceNotAvailable, NonFiniteActivations, NonFiniteWeights, TextTooShort, and what open_source and
    reading raise.
    """
    options = job.options
    given = given_texts(options.text, "calibration", progress)
    progress.stage("Reading the text")
    with open_source(job.source) as model, open_network(model, job.device) as network:
        ids, _ = windows_of(given, network.tokenizer, decided.settings.length, decided.settings.samples)
        solutions = Solutions(folder, fingerprint(options, source.files, ids))
        target = _Checkpoint(source, decided, solutions, progress)
        with solutions.until_stopped(keep=job.keep_unfinished):
            solve_layers(
                network, target, ids, decided.settings.calibration, devices_for(job.device), folder.parent, progress
            )
    return solutions


def solved_layer(solutions: Solutions, layer: int, decided: Decided) -> dict[str, Linear]:
    """A layer's matrices by their names in the source. Raises ReadFailed."""
    return {
        name: Linear(decided.scheme_of(name), *(arrays[part] for part in PARTS))
        for name, arrays in solutions.read(layer).items()
        if not arrays.keys().isdisjoint(PARTS)
    }


def changes_in(solutions: Solutions, layer: int) -> dict[str, Change]:
    """What was folded into a layer's tensors, by their names in the source. Raises ReadFailed."""
    return {
        name: Change(*(arrays.get(part) for part in CHANGES))
        for name, arrays in solutions.read(layer).items()
        if not arrays.keys().isdisjoint(CHANGES)
    }


class _Checkpoint(Target):
    """A folder's matrices as core.calibration asks for them."""

    def __init__(self, source: CheckpointSource, decided: Decided, solutions: Solutions, progress: Progress) -> None:
        self._source, self._decided, self._solutions, self._progress = source, decided, solutions, progress
        self._prepared = NOTHING
        self._watch: Watch | None = None
        # Of the layer that is worked on: what was made without the solver, and its figures.
        self._made: dict[str, Linear] = {}
        self._figures: dict[str, LayerFigures] = {}
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
        if item.settings is None or item.settings.choice.method != "gptq":
            return None
        return IntegerGrid(self._decided.scheme_of(unit.name), item.settings.ranges, unit.linear.columns)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._source.path

    @property
    def is_prepared(self) -> bool:
        """Whether scales are folded."""
        return bool(self._decided.settings.prestep)

    def prepare(self, layer: Layer, units: Sequence[Unit], run: Callable[[], None]) -> None:
        """Folds scales."""
        self._made, self._figures = {}, {}
        self._watch = Watch(units)
        if self.is_prepared:
            self._prepared = prepare(self._source, self._decided, layer, units, run)

    def repeat(self, layer: Layer) -> None:
        """Folds the scales that an interrupted job found."""
        apply(layer, changes_in(self._solutions, layer.number), self._by_name)

    def alone(self, unit: Unit) -> Values:
        """By the table of methods; with what is known of the columns where scales were folded."""
        item, moments = self._by_name[unit.name], self._prepared.moments.get(unit.name, torch.empty(0))
        made = solved_alone(self._decided, item, unit.weights(), moments)
        if self.is_prepared and isinstance(made, Linear):
            self._made[unit.name] = made
            if len(moments):
                self._tell(unit, made, moments)
        return made

    def _tell(self, unit: Unit, made: Linear, moments: torch.Tensor) -> None:
        w = unit.weights()
        energy = max(loss(w, moments), 1e-30)
        error = loss(w - made.values(), moments) / energy
        self._keep_figures(
            LayerFigures(
                name=unit.name,
                layer=layer_of(self._by_name[unit.name]),
                error=error,
                rounded_error=self._prepared.rounded_errors[unit.name],
                tokens=self._prepared.tokens,
            )
        )

    def _keep_figures(self, figures: LayerFigures) -> None:
        self._figures[figures.name] = figures
        report(figures, self._progress)

    def observer(self, unit: Unit) -> Hook | None:
        """Counts activations for figures and static ranges."""
        assert self._watch is not None
        return self._watch.observer(unit)

    def watched(self) -> AbstractContextManager[None]:
        """Counts those of matrices that are not solved."""
        assert self._watch is not None
        return self._watch.counting()

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
        assert self._watch is not None
        activations = self._watch.figures(self._by_name)
        unusable = [row.name for row in activations if not math.isfinite(row.high - row.low)]
        if unusable:
            raise NonFiniteActivations(str(self.path), unusable[0])
        found = Findings(layers=tuple(self._figures.values()), activations=activations)
        findings.keep(self._solutions.folder, layer, found)
        arrays: dict[str, dict[str, Any]] = {}
        for name, made in (self._made | {name: of.made for name, (_, of, _) in solved.items()}).items():
            arrays[name] = {part: getattr(made, part) for part in PARTS}
        for name, change in self._prepared.changes.items():
            parts = {part: value for part in CHANGES if (value := getattr(change, part)) is not None}
            arrays.setdefault(name, {}).update(parts)
        self._solutions.keep(layer, arrays)

    def report(self, unit: Unit, solved: Solved, tokens: int) -> None:
        """As a figure of the job's progress."""
        self._keep_figures(layer_figures(self._by_name[unit.name], solved, tokens))

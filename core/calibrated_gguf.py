"""GPTQ for GGUF files: matrices of types with evenly spaced levels are solved before the file is written.

The layers are walked as for checkpoints (core.calibration); what was solved lies in a folder beside the output, from
which the pipeline takes a tensor's bytes instead of searching for them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.calibration.layers import devices_for, solve_layers
from core.calibration.units import Target, Unit
from core.checkpoints import findings
from core.checkpoints.figures import report
from core.checkpoints.findings import Findings
from core.checkpoints.solutions import Solutions, fingerprint
from core.errors import Cancelled
from core.given_texts import given_texts
from core.jobs import LayerFigures, QuantizeJob, TensorPlan
from core.leftovers import layers_folder
from core.methods.block_grids import BlockGrid, Blocks
from core.methods.calibration import STAGES, Calibration
from core.methods.gptq import Solved
from core.methods.grids import Values
from core.network.network import Layer, open_network
from core.plan import Prepared, is_solved
from core.progress import Progress
from core.sources import Source
from core.texts import window_length, windows_of
from core.weighting import means_of
from kernels import dispatch

LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
PARTS = tuple(part for stage in STAGES for part in stage)


class SolvedTensors:
    """What was solved: the bytes of tensors, and figures of their matrices in the order of the layers."""

    def __init__(self, solutions: Solutions) -> None:
        self._solutions = solutions
        self._names = {name for layer in solutions.layers for name in self._layer(layer)}

    def data(self, name: str) -> NDArray[np.uint8] | None:
        """A tensor's bytes (rows, bytes of a row), or None where it was not solved. Raises ReadFailed."""
        return self._layer(int(name.split(".")[1])).get(name) if name in self._names else None

    @functools.lru_cache(maxsize=1)  # noqa: B019 - one of these lives as long as its job
    def _layer(self, number: int) -> dict[str, NDArray[np.uint8]]:
        found = sorted(self._solutions.read(number).items(), key=lambda item: _expert(item[0]))
        tensors: dict[str, list[NDArray[np.uint8]]] = {}
        for name, arrays in found:
            tensors.setdefault(name.partition("#")[0], []).append(arrays["data"])
        return {name: np.concatenate(parts) for name, parts in tensors.items()}

    @property
    def figures(self) -> tuple[LayerFigures, ...]:
        """Of every matrix that was solved."""
        folder = self._solutions.folder
        return tuple(row for number in self._solutions.layers for row in findings.read(folder, number).layers)

    def ended(self, *, keep_unfinished: bool) -> Callable[..., None]:
        """What is to be called at the end of the job: solutions stay where it failed, and where it is to be resumed."""

        def end(kind: type[BaseException] | None, *rest: object) -> None:
            if kind is not None and issubclass(kind, Cancelled) and not keep_unfinished:
                self._solutions.remove()
            else:
                self._solutions.close()

        return end

    def remove(self) -> None:
        """Once the file is there."""
        self._solutions.remove()


def solve(job: QuantizeJob, source: Source, prepared: Prepared, progress: Progress) -> SolvedTensors:
    """Solves every layer that an interrupted job has not.

    Cancelled, it removes what there is unless the job keeps it. Raises CannotRun, DeviceNotAvailable,
    NonFiniteActivations, NonFiniteWeights, TextTooShort, OutputNotWritable, and what reading raises.
    """
    options = job.options.gptq
    assert options is not None
    given = given_texts(options.text, "calibration", progress)
    progress.stage("Reading the text")
    with open_network(source, job.device) as network:
        length = window_length(str(source.path), options.length, source.hyper.context_length)
        ids, _ = windows_of(given, network.tokenizer, length, options.samples)
        folder = layers_folder(Path(job.output).absolute())
        solutions = Solutions(folder, fingerprint(job.options, source.files, ids))
        calibration = Calibration.of(options)
        target = _File(source, job, prepared, solutions, progress)
        with solutions.until_stopped(keep=job.keep_unfinished):
            solve_layers(network, target, ids, calibration, devices_for(job.device), folder.parent, progress)
    return SolvedTensors(solutions)


def _expert(name: str) -> int:
    """Which expert a solution's matrix is; they are called like their tensor, `#` and the number."""
    return int(name.partition("#")[2] or 0)


class _File(Target):
    """A GGUF file's tensors as core.calibration asks for them."""

    def __init__(
        self, source: Source, job: QuantizeJob, prepared: Prepared, solutions: Solutions, progress: Progress
    ) -> None:
        self._source, self._search, self._solutions, self._progress = source, job.options.fit, solutions, progress
        self._prepared = prepared
        self._rows = {row.name: row for row in prepared.plan.tensors if row.target_type != row.source_type}

    @property
    def path(self) -> Path:
        """The model."""
        return self._source.path

    def units(self, layer: Layer) -> Sequence[Unit]:
        """Every matrix of a layer that gets another type."""
        return [
            Unit(f"{name}#{expert}" if len(linear.modules) > 1 else name, linear, expert)
            for name, linear in layer.linears.items()
            if name in self._rows and _part(name) in PARTS
            for expert in range(len(linear.modules))
        ]

    def grid(self, unit: Unit) -> BlockGrid | None:
        """The blocks of its type, where their levels are evenly spaced."""
        row = self._rows[unit.gguf]
        return BlockGrid(row.target_type, unit.linear.columns, self._search) if is_solved(row) else None

    def alone(self, unit: Unit) -> Values:
        """As the pipeline makes it."""
        row = self._rows[unit.gguf]
        data = dispatch.encode(
            row.target_type, unit.weights(), importance=self._importance(row, unit.expert), fit=self._search
        )
        return Blocks(row.target_type, data, unit.linear.columns)

    def _importance(self, row: TensorPlan, expert: int) -> NDArray[np.float32] | None:
        matrix = self._prepared.matrix
        return means_of(matrix, row.name, row.shape)[expert] if row.weighted and matrix is not None else None

    def prepare(self, layer: Layer, units: Sequence[Unit], run: Callable[[], None]) -> None:
        """Nothing is changed before."""
        return

    def repeat(self, layer: Layer) -> None:
        """Nothing was."""
        return

    def has(self, layer: int) -> bool:
        """Whether its file is there."""
        return self._solutions.has(layer)

    def restore(self, layer: int, units: Sequence[Unit]) -> Mapping[str, Values]:
        """From its file; what was found of it is told again."""
        for figures in findings.read(self._solutions.folder, layer).layers:
            report(figures, self._progress)
        arrays = self._solutions.read(layer)
        return {
            unit.name: Blocks(
                self._rows[unit.gguf].target_type, _as_weights(unit, arrays[unit.name]["data"]), unit.linear.columns
            )
            for unit in units
            if unit.name in arrays
        }

    def keep(self, layer: int, solved: Mapping[str, tuple[Unit, Solved, int]]) -> None:
        """Writes findings, then the solution, whose being there says that the layer is done."""
        findings.keep(self._solutions.folder, layer, Findings(layers=tuple(_figures(solved.values()))))
        arrays: dict[str, Any] = {
            name: {"data": _as_tensor(unit, found.made.data)} for name, (unit, found, _) in solved.items()
        }
        self._solutions.keep(layer, arrays)

    def report(self, unit: Unit, solved: Solved, tokens: int) -> None:
        """As a figure of the job's progress."""
        report(next(_figures([(unit, solved, tokens)])), self._progress)


def _part(name: str) -> str:
    match = LAYER.fullmatch(name)
    return match[2] if match else ""


def _as_tensor(unit: Unit, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of a module's weight in the order of the tensor in a GGUF file."""
    return data if unit.linear.row_order is None else data[unit.linear.row_order]


def _as_weights(unit: Unit, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The reverse."""
    if unit.linear.row_order is None:
        return data
    rows = np.empty_like(data)
    rows[unit.linear.row_order] = data
    return rows


def _figures(solved: Iterable[tuple[Unit, Solved, int]]) -> Any:
    for unit, found, tokens in solved:
        energy = max(found.energy, 1e-30)
        yield LayerFigures(
            name=unit.name,
            layer=int(unit.gguf.split(".")[1]),
            error=found.loss / energy,
            rounded_error=found.rounded_loss / energy,
            damp=found.damp,
            guarded=found.guarded,
            tokens=tokens,
        )

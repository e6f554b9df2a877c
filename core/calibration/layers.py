"""Solves a model layer by layer, each fed by the layers already quantized.

Within a layer the matrices are taken in the order in which data meets them (query, key and value; output; gate and up;
down), and what the later ones see comes from the earlier ones in their quantized form: sources of GPTQ call it "true
sequential". Position 0 of every window attracts attention and has activations unlike all others, but is one token in
many; in the moments of query, key and value it counts more often, without which GPTQ loses to rounding.

In memory are one layer in float32 (two where the original model runs beside the quantized one), the moments of some
matrices, at most as many bytes as a layer has or one matrix' own, its factor, and the hidden states; beside them, where
there is room, what need not be computed again in the next pass (shortcuts.py).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from core import memory
from core.calibration.moments import Inputs, blend_experts, runs, watched
from core.calibration.shortcuts import Parts, Shortcuts, parts_of
from core.calibration.units import Target, Unit
from core.errors import NonFiniteActivations, NonFiniteWeights
from core.methods import gptq
from core.methods.calibration import KEPT_BYTES, STAGES, Calibration
from core.methods.hessian import NotDefinite
from core.methods.linear import Floats
from core.network.network import Layer, Network
from core.network.states import SHARE, HiddenStates
from core.progress import Progress


def devices_for(device: str) -> tuple[torch.device, ...]:
    """Where matrices are solved: the processor, or every GPU there is."""
    if device == "cpu":
        return (torch.device("cpu"),)
    return tuple(torch.device(device, number) for number in range(torch.cuda.device_count()))


def solve_layers(
    network: Network,
    target: Target,
    ids: np.ndarray[Any, Any],
    calibration: Calibration,
    devices: Sequence[torch.device],
    folder: Path,
    progress: Progress,
) -> None:
    """Solves every layer that `target` has no solution of. ids: (windows, length).

    folder: where hidden states may go that do not fit memory. Raises NonFiniteActivations, NonFiniteWeights, and what
    reading and keeping raise.
    """
    if all(target.has(number) for number in range(network.layers)):
        return
    memory.return_matrices()
    progress.stage("Quantizing layers", network.layers * _passes(target) * len(ids), "windows")
    shape = (*ids.shape, network.width)
    with ExitStack() as stack, torch.no_grad():
        states = [stack.enter_context(HiddenStates(shape, folder)) for _ in range(2 if calibration.target else 1)]
        for batch in states[0].batches:
            embedded = network.embed(ids[batch])
            for held in states:
                held[batch] = embedded
        known: dict[type[nn.Module], Parts] = {}
        for number in range(network.layers):
            with network.layer(number) as layer:
                work = _LayerWork(layer, target, calibration, states, devices, progress)
                if target.has(number):
                    work.restore()
                    work.advance()
                else:
                    with work.shortened(known):
                        found = work.quantize()
                        with target.watched():
                            work.advance()
                    target.keep(number, found)
            memory.trim_heap()  # what layers leave in it would grow from layer to layer


def _passes(target: Target) -> int:
    """How often all windows pass a layer: before everything, before each stage, and at the end."""
    return int(target.is_prepared) + len(STAGES) + 1


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A matrix to be solved."""

    unit: Unit
    inputs: Inputs
    drift: Floats | None


class _LayerWork:
    """One layer with its weights, and the hidden states that enter it: as they are now, and those of the original."""

    def __init__(
        self,
        layer: Layer,
        target: Target,
        calibration: Calibration,
        states: Sequence[HiddenStates],
        devices: Sequence[torch.device],
        progress: Progress,
    ) -> None:
        self._layer, self._target, self._calibration = layer, target, calibration
        self._states, self._devices, self._progress = states, devices, progress
        self.units = target.units(layer)
        self._original: nn.Module | None = None
        self._originals: dict[nn.Module, nn.Module] = {}
        self._room = sum(4 * parameter.numel() for parameter in layer.module.parameters())
        self._shortcuts = Shortcuts(layer.module, self.units, {}, 0)

    @contextmanager
    def shortened(self, known: dict[type[nn.Module], Parts]) -> Iterator[None]:
        """While the block runs, nothing is computed in every pass that need not be.

        known: the parts of kinds of layers, which is added to. Where the original runs beside, or memory is scarce,
        everything is computed.
        """
        if len(self._states) == 1 and not self._states[0].on_disk:
            module = self._layer.module
            if type(module) not in known:
                known[type(module)] = parts_of(module, lambda: self._layer(self._on_device(0, slice(0, 1))))
            room = min(KEPT_BYTES, int(psutil.virtual_memory().available * SHARE))
            self._shortcuts = Shortcuts(module, self.units, known[type(module)], room)
        try:
            yield
        finally:
            self._shortcuts.end()

    def quantize(self) -> dict[str, tuple[Unit, gptq.Solved, int]]:
        """Stage by stage; the layer's weights become what its matrices were quantized to: what was solved, by name."""
        self._target.prepare(self._layer, self.units, self._run)
        self._remember()
        found: dict[str, tuple[Unit, gptq.Solved, int]] = {}
        for stage in range(len(STAGES)):
            units = [unit for unit in self.units if unit.stage == stage]
            looked = [unit for unit in units if self._target.grid(unit) is not None]
            for groups in runs(looked, self._room):
                inputs = [self._inputs(group, stage) for group in groups]
                self._count(inputs, stage)
                for unit, solved, tokens in self._solved(inputs):
                    found[unit.name] = (unit, solved, tokens)
                    self._target.report(unit, solved, tokens)
                    self._put(unit, solved.made.values())
                self._shortcuts.solved()
            for unit in units:
                if unit not in looked:
                    self._put(unit, self._target.alone(unit).values())
        return found

    def restore(self) -> None:
        """The same from what an interrupted job had solved."""
        self._target.repeat(self._layer)
        self._remember()
        made = self._target.restore(self._layer.number, self.units)
        for unit in self.units:
            self._put(unit, (made[unit.name] if unit.name in made else self._target.alone(unit)).values())

    def _remember(self) -> None:
        """Keeps the layer as it is before anything is quantized, where the original runs beside it."""
        if len(self._states) > 1:
            self._original = copy.deepcopy(self._layer.module)
            self._originals = _twins(self._layer.module, self._original)

    def _run(self) -> None:
        """Takes all windows through the layer, which is to be looked at before anything is done."""
        for batch in self._batches(-1):
            self._layer(self._on_device(0, batch))

    def advance(self) -> None:
        """Takes all windows through the layer as it is now, and those of the original through what it was."""
        for batch in self._batches(len(STAGES)):
            self._states[0][batch] = self._layer(self._on_device(0, batch))
            if self._original is not None:
                self._states[1][batch] = self._layer.through(self._original, self._on_device(1, batch))

    def _inputs(self, units: Sequence[Unit], stage: int) -> Inputs:
        # An expert meets other tokens in the original model than here, so that there is nothing to compare.
        crossed = self._original is not None and not units[0].is_expert
        device = next(self._layer.module.parameters()).device
        inputs = Inputs(units, device, self._calibration.sinks if stage == 0 else 1.0, crossed)
        observer = self._target.observer(units[0])
        if observer is not None:
            inputs.hooks.append(observer)
        if len(units) == 1 and self._shortcuts.keeps(units[0], self._states[0].tokens):
            inputs.hooks.append(self._shortcuts.keep)
        return inputs

    def _count(self, found: Sequence[Inputs], stage: int) -> None:
        """Takes all windows through the layer, as far as need be, and counts what meets these matrices."""
        with watched(found, self._originals) as (original, own):
            for batch in self._batches(stage):
                if any(inputs.cross is not None for inputs in found) and self._original is not None:
                    original(partial(self._layer.through, self._original, self._on_device(1, batch)))
                own(partial(self._layer, self._on_device(0, batch)))
        blend_experts(found)

    def _batches(self, stage: int) -> Iterator[slice]:
        """All runs of windows, of each of which is told; stage -1 comes before the others."""
        states, before = self._states[0], int(self._target.is_prepared)
        done = (self._layer.number * _passes(self._target) + before + stage) * len(states)
        for batch in states.batches:
            self._progress.update(done + batch.start, f"layer {self._layer.number + 1}")
            self._shortcuts.window = batch.start
            yield batch

    def _on_device(self, which: int, batch: slice) -> torch.Tensor:
        return self._states[which][batch].to(next(self._layer.module.parameters()).device)

    def _solved(self, found: Sequence[Inputs]) -> list[tuple[Unit, gptq.Solved, int]]:
        """All matrices of a run; every device takes a share of them."""
        tasks = [
            _Task(unit, inputs, drift)
            for inputs in found
            for unit, drift in zip(inputs.units, inputs.drift(self._calibration.target), strict=True)
        ]
        for inputs in found:
            if not bool(torch.isfinite(inputs.hessian.mean().diagonal()).all()):
                raise NonFiniteActivations(str(self._target.path), inputs.units[0].name)
        count = min(len(self._devices), len(tasks))
        shares = [tasks[len(tasks) * part // count : len(tasks) * (part + 1) // count] for part in range(count)]
        if count == 1:
            parts = [self._share(shares[0], self._devices[0])]
        else:
            with ThreadPoolExecutor(count) as pool:
                parts = list(pool.map(self._share, shares, self._devices[:count]))
        made = [solved for part in parts for solved in part]
        return [(task.unit, solved, task.inputs.tokens) for task, solved in zip(tasks, made, strict=True)]

    def _share(self, tasks: Sequence[_Task], device: torch.device) -> list[gptq.Solved]:
        """Matrices one after another; those that see the same are neighbours and share the factor."""
        made: list[gptq.Solved] = []
        known: Inputs | None = None
        inputs: gptq.Inputs | None = None
        with torch.no_grad():
            for task in tasks:
                if task.inputs is not known:
                    known, inputs = task.inputs, None
                    inputs = gptq.Inputs(task.inputs.hessian.mean().to(device))
                assert inputs is not None
                made.append(self._solve(task.unit, inputs, task.drift))
        return made

    def _solve(self, unit: Unit, inputs: gptq.Inputs, drift: Floats | None) -> gptq.Solved:
        grid = self._target.grid(unit)
        assert grid is not None
        w = unit.weights()
        if not np.isfinite(w).all():
            raise NonFiniteWeights(str(self._target.path), unit.name)
        known = self._calibration
        setting = gptq.Setting(known.order, known.damp, known.passes)
        try:
            return gptq.quantize(w, inputs, grid, setting, drift)
        except NotDefinite as error:
            raise NonFiniteActivations(str(self._target.path), unit.name) from error

    def _put(self, unit: Unit, values: Floats) -> None:
        weight = unit.module.get_parameter("weight")
        weight.data = torch.from_numpy(values).to(weight.device)


def _twins(module: nn.Module, original: nn.Module) -> dict[nn.Module, nn.Module]:
    """Of every part of a layer the same part of its copy."""
    return dict(zip(module.modules(), original.modules(), strict=True))

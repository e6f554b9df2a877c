"""Methods that look at activations: decoder layer by decoder layer, each fed by the layers already quantized.

Within a layer the matrices are taken in the order in which data meets them (query, key and value; output; gate and up;
down), and what the later ones see comes from the earlier ones in their quantized form: sources of GPTQ call it "true
sequential". Position 0 of every window attracts attention and has activations unlike all others, but is one token in
many; in the moments of query, key and value it counts as often as SINK says, without which GPTQ loses to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.checkpoints import findings
from core.checkpoints.alone import solved_alone
from core.checkpoints.decide import Decided, Item
from core.checkpoints.figures import layer_figures, report
from core.checkpoints.findings import Findings
from core.checkpoints.solutions import Solutions, fingerprint
from core.checkpoints.source import CheckpointSource
from core.errors import Cancelled, NonFiniteActivations, NonFiniteWeights
from core.jobs import CheckpointJob, LayerFigures
from core.methods import gptq
from core.methods.hessian import Hessian, NotDefinite
from core.methods.linear import Floats
from core.network.network import Layer, Network, check_context, open_network
from core.network.states import HiddenStates
from core.progress import Progress
from core.sources import open_source
from core.texts import windows_of

STAGES = (("attn_q", "attn_k", "attn_v", "attn_qkv"), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",))
# How often position 0 counts in the moments of the first stage. Measured with SmolLM2-135M, groups of 32 in 4 bits:
# mean KL divergence .195 without, .086 with it, and .213 for rounding with importance.
SINK = 64.0


def solve(
    job: CheckpointJob, source: CheckpointSource, decided: Decided, folder: Path, progress: Progress
) -> Solutions:
    """Quantizes every layer that has no solution in `folder` yet. Cancelled, it removes them; interrupted, it does not.

    Raises CannotRun, NonFiniteActivations, NonFiniteWeights, TextTooShort, and what open_source and reading raise.
    """
    options = job.options
    progress.stage("Reading the text")
    with open_source(job.source) as model, open_network(model) as network:
        check_context(model, options.length, "--length")
        ids, _ = windows_of(options.text, network.tokenizer, options.length, options.samples)
        solutions = Solutions(folder, fingerprint(options, source.files, ids))
        try:
            _run(network, source, decided, solutions, ids, progress)
        except Cancelled:
            solutions.remove()
            raise
        except BaseException:
            solutions.close()
            raise
    return solutions


def _run(
    network: Network,
    source: CheckpointSource,
    decided: Decided,
    solutions: Solutions,
    ids: np.ndarray[Any, Any],
    progress: Progress,
) -> None:
    progress.stage("Quantizing layers", network.layers * (len(STAGES) + 1) * len(ids), "windows")
    with HiddenStates((*ids.shape, network.width), solutions.folder.parent) as states, torch.no_grad():
        for batch in states.batches:
            states[batch] = network.embed(ids[batch])
        for number in range(network.layers):
            with network.layer(number) as layer:
                work = _LayerWork(layer, source, decided, states, progress)
                if solutions.has(number):
                    work.restore(solutions, number)
                else:
                    work.quantize(solutions, number)
                work.advance()


class _LayerWork:
    """One layer with its weights, and the hidden states that enter it."""

    def __init__(
        self, layer: Layer, source: CheckpointSource, decided: Decided, states: HiddenStates, progress: Progress
    ) -> None:
        self._layer, self._source, self._decided = layer, source, decided
        self._states, self._progress = states, progress
        by_name = {item.entry.gguf: item for item in decided.items if item.matrix is not None}
        self._items = {name: by_name[name] for name in layer.linears if name in by_name}

    def quantize(self, solutions: Solutions, number: int) -> None:
        """Stage by stage; the layer's weights become what its matrices were quantized to."""
        found: dict[str, gptq.Solved] = {}
        figures: list[LayerFigures] = []
        for stage, parts in enumerate(STAGES):
            names = [name for name in self._items if name.split(".")[2] in parts]
            looked = [name for name in names if self._items[name].is_calibrated]
            moments = self._moments(looked, stage) if looked else torch.empty(0)
            for name in names:
                if name in looked:
                    found[name] = self._solve(self._items[name], moments)
                    figures.append(layer_figures(self._items[name], found[name]))
                    report(figures[-1], self._progress)
                    self._put(name, found[name].linear.values())
                else:
                    self._put_alone(name)
        findings.keep(solutions.folder, number, Findings(layers=tuple(figures)))
        solutions.keep(number, {self._items[name].entry.name: solved for name, solved in found.items()})

    def restore(self, solutions: Solutions, number: int) -> None:
        """The same from what an interrupted job had solved."""
        made = solutions.read(number, self._decided.scheme_of)
        for name, item in self._items.items():
            if item.is_calibrated:
                self._put(name, made[item.entry.name].values())
            else:
                self._put_alone(name)
        for figures in findings.read(solutions.folder, number).layers:
            report(figures, self._progress)

    def advance(self) -> None:
        """Takes all windows through the layer as it is now."""
        self._pass(len(STAGES), keep=True)

    def _moments(self, names: list[str], stage: int) -> torch.Tensor:
        """Of what meets the matrices of a stage, which all see the same."""
        linear = self._layer.linears[names[0]]
        hessian = Hessian(linear.columns)
        handle = linear.modules[0].register_forward_pre_hook(_counter(hessian, SINK if stage == 0 else 1.0))
        try:
            self._pass(stage, keep=False)
        finally:
            handle.remove()
        mean = hessian.mean()
        if not bool(torch.isfinite(mean).all()):
            raise NonFiniteActivations(str(self._source.path), names[0])
        return mean

    def _pass(self, stage: int, *, keep: bool) -> None:
        windows = len(self._states)
        done = (self._layer.number * (len(STAGES) + 1) + stage) * windows
        for batch in self._states.batches:
            self._progress.update(done + batch.start, f"layer {self._layer.number + 1}")
            out = self._layer(self._states[batch])
            if keep:
                self._states[batch] = out

    def _solve(self, item: Item, moments: torch.Tensor) -> gptq.Solved:
        assert item.settings is not None
        w = self._weights(item)
        scheme = self._decided.scheme_of(item.entry.name)
        try:
            return gptq.quantize(w, moments, scheme, gptq.Setting(item.settings.ranges))
        except NotDefinite as error:
            raise NonFiniteActivations(str(self._source.path), item.entry.name) from error

    def _weights(self, item: Item) -> Floats:
        w = self._source.numbers(item.entry)
        if not np.isfinite(w).all():
            raise NonFiniteWeights(str(self._source.path), item.entry.name)
        return w

    def _put_alone(self, name: str) -> None:
        """A matrix of a method that looks at nothing but its weights."""
        item = self._items[name]
        self._put(name, solved_alone(self._decided, item, self._weights(item)).values())

    def _put(self, name: str, values: np.ndarray[Any, Any]) -> None:
        self._layer.linears[name].modules[0].weight.data = torch.from_numpy(values)


def _counter(hessian: Hessian, sink: float) -> Callable[[torch.nn.Module, tuple[Any, ...]], None]:
    """A hook that counts what meets a module (windows, length, columns), position 0 `sink` times."""

    def count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].detach()
        weights = torch.ones(x.shape[:-1])
        weights[:, 0] = sink
        hessian.add(x.reshape(-1, x.shape[-1]), weights.reshape(-1))

    return count

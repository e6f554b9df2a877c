"""Runs several models over the same windows, layer by layer, and scores every token of all against the first.

All windows pass one layer of one model, then the next is loaded: every layer of every model once, and never more than
one of them in memory. Logits exist a tile of the vocabulary at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import NonFiniteActivations
from core.evaluation.tiles import Divergence, Room, Softmax
from core.evaluation.windows import first_scored
from core.network.network import Network
from core.network.states import HiddenStates, states_bytes
from core.progress import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the scored tokens of a model say, (windows, scored tokens of one) each.

    nll: -ln p of the token that came. kld: KL(base || model) in nats, zeros of the base itself. top: the likeliest.
    """

    nll: NDArray[np.float64]
    kld: NDArray[np.float64]
    top: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.bool_]) -> Scores:
        """Those of some windows."""
        return Scores(self.nll[rows], self.kld[rows], self.top[rows])


# Tokens of the vocabulary whose logits are in memory together, of every model: a batch of them takes 8 MiB.
TILE = 2048


def scores_of(
    networks: Sequence[Network], ids: NDArray[np.int64], folder: Path, progress: Progress
) -> tuple[Scores, ...]:
    """The scores of every network against the first.

    ids: (windows, context). folder: where hidden states may go that do not fit memory. Raises NonFiniteActivations,
    DiskFull, OutputNotWritable, what reading raises, and Cancelled.
    """
    limit = states_bytes(networks[0].device) // len(networks)
    with ExitStack() as stack, torch.no_grad():
        states = [stack.enter_context(HiddenStates((*ids.shape, network.width), folder, limit)) for network in networks]
        layers = sum(network.layers for network in networks)
        progress.stage("Running the models", layers * len(ids), "windows")
        through_layers(networks, states, ids, progress)
        progress.stage("Comparing", len(ids), "windows")
        return compared(networks, states, ids, progress)


def embedded(network: Network, hidden: HiddenStates, ids: NDArray[np.int64], progress: Progress, done: int = 0) -> None:
    """Fills the hidden states with what meets the first layer. done: windows of the stage that are done."""
    for batch in hidden.batches:
        progress.update(done, "embedding")
        hidden[batch] = network.embed(ids[batch])


def through_layers(
    networks: Sequence[Network], states: Sequence[HiddenStates], ids: NDArray[np.int64], progress: Progress
) -> None:
    """Fills the hidden states of every network with what leaves its last layer; a window in a layer is a unit."""
    done = 0
    for network, hidden in zip(networks, states, strict=True):
        embedded(network, hidden, ids, progress)
    for number in range(max(network.layers for network in networks)):
        for network, hidden in zip(networks, states, strict=True):
            if number < network.layers:
                _through_layer(network, number, hidden, progress, done)
                done += len(ids)


def _through_layer(network: Network, number: int, hidden: HiddenStates, progress: Progress, done: int) -> None:
    note = f"layer {number + 1} of {network.layers}, {network.source.path.name}"
    with network.layer(number) as layer:
        for batch in hidden.batches:
            progress.update(done + batch.start, note)
            hidden[batch] = layer(hidden[batch].to(network.device))
    progress.update(done + len(hidden), note)


def compared(
    networks: Sequence[Network],
    states: Sequence[HiddenStates],
    ids: NDArray[np.int64],
    progress: Progress,
    done: int = 0,
) -> tuple[Scores, ...]:
    """The scores of every network against the first, from what left their last layers.

    done: windows of the stage that are done before. Raises NonFiniteActivations, what reading raises, and Cancelled.
    """
    windows, context = ids.shape
    first = first_scored(context)
    shape = (windows, context - 1 - first)
    found = [Scores(np.empty(shape), np.zeros(shape), np.empty(shape, np.int64)) for _ in networks]
    for batch in states[0].batches:
        hidden = [state[batch][:, first : context - 1].to(n.device) for n, state in zip(networks, states, strict=True)]
        sums, divergences = _batch(networks, hidden, ids[batch, first + 1 :], progress, done + batch.start)
        rows = (-1, shape[1])
        for number, (scores, softmax) in enumerate(zip(found, sums, strict=True)):
            scores.nll[batch] = softmax.nll.reshape(rows).cpu().numpy()
            scores.top[batch] = softmax.top.reshape(rows).cpu().numpy()
            if number:
                scores.kld[batch] = divergences[number - 1].kld.reshape(rows).cpu().numpy()
        progress.update(done + batch.stop)
    for network, scores in zip(networks, found, strict=True):
        if not (np.isfinite(scores.nll).all() and np.isfinite(scores.kld).all()):
            raise NonFiniteActivations(str(network.source.path), network.head.name)
    return tuple(found)


def _batch(
    networks: Sequence[Network],
    hidden: Sequence[torch.Tensor],
    targets: NDArray[np.int64],
    progress: Progress,
    done: int,
) -> tuple[list[Softmax], list[Divergence]]:
    """One batch through all output layers at once. hidden: (windows, scored, width). targets: (windows, scored)."""
    came = torch.from_numpy(np.ascontiguousarray(targets).reshape(-1)).to(networks[0].device)
    base, others = Room(), Room()
    sums = [Softmax(came, others if number else base) for number in range(len(networks))]
    divergences = [Divergence(sums[0], softmax, others) for softmax in sums[1:]]
    flat = [part.reshape(len(came), -1) for part in hidden]
    streams = (network.logit_tiles(part, TILE) for network, part in zip(networks, flat, strict=True))
    tiles: Any = zip(*streams, strict=True)
    for (first, of_base), *of_others in tiles:
        progress.update(done, f"tokens from {first}")
        weights, shrink = sums[0].add(first, of_base)
        for softmax, divergence, (_, logits) in zip(sums[1:], divergences, of_others, strict=True):
            softmax.add(first, logits)
            divergence.add(weights, shrink, of_base, logits)
    return sums, divergences

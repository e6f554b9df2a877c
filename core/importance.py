"""Computes importance matrices: mean squares of what meets every weight matrix while a model reads text.

The model is run layer by layer: all windows pass one layer, then the next is loaded, so a model larger than memory
works. Sums and counts are those of llama.cpp's llama-imatrix (tools/imatrix): one number per column and expert.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core import memory
from core.errors import NonFiniteActivations
from core.formats.atomic import check_output
from core.given_texts import given_texts
from core.imatrix import FEW_TOKENS, Entry, ImportanceMatrix, write_imatrix
from core.jobs import ImatrixJob, ImatrixResult, ImatrixTensor
from core.network.network import Linear, Network, check_context, open_network
from core.network.states import HiddenStates, states_bytes
from core.progress import Progress
from core.sources import open_source
from core.texts import windows_of

# Activations whose squares are in memory at a time; they are few enough to be added in single precision.
ROWS = 256


class Sums:
    """Sums of squares of what meets one weight matrix, or those of all experts.

    sums: float64 (matrices, columns). counts: (matrices,), how many activations were summed.
    """

    def __init__(self, matrices: int, columns: int, device: torch.device) -> None:
        self.sums = torch.zeros(matrices, columns, dtype=torch.float64, device=device)
        self.counts = [0] * matrices

    def add(self, matrix: int, activations: torch.Tensor) -> None:
        """Adds activations (…, columns)."""
        rows = activations.detach().reshape(-1, activations.shape[-1])
        for first in range(0, len(rows), ROWS):
            self.sums[matrix] += rows[first : first + ROWS].square().sum(0).double()
        self.counts[matrix] += len(rows)

    @property
    def entry(self) -> Entry:
        """As it is written."""
        counts = np.array(self.counts, np.float32).reshape(-1, 1)
        return Entry(self.sums.cpu().numpy().astype(np.float32), counts)


@contextmanager
def watched(linears: Mapping[str, Linear], device: torch.device) -> Iterator[dict[str, Sums]]:
    """Sums of squares of everything that meets these matrices while the block runs."""
    found = {name: Sums(len(linear.modules), linear.columns, device) for name, linear in linears.items()}
    handles = [
        module.register_forward_pre_hook(_adder(found[name], number))
        for name, linear in linears.items()
        for number, module in enumerate(linear.modules)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _adder(sums: Sums, matrix: int) -> Callable[[torch.nn.Module, tuple[Any, ...]], None]:
    def add(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        sums.add(matrix, inputs[0])

    return add


def imatrix(job: ImatrixJob, progress: Progress) -> ImatrixResult:
    """Computes and writes an importance matrix.

    Raises CannotRun, TextTooShort, DeviceNotAvailable, NonFiniteActivations, DiskFull, OutputNotWritable, what
    open_source and reading raise, and Cancelled; then nothing is left behind.
    """
    started = time.perf_counter()
    memory.reset_peak()
    if job.threads:
        torch.set_num_threads(job.threads)
    given = given_texts(job.text, "calibration", progress)
    progress.stage("Reading the model")
    with open_source(job.source) as source:
        output = output_of(job)
        check_output(output, 0)
        with open_network(source, job.device) as network:
            check_context(source, job.context)
            progress.stage("Reading the text")
            ids, datasets = windows_of(given, network.tokenizer, job.context, job.chunks)
            entries = entries_of(network, ids, output.parent, progress, with_output=job.process_output)
        architecture = source.architecture
    progress.stage("Writing")
    write_imatrix(output, ImportanceMatrix(entries, datasets, len(ids), job.context))
    tensors = tuple(coverage(name, entry) for name, entry in sorted(entries.items()))
    return ImatrixResult(
        source=job.source,
        output=str(output),
        architecture=architecture,
        datasets=datasets,
        context=job.context,
        chunks=len(ids),
        tokens=ids.size,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=memory.peak_bytes(),
        tensors=tensors,
        warnings=tuple(_warnings(tensors)),
    )


def output_of(job: ImatrixJob) -> Path:
    """The file to be written: the job's output itself, or one named after the model in that folder."""
    output, source = Path(job.output), Path(job.source)
    stem = source.stem if source.suffix in (".gguf", ".safetensors") else source.name
    return output / f"{stem}.imatrix.gguf" if output.is_dir() else output


def entries_of(
    network: Network, ids: np.ndarray[Any, Any], folder: Path, progress: Progress, *, with_output: bool = False
) -> dict[str, Entry]:
    """The entries of every weight matrix in the layers, by GGUF name; with_output: of the output layer, too.

    ids: (windows, context). folder: where hidden states may go that do not fit memory.
    """
    entries: dict[str, Entry] = {}
    progress.stage("Computing importance", network.layers * len(ids), "windows")
    limit = states_bytes(network.device)
    with HiddenStates((*ids.shape, network.width), folder, limit) as states, torch.no_grad():
        for batch in states.batches:
            states[batch] = network.embed(ids[batch])
            progress.update(0, "embedding")
        for number in range(network.layers):
            entries |= _of_layer(network, states, number, progress)
            memory.trim_heap()
        if with_output:
            sums = Sums(1, network.width, network.device)
            for batch in states.batches:
                sums.add(0, network.norm(states[batch].to(network.device)))
            entries[network.head.name] = sums.entry
    for name, entry in entries.items():
        if not np.isfinite(entry.sums).all():
            raise NonFiniteActivations(str(network.source.path), name)
    return entries


def _of_layer(network: Network, states: HiddenStates, number: int, progress: Progress) -> dict[str, Entry]:
    """Takes all windows through one layer."""
    note = f"layer {number + 1} of {network.layers}"
    windows = len(states)
    with network.layer(number) as layer, watched(layer.linears, network.device) as found:
        for batch in states.batches:
            progress.update(number * windows + batch.start, note)
            states[batch] = layer(states[batch].to(network.device))
        progress.update((number + 1) * windows, note)
    return {name: sums.entry for name, sums in found.items()}


def coverage(name: str, entry: Entry) -> ImatrixTensor:
    """How many activations an entry's matrices met."""
    counts = entry.counts.reshape(-1).astype(np.int64)
    shared = len(counts) > 1
    return ImatrixTensor(
        name=name,
        shape=(len(counts), entry.sums.shape[1]),
        tokens=int(counts.sum()),
        fewest=int(counts.min()),
        most=int(counts.max()),
        unused=int((counts == 0).sum()) if shared else 0,
        rare=int((counts < FEW_TOKENS).sum()) if shared else 0,
    )


def _warnings(tensors: tuple[ImatrixTensor, ...]) -> Iterator[str]:
    # The three matrices of an expert meet the same tokens: one of them stands for all.
    mixtures = [tensor for tensor in tensors if tensor.shape[0] > 1 and "ffn_down" in tensor.name]
    rare, unused = sum(tensor.rare for tensor in mixtures), sum(tensor.unused for tensor in mixtures)
    if rare:
        experts = sum(tensor.shape[0] for tensor in mixtures)
        yield (
            f"{rare} of {experts} experts met fewer than {FEW_TOKENS} tokens ({unused} none); their importance is "
            "blended with that of all experts of their layer, and more or broader text would cover them"
        )

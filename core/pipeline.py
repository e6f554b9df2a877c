"""Executes a plan: reads, quantizes, measures and writes tensor after tensor, verifies the file, then names it.

Nothing is decided here; `core.plan` did. Memory holds a few chunks of rows, whatever the size of the model or of a
tensor. The next chunk is read and the last one written while the present one is computed.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core import memory
from core.errors import DeviceNotAvailable, NonFiniteWeights, OutputIsSource, ValuesTooLarge
from core.formats.atomic import AtomicFile
from core.formats.gguf_writer import GGUFWriter
from core.jobs import Plan, QuantizeJob, QuantizeResult, TensorPlan, TensorResult
from core.metrics import figures
from core.plan import find_mix, make_plan, output_layout, output_metadata, refuse_quantized, rows_per_chunk
from core.progress import Progress
from core.sources import Source, SourceTensor, open_source
from core.verify import Expected, verify_written
from kernels import dispatch
from kernels.measure import ErrorSums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and with how many threads the numbers are made."""

    backend: str
    threads: int

    @classmethod
    def of(cls, job: QuantizeJob) -> Compute:
        """What a job asks for. Raises DeviceNotAvailable."""
        if job.device == "cuda":
            _require_cuda()
        return cls("gpu" if job.device == "cuda" else "auto", job.threads)


@dataclass(frozen=True, slots=True)
class Written:
    """One tensor in the output: its row of the plan, its error sums, and the CRC-32 of its data."""

    row: TensorPlan
    sums: ErrorSums
    crc32: int


def quantize(job: QuantizeJob, progress: Progress) -> QuantizeResult:
    """Plans, quantizes, measures and verifies; the output appears under its name only when all of that succeeded.

    peak_memory_bytes is the largest resident set of this process during the job. Raises what open_source, make_plan
    and verify_written raise, AlreadyQuantized, OutputIsSource, OutputNotWritable, DiskFull, NonFiniteWeights,
    ValuesTooLarge, DeviceNotAvailable, Cancelled.
    """
    began = time.monotonic()
    memory.reset_peak()
    compute = Compute.of(job)
    progress.stage("Planning")
    with open_source(job.source) as source:
        made = make_plan(source, job.options)
        refuse_quantized(source, job.options)
        _refuse_own_source(source, Path(job.output))
        metadata, places = output_metadata(source, find_mix(made.target)), output_layout(source, made)
        with AtomicFile(Path(job.output), made.bytes) as out:
            writer = GGUFWriter(out, metadata, places)
            written = write_tensors(source, made, writer, compute, progress)
            writer.finish()
            out.sync()
            expected = [
                Expected(row.name, row.shape, row.target_type, row.bytes, crc)
                for row, crc in ((item.row, item.crc32) for item in written)
            ]
            verify_written(out.path, expected, made.bytes, writer.hexdigest(), progress)
            out.commit()
    return _result(job, made, written, writer.hexdigest(), time.monotonic() - began)


def write_tensors(
    source: Source, made: Plan, writer: GGUFWriter, compute: Compute, progress: Progress
) -> list[Written]:
    """Streams every tensor of the plan through memory into the writer, in order."""
    progress.stage("Quantizing", sum(row.source_bytes for row in made.tensors))
    by_name = {tensor.name: tensor for tensor in source.tensors}
    written, done = [], 0
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as pen:
        stream = Stream(source, writer, compute, reader, pen)
        for row in made.tensors:
            tensor = by_name[row.name]
            written.append(stream.tensor(tensor, row, _reporter(progress, done, row.name)))
            done += row.source_bytes
            source.release(tensor)
    return written


@dataclass(frozen=True, slots=True)
class Stream:
    """Where rows come from and go to; one thread reads ahead, one writes behind."""

    source: Source
    writer: GGUFWriter
    compute: Compute
    reader: ThreadPoolExecutor
    pen: ThreadPoolExecutor

    def tensor(self, tensor: SourceTensor, row: TensorPlan, report: Callable[[int], None]) -> Written:
        """Quantizes one tensor, and reports the source bytes behind it after every chunk.

        Raises NonFiniteWeights, ValuesTooLarge.
        """
        sums, done = ErrorSums(), 0
        crc = self.pen.submit(int)  # the CRC-32 of nothing
        for raw in ahead(self.reader, lambda part: self.source.raw(tensor, *part), _parts(tensor)):
            data, chunk_sums = quantize_chunk(raw, tensor, row.target_type, self.compute)
            sums += chunk_sums
            if not math.isfinite(sums.squared_x):
                raise NonFiniteWeights(str(self.source.path), tensor.name)
            if not math.isfinite(sums.squared_y):
                raise ValuesTooLarge(str(self.source.path), tensor.name, row.target_type)
            crc = self.pen.submit(_put, self.writer, tensor.name, data, crc.result())
            done += raw.nbytes
            report(done)
        return Written(row, sums, crc.result())


def _reporter(progress: Progress, start: int, name: str) -> Callable[[int], None]:
    return lambda n_bytes: progress.update(start + n_bytes, name)


def quantize_chunk(
    raw: NDArray[np.uint8], tensor: SourceTensor, target: str, compute: Compute
) -> tuple[NDArray[np.uint8], ErrorSums]:
    """Rows in the source's type, (n_rows, row_bytes) -> rows in the target type and the sums of the error made."""
    backend, threads = compute.backend, compute.threads
    x = dispatch.decode(tensor.type, raw, tensor.row_length, backend=backend, threads=threads)
    if target == tensor.type:
        return raw, dispatch.measure(x, x, backend=backend, threads=threads)
    return dispatch.encode_measured(target, x, backend=backend, threads=threads)


def ahead(executor: ThreadPoolExecutor, make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """make(item) for every item in order, each begun while the one before is used."""
    pending: Future[Made] | None = None
    for item in items:
        following = executor.submit(make, item)
        if pending is not None:
            yield pending.result()
        pending = following
    if pending is not None:
        yield pending.result()


def _parts(tensor: SourceTensor) -> Iterator[tuple[int, int]]:
    """(first row, number of rows) of each chunk."""
    step = rows_per_chunk(tensor.row_length)
    for first in range(0, tensor.rows, step):
        yield first, min(step, tensor.rows - first)


def _put(writer: GGUFWriter, name: str, data: NDArray[np.uint8], crc: int) -> int:
    """Writes one chunk and continues the tensor's CRC-32 over it."""
    writer.append(name, data)
    return zlib.crc32(data.data, crc)


def _refuse_own_source(source: Source, output: Path) -> None:
    if output.exists() and any(os.path.samefile(output, file) for file in source.files):
        raise OutputIsSource(str(output))


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        raise DeviceNotAvailable(
            "cuda", "PyTorch finds no CUDA device" if built else "this PyTorch is built without it"
        )


def _result(job: QuantizeJob, made: Plan, written: list[Written], sha256: str, seconds: float) -> QuantizeResult:
    parameters = sum(row.elements for row in made.tensors)
    return QuantizeResult(
        source=made.source,
        output=job.output,
        target=made.target,
        architecture=made.architecture,
        source_bytes=made.source_bytes,
        bytes=made.bytes,
        bpw_before=8 * sum(row.source_bytes for row in made.tensors) / parameters,
        bpw=made.bits_per_weight,
        seconds=seconds,
        peak_memory_bytes=memory.peak_bytes(),
        sha256=sha256,
        total=figures(sum((item.sums for item in written), ErrorSums())),
        tensors=tuple(_tensor_result(item) for item in written),
    )


def _tensor_result(item: Written) -> TensorResult:
    row = item.row
    return TensorResult.model_validate(
        {
            "name": row.name,
            "shape": row.shape,
            "from": row.source_type,
            "type": row.target_type,
            "elements": row.elements,
            "source_bytes": row.source_bytes,
            "bytes": row.bytes,
            "bpw_before": 8 * row.source_bytes / row.elements,
            "bpw": row.bpw,
            "reason": row.reason,
            "fallback": row.fallback,
            **figures(item.sums).model_dump(),
        }
    )

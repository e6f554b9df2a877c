"""Executes plans: reads, quantizes, measures and writes tensor after tensor, verifies the files, then names them.

Nothing is decided here; `core.plan` did. Several outputs of one source are made in one pass: every chunk is read and
decoded once. Memory holds a few chunks of rows, whatever the size of the model or of a tensor. The next chunk is read
and the last one written while the present one is computed.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core import memory
from core.errors import DeviceNotAvailable, NonFiniteWeights, OutputIsSource, OutputNotWritable, ValuesTooLarge
from core.formats.atomic import AtomicFile
from core.formats.gguf_writer import GGUFWriter
from core.jobs import (
    Fit,
    QuantizeJob,
    QuantizeManyJob,
    QuantizeManyResult,
    QuantizeResult,
    TensorPlan,
    TensorResult,
)
from core.metrics import figures
from core.parts import Part, path_of
from core.plan import Prepared, prepare, refuse_quantized, rows_per_chunk
from core.progress import Progress
from core.sources import Source, SourceTensor, open_source
from core.verify import READ_BYTES, Expected, verify_written
from core.weighting import means_of
from kernels import dispatch
from kernels.codecs import CODECS
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

    def backend_for(self, type_name: str, fit: Fit = "fast", weighted: bool = False) -> str:
        """The backend for one type: the processor takes what the device has no code for."""
        level = CODECS[type_name].at(fit)
        able = level.weighted if weighted else level.backends
        return self.backend if self.backend in ("auto", *able) else "auto"


@dataclass(frozen=True, slots=True)
class Written:
    """One tensor in the output: its row of the plan, its error sums, and the CRC-32 of its data."""

    row: TensorPlan
    sums: ErrorSums
    crc32: int


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file being written: where it goes, and the tensors that belong into it."""

    out: AtomicFile
    writer: GGUFWriter
    part: Part

    def verify(self, written: dict[str, Written], progress: Progress) -> None:
        """Completes the file and compares it with what was meant to be in it. Raises VerificationFailed."""
        self.writer.finish()
        self.out.sync()
        expected = [
            Expected(slot.name, slot.shape, slot.type, written[slot.name].row.bytes, written[slot.name].crc32)
            for slot in self.part.layout.tensors
        ]
        verify_written(self.out.path, expected, self.part.layout.bytes, self.writer.hexdigest(), progress)


@dataclass(slots=True)
class Target:
    """One output being written: what was decided for it, its files, and the tensors that are complete."""

    job: QuantizeJob
    prepared: Prepared
    files: tuple[OutputFile, ...]
    rows: dict[str, TensorPlan]
    file_of: dict[str, OutputFile]
    written: dict[str, Written]

    @classmethod
    def begin(cls, job: QuantizeJob, prepared: Prepared, outs: Sequence[AtomicFile]) -> Target:
        """Writes the headers."""
        files = tuple(
            OutputFile(out, GGUFWriter(out, part.metadata, part.layout), part)
            for out, part in zip(outs, prepared.parts, strict=True)
        )
        file_of = {slot.name: file for file in files for slot in file.part.layout.tensors}
        return cls(job, prepared, files, {row.name: row for row in prepared.plan.tensors}, file_of, {})


def quantize(job: QuantizeJob, progress: Progress) -> QuantizeResult:
    """Plans, quantizes, measures and verifies; the output appears under its name only when all of that succeeded.

    peak_memory_bytes is the largest resident set of this process during the job. Raises what open_source, prepare
    and verify_written raise, AlreadyQuantized, OutputIsSource, OutputNotWritable, DiskFull, NonFiniteWeights,
    ValuesTooLarge, DeviceNotAvailable, Cancelled.
    """
    return _quantize([job], progress)[0]


def quantize_many(job: QuantizeManyJob, progress: Progress) -> QuantizeManyResult:
    """The same for several targets in one pass; no output gets its name before all are verified.

    Raises what `quantize` raises, and OutputNotWritable where two outputs have one name.
    """
    paths = [os.path.abspath(output) for output in job.outputs]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise OutputNotWritable(twice, "two of the targets would have this name")
    return QuantizeManyResult(results=tuple(_quantize(job.jobs, progress)))


def _quantize(jobs: Sequence[QuantizeJob], progress: Progress) -> list[QuantizeResult]:
    began = time.monotonic()
    memory.reset_peak()
    compute = Compute.of(jobs[0])
    progress.stage("Planning")
    with open_source(jobs[0].source) as source, ExitStack() as stack:
        targets: list[Target] = []
        reserved = 0  # what is written at the same time needs its room at the same time
        for job, prepared in [(job, prepare(source, job.options)) for job in jobs]:
            refuse_quantized(source, prepared.plan, job.options)
            outs = []
            for path, part in zip(output_paths(job, prepared), prepared.parts, strict=True):
                _refuse_own_source(source, path)
                reserved += part.layout.bytes
                outs.append(stack.enter_context(AtomicFile(path, reserved)))
            targets.append(Target.begin(job, prepared, outs))
        write_tensors(source, targets, compute, progress)
        files = [(target, file) for target in targets for file in target.files]
        for target, file in files:
            file.verify(target.written, progress)
        for _, file in files:
            file.out.commit()
    return [_result(target, time.monotonic() - began) for target in targets]


def output_paths(job: QuantizeJob, prepared: Prepared) -> list[Path]:
    """The files that a job makes, the first part first."""
    count = len(prepared.parts)
    return [path_of(Path(job.output), number, count) for number in range(count)]


def write_tensors(source: Source, targets: Sequence[Target], compute: Compute, progress: Progress) -> None:
    """Streams every tensor of the source through memory into the writers, in order."""
    progress.stage("Quantizing", sum(tensor.bytes for tensor in source.tensors))
    done = 0
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as pen:
        stream = Stream(source, targets, compute, reader, pen)
        for tensor in source.tensors:
            stream.tensor(tensor, _reporter(progress, done, tensor.name))
            done += tensor.bytes
            source.release(tensor)


@dataclass(frozen=True, slots=True)
class Stream:
    """Where rows come from and go to; one thread reads ahead, one writes behind."""

    source: Source
    targets: Sequence[Target]
    compute: Compute
    reader: ThreadPoolExecutor
    pen: ThreadPoolExecutor

    def tensor(self, tensor: SourceTensor, report: Callable[[int], None]) -> None:
        """Quantizes one tensor for every target, and reports the source bytes behind it after every chunk.

        Raises NonFiniteWeights, ValuesTooLarge.
        """
        flows = [Flow.of(target, tensor, self.pen) for target in self.targets]
        matrices = max(flow.matrices for flow in flows)
        done = 0
        parts = list(_parts(tensor, matrices))
        for (first, _), raw in zip(parts, ahead(self.reader, self._reading(tensor), parts), strict=True):
            x = self._decoded(tensor, raw)
            for flow in flows:
                data, sums = self._quantized(tensor, raw, x, flow, first)
                flow.add(data, sums, self.pen)
            done += raw.nbytes
            report(done)
        for flow in flows:
            flow.target.written[tensor.name] = Written(flow.row, flow.sums, flow.crc.result())

    def _reading(self, tensor: SourceTensor) -> Callable[[tuple[int, int]], NDArray[np.uint8]]:
        return lambda part: self.source.raw(tensor, *part)

    def _decoded(self, tensor: SourceTensor, raw: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The numbers of a chunk, or None for a type that cannot be read here and is only copied."""
        if not tensor.readable:
            return None
        backend = self.compute.backend_for(tensor.type)
        return dispatch.decode(tensor.type, raw, tensor.row_length, backend=backend, threads=self.compute.threads)

    def _quantized(
        self, tensor: SourceTensor, raw: NDArray[np.uint8], x: NDArray[np.float32] | None, flow: Flow, first: int
    ) -> tuple[NDArray[np.uint8], ErrorSums]:
        """Rows in the target type, and the sums of the error made. first: the chunk's first row."""
        if x is None:
            return raw, ErrorSums(n=raw.shape[0] * tensor.row_length)
        target, threads = flow.row.target_type, self.compute.threads
        if target == tensor.type:
            data = raw
            sums = dispatch.measure(x, x, backend=self.compute.backend, threads=threads)
        else:
            weights = None if flow.means is None else flow.means[first * flow.matrices // tensor.rows]
            fit = flow.target.job.options.fit
            backend = self.compute.backend_for(target, fit, weighted=weights is not None)
            data, sums = dispatch.encode_measured(
                target, x, importance=weights, fit=fit, backend=backend, threads=threads
            )
        if not math.isfinite(sums.squared_x):
            raise NonFiniteWeights(str(self.source.path), tensor.name)
        if not math.isfinite(sums.squared_y):
            raise ValuesTooLarge(str(self.source.path), tensor.name, target)
        return data, sums


@dataclass(slots=True)
class Flow:
    """One tensor on its way into one target. means: importance, float32 (matrices, row length), or None."""

    target: Target
    row: TensorPlan
    means: NDArray[np.float32] | None
    sums: ErrorSums
    crc: Future[int]

    @classmethod
    def of(cls, target: Target, tensor: SourceTensor, pen: ThreadPoolExecutor) -> Flow:
        """Nothing has gone through yet."""
        row, matrix = target.rows[tensor.name], target.prepared.matrix
        means = means_of(matrix, row.name, row.shape) if row.weighted and matrix is not None else None
        return cls(target, row, means, ErrorSums(), pen.submit(int))  # the CRC-32 of nothing

    @property
    def matrices(self) -> int:
        """In how many parts the tensor's rows must be encoded: those of one expert share its importance."""
        return 1 if self.means is None else len(self.means)

    def add(self, data: NDArray[np.uint8], sums: ErrorSums, pen: ThreadPoolExecutor) -> None:
        """Writes one chunk behind the last one."""
        self.sums += sums
        writer = self.target.file_of[self.row.name].writer
        self.crc = pen.submit(_put, writer, self.row.name, data, self.crc.result())


def _reporter(progress: Progress, start: int, name: str) -> Callable[[int], None]:
    return lambda n_bytes: progress.update(start + n_bytes, name)


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


def _parts(tensor: SourceTensor, matrices: int) -> Iterator[tuple[int, int]]:
    """(first row, number of rows) of each chunk; none reaches over the end of a matrix."""
    step, rows = rows_per_chunk(tensor.row_length), tensor.rows // matrices
    for begin in range(0, tensor.rows, rows):
        for first in range(begin, begin + rows, step):
            yield first, min(step, begin + rows - first)


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


def _result(target: Target, seconds: float) -> QuantizeResult:
    made = target.prepared.plan
    written = [target.written[row.name] for row in made.tensors]
    parameters = sum(row.elements for row in made.tensors)
    return QuantizeResult(
        source=made.source,
        output=str(output_paths(target.job, target.prepared)[0]),
        target=made.target,
        architecture=made.architecture,
        source_bytes=made.source_bytes,
        bytes=made.bytes,
        bpw_before=8 * sum(row.source_bytes for row in made.tensors) / parameters,
        bpw=made.bits_per_weight,
        seconds=seconds,
        peak_memory_bytes=memory.peak_bytes(),
        sha256=_digest(target),
        total=figures(sum((item.sums for item in written), ErrorSums())),
        tensors=tuple(_tensor_result(item) for item in written),
    )


def _digest(target: Target) -> str:
    """The SHA-256 of the output; of several files, that of all of them one after another."""
    if len(target.files) == 1:
        return target.files[0].writer.hexdigest()
    digest = hashlib.sha256()
    for file in target.files:
        with file.out.target.open("rb") as parts:
            while data := parts.read(READ_BYTES):
                digest.update(data)
    return digest.hexdigest()


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

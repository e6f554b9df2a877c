"""Executes plans: reads, quantizes, measures and writes tensor after tensor, verifies the files, then names them.

Nothing is decided here; `core.plan` did. Several outputs of one source are made in one pass: every chunk is read and
decoded once. Memory holds a few chunks of rows, whatever the size of the model or of a tensor. While chunks are
computed, those behind them are read (core.stream), and what was written is read back from the disk (core.readback).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from core import memory, stream
from core.chunks import Chunk, Compute, Made, Wanted, chunks_of
from core.errors import OutputIsSource, OutputNotWritable
from core.formats.atomic import AtomicFile
from core.formats.gguf_writer import GGUFWriter
from core.jobs import (
    QuantizeJob,
    QuantizeManyJob,
    QuantizeManyResult,
    QuantizeResult,
    TensorPlan,
    TensorResult,
)
from core.metrics import figures
from core.parts import Part, path_of
from core.plan import Prepared, prepare, refuse_quantized
from core.progress import Progress
from core.readback import READ_BYTES, Mark, ReadBack
from core.sources import Source, SourceTensor
from core.sources.converter import open_or_convert
from core.verify import Expected, verify_written
from core.weighting import means_of
from kernels.measure import ErrorSums

WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file being written: where it goes, the tensors that belong into it, and what follows it on the disk."""

    out: AtomicFile
    writer: GGUFWriter
    part: Part
    behind: ReadBack

    @classmethod
    def begin(cls, out: AtomicFile, part: Part, stack: ExitStack) -> OutputFile:
        """Writes the header."""
        writer = GGUFWriter(out, part.metadata, part.layout)
        behind = stack.enter_context(ReadBack(out.path, out.sync, part.layout.bytes))
        behind.wrote(Mark(writer.position, writer.digest(), "the header"))
        return cls(out, writer, part, behind)

    def append(self, name: str, made: Made) -> None:
        """Writes a chunk behind the last one."""
        self.writer.append(name, made.data)

    def completed(self, name: str) -> None:
        """A tensor was written to its end. Raises what was found on the disk meanwhile."""
        self.behind.wrote(Mark(self.writer.position, self.writer.digest(), f"tensor {name}"))

    def check(self) -> None:
        """Opens the complete file with an independent reader. Raises VerificationFailed."""
        self.writer.finish()
        slots = self.part.layout.tensors
        expected = [Expected(slot.name, slot.shape, slot.type, slot.bytes) for slot in slots]
        verify_written(self.out.path, expected, self.part.layout.bytes)


@dataclass(slots=True)
class Target:
    """One output being written: what was decided for it, its files, and the error sums of every tensor."""

    job: QuantizeJob
    prepared: Prepared
    files: tuple[OutputFile, ...]
    rows: dict[str, TensorPlan]
    file_of: dict[str, OutputFile]
    sums: dict[str, ErrorSums]

    @classmethod
    def begin(cls, job: QuantizeJob, prepared: Prepared, files: Sequence[OutputFile]) -> Target:
        """Nothing but the headers has been written yet."""
        file_of = {slot.name: file for file in files for slot in file.part.layout.tensors}
        return cls(job, prepared, tuple(files), {row.name: row for row in prepared.plan.tensors}, file_of, {})

    def wanted(self, tensor: SourceTensor) -> Wanted:
        """What is to be made of a tensor."""
        row, matrix = self.rows[tensor.name], self.prepared.matrix
        means = means_of(matrix, row.name, row.shape) if row.weighted and matrix is not None else None
        return Wanted(row, self.job.options.fit, means)

    def add(self, chunk: Chunk, made: Made) -> None:
        """Writes a chunk, and with the last one of a tensor completes it."""
        name = chunk.tensor.name
        self.sums[name] = self.sums.get(name, ErrorSums()) + made.sums
        self.file_of[name].append(name, made)
        if chunk.is_last:
            self.file_of[name].completed(name)


def quantize(job: QuantizeJob, progress: Progress) -> QuantizeResult:
    """Plans, quantizes, measures and verifies; the output appears under its name only when all of that succeeded.

    peak_memory_bytes is the largest resident set of this process during the job. Raises what open_or_convert, prepare
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
    beside = Path(jobs[0].output).parent
    with (
        open_or_convert(jobs[0].source, jobs[0].options.converter, beside, progress) as source,
        ExitStack() as stack,
    ):
        targets: list[Target] = []
        reserved = 0  # what is written at the same time needs its room at the same time
        for job, prepared in [(job, prepare(source, job.options)) for job in jobs]:
            refuse_quantized(source, prepared.plan, job.options)
            files = []
            for path, part in zip(output_paths(job, prepared), prepared.parts, strict=True):
                _refuse_own_source(source, path)
                reserved += part.layout.bytes
                files.append(OutputFile.begin(stack.enter_context(AtomicFile(path, reserved)), part, stack))
            targets.append(Target.begin(job, prepared, files))
        write_tensors(source, targets, compute, progress)
        verify_files([file for target in targets for file in target.files], progress)
        for target in targets:
            for file in target.files:
                file.out.commit()
    return [_result(target, time.monotonic() - began) for target in targets]


def output_paths(job: QuantizeJob, prepared: Prepared) -> list[Path]:
    """The files that a job makes, the first part first."""
    count = len(prepared.parts)
    return [path_of(Path(job.output), number, count) for number in range(count)]


def write_tensors(source: Source, targets: Sequence[Target], compute: Compute, progress: Progress) -> None:
    """Streams every tensor of the source through memory into the files, in order."""
    progress.stage("Quantizing", sum(tensor.bytes for tensor in source.tensors))
    done = 0
    with closing(stream.flow(source, _chunks(source, targets), compute)) as flow:
        for chunk, made in flow:
            for target, own in zip(targets, made, strict=True):
                target.add(chunk, own)
            done += chunk.rows * chunk.tensor.row_bytes
            progress.update(done, chunk.tensor.name)
            if chunk.is_last:
                source.release(chunk.tensor)


def _chunks(source: Source, targets: Sequence[Target]) -> Iterator[Chunk]:
    for tensor in source.tensors:
        yield from chunks_of(tensor, [target.wanted(tensor) for target in targets])


def verify_files(files: Sequence[OutputFile], progress: Progress) -> None:
    """Waits until every file has been read back, and opens each with an independent reader.

    Raises VerificationFailed, ReadFailed.
    """
    progress.stage("Verifying", sum(file.part.layout.bytes for file in files))
    for file in files:
        while not file.behind.wait(WAIT_S):
            progress.update(sum(each.behind.done for each in files))
        file.check()
    progress.update(sum(each.behind.done for each in files))


def _refuse_own_source(source: Source, output: Path) -> None:
    if output.exists() and any(os.path.samefile(output, file) for file in source.files):
        raise OutputIsSource(str(output))


def _result(target: Target, seconds: float) -> QuantizeResult:
    made = target.prepared.plan
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
        total=figures(sum((target.sums[row.name] for row in made.tensors), ErrorSums())),
        tensors=tuple(_tensor_result(row, target.sums[row.name]) for row in made.tensors),
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


def _tensor_result(row: TensorPlan, sums: ErrorSums) -> TensorResult:
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
            **figures(sums).model_dump(),
        }
    )

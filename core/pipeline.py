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
from pathlib import Path

from core import memory, stream
from core.chunks import Chunk, Compute, chunks_of
from core.errors import OutputNotWritable
from core.jobs import QuantizeJob, QuantizeManyJob, QuantizeManyResult, QuantizeResult
from core.metrics import figures, tensor_result
from core.outputs import OutputFile, Outputs, Target, open_outputs, output_paths
from core.plan import prepare, refuse_quantized
from core.progress import Progress
from core.readback import READ_BYTES
from core.sources import Source
from core.sources.converter import open_or_convert
from core.sources.pruned import without_layers
from kernels.measure import ErrorSums

WAIT_S = 0.05


def quantize(job: QuantizeJob, progress: Progress) -> QuantizeResult:
    """Plans, quantizes, measures and verifies; the output appears under its name only when all of that succeeded.

    peak_memory_bytes is the largest resident set of this process during the job. Raises what open_or_convert, prepare,
    without_layers and verify_written raise, AlreadyQuantized, OutputIsSource, OutputNotWritable, DiskFull,
    NonFiniteWeights, ValuesTooLarge, DeviceNotAvailable, Cancelled.
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
    memory.reset_peak()
    compute = Compute.of(jobs[0])
    progress.stage("Planning")
    beside = Path(jobs[0].output).parent
    with (
        open_or_convert(jobs[0].source, jobs[0].options.converter, beside, progress) as whole,
        ExitStack() as stack,
    ):
        source = without_layers(whole, jobs[0].options.prune_layers)
        work = [(job, prepare(source, job.options)) for job in jobs]
        for job, prepared in work:
            refuse_quantized(source, prepared.plan, job.options)
        outputs = open_outputs(source, work, progress, stack)
        _solve(source, outputs, progress, stack)
        write_tensors(source, outputs, compute, progress)
        verify_files(outputs.files, progress)
        outputs.commit()
    results = [_result(target, time.monotonic() - outputs.began) for target in outputs.targets]
    for target in outputs.targets:
        if target.solved is not None:
            target.solved.remove()
    return results


def _solve(source: Source, outputs: Outputs, progress: Progress, stack: ExitStack) -> None:
    """Solves the matrices of those targets that want it; what an interrupted job had solved is gone on with."""
    for target in outputs.targets:
        if target.job.options.gptq is not None:
            from core.calibrated_gguf import solve  # torch's networks, which the other targets do without

            target.solved = solve(target.job, source, target.prepared, progress)
            stack.push(target.solved.ended(keep_unfinished=target.job.keep_unfinished))


def write_tensors(source: Source, outputs: Outputs, compute: Compute, progress: Progress) -> None:
    """Streams every tensor of the source that is not done yet through memory into the files, in order."""
    done = sum(tensor.bytes for tensor in source.tensors[: outputs.done])
    progress.stage("Quantizing", sum(tensor.bytes for tensor in source.tensors), begun=done)
    with closing(stream.flow(source, _chunks(source, outputs, compute), compute)) as flow:
        for chunk, made in flow:
            outputs.add(chunk, made)
            done += chunk.rows * chunk.tensor.row_bytes
            progress.update(done, chunk.tensor.name)
            if chunk.is_last:
                source.release(chunk.tensor)


def _chunks(source: Source, outputs: Outputs, compute: Compute) -> Iterator[Chunk]:
    for tensor in source.tensors[outputs.done :]:
        yield from chunks_of(tensor, [target.wanted(tensor) for target in outputs.targets], compute)


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
        tensors=tuple(tensor_result(row, target.sums[row.name]) for row in made.tensors),
        layers=() if target.solved is None else target.solved.figures,
        warnings=made.warnings,
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

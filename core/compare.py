"""Per-tensor error of one model against another, in any two formats, matched by GGUF tensor name."""

from __future__ import annotations

import math

from core.errors import NonFiniteWeights, NothingToCompare, ShapesDiffer
from core.jobs import CompareJob, CompareResult, TensorResult
from core.metrics import figures
from core.plan import rows_per_chunk
from core.progress import Progress
from core.sources import Source, SourceTensor, open_source
from kernels import dispatch
from kernels.measure import ErrorSums


def compare(job: CompareJob, progress: Progress) -> CompareResult:
    """The error of `other` against `source`, tensor by tensor in the order of `source`.

    Raises what open_source raises for either, NothingToCompare, ShapesDiffer, UnsupportedType, NonFiniteWeights.
    """
    progress.stage("Reading headers")
    with open_source(job.source) as source, open_source(job.other) as other:
        pairs, missing = match(source, other)
        progress.stage("Comparing", sum(mine.elements for mine, _ in pairs), "weights")
        rows, total, done = [], ErrorSums(), 0
        for mine, theirs in pairs:
            sums = ErrorSums()
            for first, count in _parts(mine):
                sums += _difference(source, mine, other, theirs, first, count)
                progress.update(done + first * mine.row_length, mine.name)
            done += mine.elements
            progress.update(done, mine.name)
            total += sums
            rows.append(_row(mine, theirs, sums))
            source.release(mine)
            other.release(theirs)
    return CompareResult(
        source=job.source, other=job.other, total=figures(total), tensors=tuple(rows), missing=tuple(missing)
    )


def match(source: Source, other: Source) -> tuple[list[tuple[SourceTensor, SourceTensor]], list[str]]:
    """The tensors that both have, and the names that only one has. Raises NothingToCompare, ShapesDiffer."""
    theirs = {tensor.name: tensor for tensor in other.tensors}
    mine = {tensor.name: tensor for tensor in source.tensors}
    pairs = [(tensor, theirs[tensor.name]) for tensor in source.tensors if tensor.name in theirs]
    if not pairs:
        raise NothingToCompare(str(source.path), str(other.path))
    for tensor, twin in pairs:
        if tensor.shape != twin.shape:
            raise ShapesDiffer(tensor.name, tensor.shape, twin.shape)
    missing = [name for name in mine if name not in theirs] + [name for name in theirs if name not in mine]
    return pairs, missing


def _parts(tensor: SourceTensor) -> list[tuple[int, int]]:
    step = rows_per_chunk(tensor.row_length)
    return [(first, min(step, tensor.rows - first)) for first in range(0, tensor.rows, step)]


def _difference(
    source: Source, mine: SourceTensor, other: Source, theirs: SourceTensor, first: int, count: int
) -> ErrorSums:
    """The error sums of one chunk of rows. Raises NonFiniteWeights for the side that is damaged."""
    sums = dispatch.measure(source.read(mine, first, count), other.read(theirs, first, count))
    if not math.isfinite(sums.squared_x):
        raise NonFiniteWeights(str(source.path), mine.name)
    if not math.isfinite(sums.squared_y):
        raise NonFiniteWeights(str(other.path), theirs.name)
    return sums


def _row(mine: SourceTensor, theirs: SourceTensor, sums: ErrorSums) -> TensorResult:
    return TensorResult.model_validate(
        {
            "name": mine.name,
            "shape": mine.shape,
            "from": mine.type,
            "type": theirs.type,
            "elements": mine.elements,
            "source_bytes": mine.bytes,
            "bytes": theirs.bytes,
            "bpw_before": 8 * mine.bytes / mine.elements,
            "bpw": 8 * theirs.bytes / theirs.elements,
            **figures(sums).model_dump(),
        }
    )

"""What happens to a run of rows between the source and the outputs: decoded once, encoded and measured per target.

A chunk is computed by one thread from its bytes to its codes, so that its numbers stay in the processor's caches and no
thread waits for another; how many chunks are computed at once says `Compute`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.cuda import require_cuda
from core.errors import NonFiniteWeights, ValuesTooLarge
from core.jobs import Fit, QuantizeJob, TensorPlan
from core.plan import rows_per_chunk
from core.repacking import stored_floats
from core.sources import Source, SourceTensor
from kernels import dispatch
from kernels.codecs import CODECS
from kernels.cpu.parallel import available_threads
from kernels.measure import ErrorSums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and with how many threads the numbers are made. threads: 0 = all cores."""

    backend: str
    threads: int

    @classmethod
    def of(cls, job: QuantizeJob) -> Compute:
        """What a job asks for. Raises DeviceNotAvailable."""
        if job.device == "cuda":
            require_cuda()
        return cls("gpu" if job.device == "cuda" else "auto", job.threads)

    @property
    def workers(self) -> int:
        """How many chunks are computed at once; a device does all its work by itself."""
        return 1 if self.backend == "gpu" else self.threads or available_threads()

    def rows_per_chunk(self, row_length: int) -> int:
        """How many whole rows are processed at a time: a device takes more, since each of its steps has a price."""
        if self.backend != "gpu":
            return rows_per_chunk(row_length)
        return max(1, dispatch.BACKENDS[self.backend].chunk_elements // row_length)

    def backend_for(self, type_name: str, fit: Fit = "fast", weighted: bool = False) -> str:
        """The backend for one type: the processor takes what the device has no code for."""
        level = CODECS[type_name].at(fit)
        able = level.weighted if weighted else level.backends
        return self.backend if self.backend in ("auto", *able) else "auto"


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What one target makes of a tensor. means: importance, float32 (matrices, row length), or None.

    solved: its bytes (rows, row bytes) where they are known already, or None.
    """

    row: TensorPlan
    fit: Fit = "fast"
    means: NDArray[np.float32] | None = None
    solved: NDArray[np.uint8] | None = None

    @property
    def matrices(self) -> int:
        """In how many parts the tensor's rows must be encoded: those of one expert share its importance."""
        return 1 if self.means is None else len(self.means)

    def importance(self, tensor: SourceTensor, first: int) -> NDArray[np.float32] | None:
        """The importance of a chunk that begins with row `first`: float32 (row length,)."""
        return None if self.means is None else self.means[first * self.matrices // tensor.rows]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows [first, first + rows) of a tensor, and what every target makes of them."""

    tensor: SourceTensor
    wanted: tuple[Wanted, ...]
    first: int
    rows: int

    @property
    def is_last(self) -> bool:
        """Whether the tensor ends with it."""
        return self.first + self.rows == self.tensor.rows


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A chunk in a target's type, uint8 (rows, row bytes), and the sums of the error made."""

    data: NDArray[np.uint8]
    sums: ErrorSums


def chunks_of(tensor: SourceTensor, wanted: Sequence[Wanted], compute: Compute) -> Iterator[Chunk]:
    """A tensor cut into chunks; none reaches over the end of a matrix."""
    step, rows = compute.rows_per_chunk(tensor.row_length), tensor.rows // max(item.matrices for item in wanted)
    for begin in range(0, tensor.rows, rows):
        for first in range(begin, begin + rows, step):
            yield Chunk(tensor, tuple(wanted), first, min(step, begin + rows - first))


def make(source: Source, chunk: Chunk, raw: NDArray[np.uint8], compute: Compute) -> list[Made]:
    """A chunk for every target from its bytes in the source. Raises NonFiniteWeights, ValuesTooLarge."""
    x = _decoded(chunk.tensor, raw, compute)
    return [_made(source, chunk, wanted, raw, x, compute) for wanted in chunk.wanted]


def _decoded(tensor: SourceTensor, raw: NDArray[np.uint8], compute: Compute) -> Any:
    """The numbers of a chunk where they are needed next, or None for a type that cannot be read and is only copied."""
    if not tensor.readable:
        return None
    backend = compute.backend_for(tensor.type)
    return dispatch.decode_in_place(tensor.type, raw, tensor.row_length, backend=backend, threads=1)


def _made(
    source: Source,
    chunk: Chunk,
    wanted: Wanted,
    raw: NDArray[np.uint8],
    x: Any,
    compute: Compute,
) -> Made:
    tensor, target = chunk.tensor, wanted.row.target_type
    if x is None:
        return Made(raw, ErrorSums(n=chunk.rows * tensor.row_length))
    if target == tensor.type:
        made = Made(raw, dispatch.measure(x, x, backend=compute.backend, threads=1))
    elif wanted.solved is not None:
        data = wanted.solved[chunk.first : chunk.first + chunk.rows]
        values = dispatch.decode(target, data, tensor.row_length, threads=1)
        made = Made(data, dispatch.measure(x, values, backend=compute.backend, threads=1))
    else:
        importance = wanted.importance(tensor, chunk.first)
        backend = compute.backend_for(target, wanted.fit, weighted=importance is not None)
        stored = stored_floats(tensor) if wanted.row.repacked else None
        encoded = dispatch.encode_measured(
            target, x, importance=importance, fit=wanted.fit, stored=stored, backend=backend, threads=1
        )
        made = Made(*encoded)
    if not math.isfinite(made.sums.squared_x):
        raise NonFiniteWeights(str(source.path), tensor.name)
    if not math.isfinite(made.sums.squared_y):
        raise ValuesTooLarge(str(source.path), tensor.name, target)
    return made

"""How one tensor's values are distributed: moments and a histogram, read in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import NonFiniteWeights
from core.jobs import TensorStats, TensorStatsJob
from core.progress import Progress
from core.sources import Source, SourceTensor, open_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK_ELEMENTS = 1 << 22


@dataclass(slots=True)
class Moments:
    """Running sums over a tensor's values, in float64."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    zeros: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, x: NDArray[np.float32]) -> None:
        """Takes in one chunk."""
        import numpy as np

        wide = x.astype(np.float64)
        self.n += x.size
        self.total += float(wide.sum())
        self.squares += float(np.vdot(wide, wide))
        self.zeros += x.size - int(np.count_nonzero(x))
        self.minimum = min(self.minimum, float(x.min()))
        self.maximum = max(self.maximum, float(x.max()))


def tensor_stats(job: TensorStatsJob, progress: Progress) -> TensorStats:
    """Moments and histogram of one tensor, in two passes over its rows, a chunk in memory at a time.

    Raises what open_source raises, UnknownTensor, UnsupportedType, NonFiniteWeights.
    """
    import numpy as np

    with open_source(job.source) as source:
        tensor = source.tensor(job.tensor)
        progress.stage("Reading the tensor", 2 * tensor.elements, "weights")
        moments, done = Moments(), 0
        for chunk in chunks(source, tensor):
            moments.add(chunk)
            done += chunk.size
            progress.update(done)
        if not math.isfinite(moments.squares):
            raise NonFiniteWeights(job.source, job.tensor)
        edges = _edges(moments, job.bins)
        counts = np.zeros(job.bins, np.int64)
        for chunk in chunks(source, tensor):
            counts += _histogram(chunk.ravel(), edges)
            done += chunk.size
            progress.update(done)
        source.release(tensor)
    return _stats(tensor, moments, edges, counts)


def chunks(source: Source, tensor: SourceTensor) -> Iterator[NDArray[np.float32]]:
    """A tensor's values in chunks of whole rows, (n_rows, row_length), at most about 4 million elements each."""
    step = max(1, CHUNK_ELEMENTS // tensor.row_length)
    for first in range(0, tensor.rows, step):
        yield source.read(tensor, first, min(step, tensor.rows - first))


def _edges(moments: Moments, bins: int) -> NDArray[np.float64]:
    import numpy as np

    half = 0.5 if moments.minimum == moments.maximum else 0.0
    return np.linspace(moments.minimum - half, moments.maximum + half, bins + 1)


def _histogram(x: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts in equally wide bins; much faster than np.histogram, which also searches unequal ones."""
    import numpy as np

    bins = edges.size - 1
    index = ((x - edges[0]) * (bins / (edges[-1] - edges[0]))).astype(np.int64)
    return np.bincount(np.clip(index, 0, bins - 1), minlength=bins)


def _stats(
    tensor: SourceTensor, moments: Moments, edges: NDArray[np.float64], counts: NDArray[np.int64]
) -> TensorStats:
    mean = moments.total / moments.n
    return TensorStats(
        name=tensor.name,
        type=tensor.type,
        shape=tensor.shape,
        elements=tensor.elements,
        minimum=moments.minimum,
        maximum=moments.maximum,
        mean=mean,
        std=math.sqrt(max(0.0, moments.squares / moments.n - mean * mean)),
        zeros=moments.zeros,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )

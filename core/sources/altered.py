"""A source some of whose tensors are read as a quantization would leave them; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from core.chunks import Chunk, Compute, Wanted
from core.plan import rows_per_chunk
from core.sources.base import Source, SourceTensor
from core.sources.view import ViewSource
from core.stream import flow
from kernels import dispatch

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AlteredSource(ViewSource):
    """A view of `whole`, which stays its caller's to close. altered: what becomes of which tensors, by their names."""

    def __init__(self, whole: Source, altered: Mapping[str, Wanted], compute: Compute) -> None:
        super().__init__(whole)
        self._altered, self._compute = altered, compute

    def read(
        self, tensor: SourceTensor, first_row: int = 0, n_rows: int | None = None, *, threads: int = 0
    ) -> NDArray[np.float32]:
        """Rows as numbers, those of an altered tensor quantized and dequantized: float32 (n_rows, row_length).

        Raises what Source.read and core.chunks.make raise.
        """
        if tensor.name not in self._altered:
            return self._whole.read(tensor, first_row, n_rows, threads=threads)
        wanted = self._altered[tensor.name]
        count = tensor.rows - first_row if n_rows is None else n_rows
        numbers = np.empty((count, tensor.row_length), np.float32)
        with closing(flow(self._whole, _chunks(tensor, wanted, first_row, count), self._compute)) as done:
            for chunk, (made,) in done:
                at = slice(chunk.first - first_row, chunk.first - first_row + chunk.rows)
                target = wanted.row.target_type
                numbers[at] = dispatch.decode(target, made.data, tensor.row_length, threads=threads)
        return numbers

    def close(self) -> None:
        """Nothing: the whole model is its caller's."""


def _chunks(tensor: SourceTensor, wanted: Wanted, first: int, count: int) -> Iterator[Chunk]:
    """Rows [first, first + count) in chunks, none of which reaches over the end of a matrix."""
    step, of_matrix = rows_per_chunk(tensor.row_length), tensor.rows // wanted.matrices
    end = first + count
    while first < end:
        rows = min(step, end - first, of_matrix - first % of_matrix)
        yield Chunk(tensor, (wanted,), first, rows)
        first += rows

"""A source some of whose tensors are read as a quantization would leave them; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from core.chunks import Chunk, Compute, Wanted
from core.formats.gguf_layout import KeyValue
from core.plan import rows_per_chunk
from core.sources.base import Source, SourceTensor
from core.stream import flow
from kernels import dispatch

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AlteredSource(Source):
    """A view of `whole`, which stays its caller's to close. altered: what becomes of which tensors, by their names."""

    def __init__(self, whole: Source, altered: Mapping[str, Wanted], compute: Compute) -> None:
        self._whole, self._altered, self._compute = whole, altered, compute
        self.path, self.format, self.name = whole.path, whole.format, whole.name
        self.architecture, self.hyper, self.quantization = whole.architecture, whole.hyper, whole.quantization
        self.files, self.file_bytes, self.tensors = whole.files, whole.file_bytes, whole.tensors

    @property
    def metadata(self) -> tuple[KeyValue, ...]:
        """The whole model's."""
        return self._whole.metadata

    @property
    def header_rows(self) -> tuple[KeyValue, ...]:
        """What the whole model's files say."""
        return self._whole.header_rows

    @property
    def license(self) -> str:
        """The whole model's."""
        return self._whole.license

    @property
    def has_chat_template(self) -> bool:
        """Whether the whole model brings one."""
        return self._whole.has_chat_template

    def raw(self, tensor: SourceTensor, first_row: int = 0, n_rows: int | None = None) -> NDArray[np.uint8]:
        """Rows as the whole model stores them. Raises ReadFailed, TruncatedFile."""
        return self._whole.raw(tensor, first_row, n_rows)

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

    def release(self, tensor: SourceTensor) -> None:
        """Says that `tensor` will not be read again soon."""
        self._whole.release(tensor)

    def close(self) -> None:
        """Nothing: the whole model is its caller's."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the whole model."""
        return self._whole.warnings

    @property
    def origin(self) -> tuple[Any, ...]:
        """The whole model's files."""
        return self._whole.origin


def _chunks(tensor: SourceTensor, wanted: Wanted, first: int, count: int) -> Iterator[Chunk]:
    """Rows [first, first + count) in chunks, none of which reaches over the end of a matrix."""
    step, of_matrix = rows_per_chunk(tensor.row_length), tensor.rows // wanted.matrices
    end = first + count
    while first < end:
        rows = min(step, end - first, of_matrix - first % of_matrix)
        yield Chunk(tensor, (wanted,), first, rows)
        first += rows

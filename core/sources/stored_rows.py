"""Rows of a checkpoint's tensors, whatever they are stored as: read from the file, or made of what is packed there.

A folder's conversion (core.sources.hf_source) sees `StoredRows` only. Those that are packed deliver F32, computed when
they are read, so that no more than the rows asked for is held.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidHeader
from core.formats.file_rows import RangeReader
from core.formats.packed import FLOAT8, Floats
from core.formats.safetensors_reader import DTYPE_BYTES, StoredTensor

_CHUNK_ROWS_BYTES = 16 << 20
_NUMPY: dict[str, str] = {
    "F32": "<f4",
    "F16": "<f2",
    "F64": "<f8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of one file. Its rows are those of all leading dimensions together; a vector is a column of rows."""

    reader: RangeReader
    entry: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """As the file has it."""
        return self.entry.shape

    @property
    def rows(self) -> int:
        """How many rows."""
        return math.prod(self.shape[:-1]) if len(self.shape) > 1 else math.prod(self.shape)

    @property
    def length(self) -> int:
        """Elements of a row."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    def bytes_of(self, first: int, n_bytes: int) -> NDArray[np.uint8]:
        """Bytes from the `first` of the tensor on. Raises InvalidHeader where there are not so many, and ReadFailed."""
        if first + n_bytes > self.entry.bytes:
            raise InvalidHeader(str(self.reader.path), f"tensor {self.entry.name} is smaller than it should be")
        return self.reader.read(self.entry.offset + first, n_bytes)

    def raw(self, first: int, count: int) -> NDArray[np.uint8]:
        """Rows as stored: (count, bytes of a row)."""
        row_bytes = self.length * DTYPE_BYTES[self.entry.dtype]
        return self.bytes_of(first * row_bytes, count * row_bytes).reshape(count, row_bytes)

    def whole(self) -> NDArray[np.generic]:
        """All rows in their own type: (rows, length)."""
        return self.some(0, self.rows)

    def some(self, first: int, count: int) -> NDArray[np.generic]:
        """Rows in their own type, as `typed` has it: (count, length)."""
        return typed(self.raw(first, count), self.entry.dtype)

    def columns(self, first: int, count: int) -> NDArray[np.generic]:
        """Columns of all rows, each row a read of its own: (rows, count)."""
        width = DTYPE_BYTES[self.entry.dtype]
        start, step = self.entry.offset + first * width, self.length * width
        return typed(self.reader.read_strided(start, step, self.rows, count * width), self.entry.dtype)

    def release(self) -> None:
        """Says that the tensor will not be read again soon."""
        self.reader.release(self.entry.offset, self.entry.bytes)


def typed(data: NDArray[np.uint8], dtype: str) -> NDArray[np.generic]:
    """Bytes as numbers of numpy's; those of types that numpy has not (BF16, 8-bit floats) as float32."""
    if dtype == "BF16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype in FLOAT8:
        return FLOAT8[dtype][data]
    return data.view(_NUMPY.get(dtype, "u1"))


def floats(values: NDArray[np.generic]) -> Floats:
    """Numbers of any type as float32."""
    return values.astype(np.float32)


class StoredRows(ABC):
    """A tensor as the conversion sees it. dtype: what `read` delivers. shape: numpy order.

    packed: in what form it is packed, in a word, '' where it is not. parts: what of the files it is made of.
    """

    dtype: str
    shape: tuple[int, ...]
    packed: str = ""
    parts: tuple[Part, ...]

    @abstractmethod
    def read(self, first: int, count: int) -> NDArray[np.uint8]:
        """Rows (of all leading dimensions): (count, bytes of a row). Raises ReadFailed, TruncatedFile."""

    @property
    def stored_bytes(self) -> int:
        """What it takes in the files."""
        return sum(part.entry.bytes for part in self.parts)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row that `read` delivers."""
        return (self.shape[-1] if self.shape else 1) * DTYPE_BYTES[self.dtype]

    def release(self) -> None:
        """Says that the tensor will not be read again soon."""
        for part in self.parts:
            part.release()


class PlainRows(StoredRows):
    """A tensor that is stored as numbers, one after another."""

    def __init__(self, part: Part) -> None:
        self.parts = (part,)
        self.dtype, self.shape = part.entry.dtype, part.shape

    def read(self, first: int, count: int) -> NDArray[np.uint8]:
        """Rows as stored."""
        return self.parts[0].bytes_of(first * self.row_bytes, count * self.row_bytes).reshape(count, self.row_bytes)


class TernaryRows(StoredRows):
    """A matrix of a BitNet model whose weights become -γ, 0 or γ when the model runs, where γ is their mean size.

    Source: "The Era of 1-bit LLMs" (arXiv 2402.17764), equation 3. γ is computed at the first read, over all rows.
    """

    dtype = "F32"
    _SMALLEST_SCALE = np.float32(1e-5)

    def __init__(self, inner: StoredRows) -> None:
        self._inner = inner
        self.parts, self.shape = inner.parts, inner.shape
        self._lock = threading.Lock()
        self._scale: np.float32 | None = None

    def read(self, first: int, count: int) -> NDArray[np.uint8]:
        """Rows of -γ, 0 and γ, γ being F16 where the model is: with the roundings of llama.cpp's converter."""
        inverse = np.float32(1) / self._mean_size()
        values = np.clip(np.rint(self._numbers(first, count) * inverse), -1, 1) / inverse
        rounded = values.astype(np.float16) if self._inner.dtype == "F16" else values
        return np.asarray(rounded, np.float32).view(np.uint8)

    def _numbers(self, first: int, count: int) -> Floats:
        return floats(typed(self._inner.read(first, count), self._inner.dtype))

    def _mean_size(self) -> np.float32:
        with self._lock:
            if self._scale is None:
                rows = math.prod(self.shape[:-1])
                step = max(1, _CHUNK_ROWS_BYTES // self.row_bytes)
                total = sum(
                    float(np.abs(self._numbers(first, min(step, rows - first))).sum(dtype=np.float64))
                    for first in range(0, rows, step)
                )
                self._scale = max(np.float32(total / math.prod(self.shape)), self._SMALLEST_SCALE)
            return self._scale

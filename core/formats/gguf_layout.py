"""Facts of the GGUF container: magic, value types, limits, and how many bytes a tensor of any ggml type takes.

A GGUF file (version 2 and 3, little-endian) is: magic `GGUF`, u32 version, u64 tensor count, u64 key count, the
key-value pairs (string key, u32 value type, value), the tensor infos (string name, u32 dimension count, u64 each
dimension with the row length first, u32 ggml type, u64 offset into the data), padding to the alignment, and the
tensors' data, each padded to the alignment. A string is a u64 byte count and UTF-8. An array is a u32 element type, a
u64 count and the elements. Source: docs/gguf.md of ggml-org/ggml.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from kernels.blocks import BY_ID, FORMATS

MAGIC = b"GGUF"
VERSIONS = (2, 3)
WRITTEN_VERSION = 3
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"
MAX_ALIGNMENT = 1 << 20
MAX_DIMENSIONS = 4
# The largest headers in use (260,000 tokens with merges) take about 20 MiB; more than this is damage or malice, and
# a header within these bounds can be held in memory several times over.
MAX_HEADER_BYTES = 64 << 20
MAX_TENSORS = 1 << 18
MAX_KEYS = 1 << 16
MAX_ELEMENTS = 1 << 50

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class ValueType:
    """One metadata value type: its id in the file, its name, and the struct code of a scalar ('' for others)."""

    id: int
    name: str
    code: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of one scalar."""
        return struct.calcsize("<" + self.code)


VALUE_TYPES: tuple[ValueType, ...] = (
    ValueType(0, "UINT8", "B"),
    ValueType(1, "INT8", "b"),
    ValueType(2, "UINT16", "H"),
    ValueType(3, "INT16", "h"),
    ValueType(4, "UINT32", "I"),
    ValueType(5, "INT32", "i"),
    ValueType(6, "FLOAT32", "f"),
    ValueType(7, "BOOL", "?"),
    ValueType(8, "STRING"),
    ValueType(9, "ARRAY"),
    ValueType(10, "UINT64", "Q"),
    ValueType(11, "INT64", "q"),
    ValueType(12, "FLOAT64", "d"),
)
VALUE_TYPE_BY_ID: dict[int, ValueType] = {row.id: row for row in VALUE_TYPES}
VALUE_TYPE: dict[str, ValueType] = {row.name: row for row in VALUE_TYPES}


class PackedArray(Sequence[Any]):
    """An array value kept as the file's bytes, and decoded when first looked at.

    element_type: a scalar type's name or STRING. data: the elements as they stand in the file, without the count.
    """

    def __init__(self, element_type: str, length: int, data: bytes) -> None:
        self.element_type = element_type
        self.length = length
        self.data = data

    @cached_property
    def values(self) -> tuple[Any, ...]:
        """All elements; bytes that are not UTF-8 appear as U+FFFD."""
        return tuple(self._decode())

    def head(self, n: int) -> tuple[Any, ...]:
        """The first `n` elements, without decoding the others."""
        return tuple(islice(self._decode(), n))

    def _decode(self) -> Iterator[Any]:
        if self.element_type == "STRING":
            return self._strings()
        code = VALUE_TYPE[self.element_type].code
        return (value for (value,) in struct.iter_unpack("<" + code, self.data))

    def _strings(self) -> Iterator[str]:
        position = 0
        for _ in range(self.length):
            (length,) = U64.unpack_from(self.data, position)
            position += 8 + length
            yield self.data[position - length : position].decode("utf-8", "replace")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedArray):
            return NotImplemented
        return (self.element_type, self.data) == (other.element_type, other.data)

    def __hash__(self) -> int:
        return hash((self.element_type, self.data))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One metadata entry, ready to be written.

    type: a value type's name (UINT32, STRING, ...), or ARRAY[name] for an array. value: a Python scalar, str, or a
    sequence (a PackedArray where it was read from a file). packed: the value's bytes as read, so that copying is
    exact; None for a value made here.
    """

    key: str
    type: str
    value: Any
    packed: bytes | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Storage:
    """How a ggml type is stored: its name, elements per block, bytes per block and id."""

    name: str
    elements: int
    bytes: int
    type_id: int


def storage(type_id: int) -> Storage | None:
    """The storage of a ggml type, also of those that no codec exists for here; None for an id nobody knows."""
    row = BY_ID.get(type_id)
    if row is not None:
        return Storage(row.name, row.elements, row.bytes, type_id)
    import gguf  # only for files with types outside our own table: importing it takes a while

    try:
        known = gguf.GGMLQuantizationType(type_id)
    except ValueError:
        return None
    elements, n_bytes = gguf.GGML_QUANT_SIZES[known]
    return Storage(known.name, elements, n_bytes, type_id)


def storage_named(name: str) -> Storage:
    """The storage of a ggml type by its name, as `storage` gave it. Raises ValueError for an unknown one."""
    row = FORMATS.get(name)
    if row is not None:
        return Storage(row.name, row.elements, row.bytes, row.type_id)
    import gguf  # as above

    if name not in gguf.GGMLQuantizationType.__members__:
        raise ValueError(f"no ggml type is called {name}")
    known = gguf.GGMLQuantizationType[name]
    elements, n_bytes = gguf.GGML_QUANT_SIZES[known]
    return Storage(name, elements, n_bytes, int(known))


def tensor_bytes(type_name: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor; shape in numpy order. Raises ValueError for an unknown type and where blocks do not fit."""
    kind = storage_named(type_name)
    row_length = shape[-1] if shape else 1
    if row_length % kind.elements:
        raise ValueError(f"{type_name}: row length {row_length} is not a multiple of {kind.elements}")
    return math.prod(shape[:-1]) * (row_length // kind.elements) * kind.bytes


def padded(n_bytes: int, alignment: int) -> int:
    """`n_bytes` rounded up to a multiple of `alignment`."""
    return -(-n_bytes // alignment) * alignment

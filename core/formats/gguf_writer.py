"""Writes GGUF files in one pass: the whole header first, then the tensors' data in order, in pieces of any size.

The header says where every tensor will be, so the exact size of the file is known before anything is computed, and
memory holds one piece at a time. Layout: core.formats.gguf_layout; version 3, as llama.cpp writes it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.formats import gguf_layout as facts
from core.formats.gguf_layout import U32, U64, KeyValue, PackedArray


class Sink(Protocol):
    """Anything bytes can be appended to."""

    def write(self, data: Any, /) -> object:
        """Appends a bytes-like object."""


@dataclass(frozen=True, slots=True)
class TensorSlot:
    """One tensor to be written: shape in numpy order, type the name of a ggml type."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def bytes(self) -> int:
        """Bytes of the data, padding not counted. Raises ValueError where blocks do not fit the rows."""
        return facts.tensor_bytes(self.type, self.shape)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything will be. offsets count from data_offset; bytes is the exact size of the file."""

    tensors: tuple[TensorSlot, ...]
    offsets: tuple[int, ...]
    alignment: int
    data_offset: int
    bytes: int

    def end_of(self, count: int) -> int:
        """Where the first `count` tensors end, their padding included, from the file's start."""
        return self.data_offset + self.offsets[count] if count < len(self.offsets) else self.bytes


def layout(metadata: Sequence[KeyValue], tensors: Iterable[TensorSlot]) -> Layout:
    """Plans a file: (metadata, tensors) -> offsets and exact size. Raises ValueError for a type that does not fit."""
    slots = tuple(tensors)
    alignment = next((int(entry.value) for entry in metadata if entry.key == facts.ALIGNMENT_KEY), 0)
    alignment = alignment or facts.DEFAULT_ALIGNMENT
    offsets, end = [], 0
    for slot in slots:
        offsets.append(end)
        end += facts.padded(slot.bytes, alignment)
    head = 24 + sum(len(encode_key_value(entry)) for entry in metadata) + sum(map(_info_bytes, slots))
    data_offset = facts.padded(head, alignment)
    return Layout(slots, tuple(offsets), alignment, data_offset, data_offset + end)


class GGUFWriter:
    """Appends one file to a sink: the header when constructed, then `append` for each tensor in the layout's order.

    digest() is the SHA-256 of everything written so far, position its length.
    """

    def __init__(self, sink: Sink, metadata: Sequence[KeyValue], plan: Layout) -> None:
        self._sink = sink
        self._plan = plan
        self._digest = hashlib.sha256()
        self._position = 0
        self._current = 0
        self._filled = 0  # bytes of the current tensor
        self._put(header(metadata, plan))

    @classmethod
    def continued(cls, sink: Sink, plan: Layout, count: int, digest: Any) -> GGUFWriter:
        """A writer of a file whose header and first `count` tensors are written; digest: a SHA-256 object of these."""
        writer = cls.__new__(cls)
        writer._sink, writer._plan, writer._digest = sink, plan, digest.copy()
        writer._position, writer._current, writer._filled = plan.end_of(count), count, 0
        return writer

    def append(self, name: str, data: Any) -> None:
        """Adds bytes (any contiguous array or bytes) to tensor `name`; a full tensor is padded and closed.

        Raises ValueError where `name` is not the tensor whose turn it is, or gets more bytes than it has room for.
        """
        if self._current == len(self._plan.tensors):
            raise ValueError(f"{name}: all tensors are complete")
        slot = self._plan.tensors[self._current]
        view = memoryview(data).cast("B")
        if name != slot.name or self._filled + len(view) > slot.bytes:
            raise ValueError(f"{name} got {len(view)} bytes where {slot.name} lacks {slot.bytes - self._filled}")
        self._put(view)
        self._filled += len(view)
        if self._filled == slot.bytes:
            self._put(bytes(facts.padded(slot.bytes, self._plan.alignment) - slot.bytes))
            self._current, self._filled = self._current + 1, 0

    def finish(self) -> None:
        """Checks that every tensor is complete; raises ValueError otherwise."""
        if self._current < len(self._plan.tensors):
            raise ValueError(f"tensor {self._plan.tensors[self._current].name} is not complete")

    def digest(self) -> bytes:
        """SHA-256 of the bytes written so far."""
        return self._digest.digest()

    def hexdigest(self) -> str:
        """The same as text."""
        return self._digest.hexdigest()

    @property
    def position(self) -> int:
        """How many bytes were written so far."""
        return self._position

    def _put(self, data: bytes | memoryview) -> None:
        self._sink.write(data)
        self._digest.update(data)
        self._position += len(data)


def header(metadata: Sequence[KeyValue], plan: Layout) -> bytes:
    """Everything before the first tensor's data, padding included."""
    head = bytearray(facts.MAGIC)
    head += U32.pack(facts.WRITTEN_VERSION) + U64.pack(len(plan.tensors)) + U64.pack(len(metadata))
    for entry in metadata:
        head += encode_key_value(entry)
    for slot, offset in zip(plan.tensors, plan.offsets, strict=True):
        head += _string(slot.name) + U32.pack(len(slot.shape))
        head += b"".join(U64.pack(dimension) for dimension in reversed(slot.shape))
        head += U32.pack(facts.storage_named(slot.type).type_id) + U64.pack(offset)
    return bytes(head.ljust(plan.data_offset, b"\0"))


def _info_bytes(slot: TensorSlot) -> int:
    return 8 + len(slot.name.encode()) + 4 + 8 * len(slot.shape) + 4 + 8


def encode_key_value(entry: KeyValue) -> bytes:
    """One metadata entry as bytes; a value read from a file is written exactly as it was.

    Raises ValueError for a value that its type cannot hold.
    """
    base = "ARRAY" if entry.type.startswith("ARRAY[") else entry.type
    head = _string(entry.key) + U32.pack(facts.VALUE_TYPE[base].id)
    if entry.packed is not None:
        return head + entry.packed
    if base == "ARRAY":
        return head + _array(entry)
    return head + _elements(entry.key, base, [entry.value])


def _array(entry: KeyValue) -> bytes:
    element = entry.type.removeprefix("ARRAY[").removesuffix("]")
    head = U32.pack(facts.VALUE_TYPE[element].id) + U64.pack(len(entry.value))
    if isinstance(entry.value, PackedArray) and entry.value.element_type == element:
        return head + entry.value.data
    return head + _elements(entry.key, element, entry.value)


def _elements(key: str, type_name: str, values: Sequence[Any]) -> bytes:
    if type_name == "STRING":
        return b"".join(map(_string, values))
    try:
        return struct.pack(f"<{len(values)}{facts.VALUE_TYPE[type_name].code}", *values)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"metadata {key} does not fit {type_name}: {error}") from error


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return U64.pack(len(data)) + data

"""Reads the header of a GGUF file, trusting nothing.

Every count, length, dimension and offset is checked against the file's size before anything is allocated for it.
Tensor data is not touched here; see core.sources.
"""

from __future__ import annotations

import math
import mmap
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidHeader, NotAModel, ReadFailed, SourceNotFound, TruncatedFile, UnsupportedType
from core.formats import gguf_layout as layout
from core.formats.gguf_layout import U32, U64, KeyValue, PackedArray

_PREFIX_BYTES = 24  # magic, version, tensor count, key count
_MIN_TENSOR_BYTES = 24  # name length, dimension count, type, offset
_MIN_KEY_BYTES = 13  # key length, type, one byte of value


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as the header describes it: shape in numpy order (row length last), offset from the file's start."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """A whole GGUF header. metadata and tensors are in the file's order."""

    path: Path
    version: int
    alignment: int
    metadata: tuple[KeyValue, ...]
    tensors: tuple[TensorEntry, ...]
    data_offset: int
    file_bytes: int


class MoreNeeded(Exception):
    """Only the beginning of a file was given, and its header is longer. n_bytes: that are needed at least."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"{n_bytes} bytes are needed")
        self.n_bytes = n_bytes


def read_header(path: Path) -> Header:
    """Parses the header of one GGUF file.

    Raises SourceNotFound, NotAModel (no GGUF, big-endian, or a version before 2), InvalidHeader, TruncatedFile,
    UnsupportedType (a tensor type that nobody knows) and ReadFailed.
    """
    try:
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            _check_prefix(path, file.read(_PREFIX_BYTES), file_bytes)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return parse_header(path, view, file_bytes)
    except FileNotFoundError as error:
        raise SourceNotFound(str(path)) from error
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error


def parse_header(path: Path, view: mmap.mmap | bytes, file_bytes: int) -> Header:
    """The header of a file of that size, of which `view` is the beginning, the whole of it or a part.

    Raises MoreNeeded where the header reaches over the end of a part, and what `read_header` raises for its content.
    """
    _check_prefix(path, view[:_PREFIX_BYTES], file_bytes)
    return _Parser(path, view, file_bytes).header()


def _check_prefix(path: Path, prefix: bytes, file_bytes: int) -> None:
    """Refuses what is not a little-endian GGUF of version 2 or 3 before mapping the file."""
    if not prefix or not layout.MAGIC.startswith(prefix[:4]):
        raise NotAModel(str(path), "it does not begin with the letters GGUF" if prefix else "the file is empty")
    if len(prefix) < _PREFIX_BYTES:
        raise TruncatedFile(str(path), _PREFIX_BYTES, file_bytes)
    (version,) = U32.unpack_from(prefix, 4)
    if version & 0xFFFF == 0 and version:
        raise NotAModel(
            str(path), "it is a big-endian GGUF", "Convert it to little-endian with gguf-py's gguf_convert_endian"
        )
    if version == 1:
        raise NotAModel(
            str(path), "it is a GGUF of version 1, which no current program reads", "Take a newer file of the model"
        )
    if version not in layout.VERSIONS:
        raise InvalidHeader(str(path), f"it claims GGUF version {version}; known versions are 2 and 3")


class _Parser:
    """A position in the mapped file; every step checks that what it is about to read is there."""

    def __init__(self, path: Path, view: mmap.mmap | bytes, file_bytes: int) -> None:
        self.path = path
        self.view = view
        self.file_bytes = file_bytes
        self.limit = min(len(view), file_bytes, layout.MAX_HEADER_BYTES)
        self.position = 4

    # ---- the parts, in the file's order

    def header(self) -> Header:
        version = self.u32()
        n_tensors, n_keys = self.u64(), self.u64()
        self.check_count("tensors", n_tensors, layout.MAX_TENSORS, _MIN_TENSOR_BYTES)
        self.check_count("metadata keys", n_keys, layout.MAX_KEYS, _MIN_KEY_BYTES)
        metadata = tuple(self.key_value() for _ in range(n_keys))
        self.check_unique("metadata key", [entry.key for entry in metadata])
        alignment = self.alignment(metadata)
        infos = [self.tensor_info() for _ in range(n_tensors)]
        self.check_unique("tensor", [name for name, *_ in infos])
        data_offset = layout.padded(self.position, alignment)
        tensors = self.place(infos, data_offset, alignment)
        return Header(self.path, version, alignment, metadata, tensors, data_offset, self.file_bytes)

    def key_value(self) -> KeyValue:
        key = self.name("a metadata key")
        type_id = self.u32()
        start = self.position
        row = layout.VALUE_TYPE_BY_ID.get(type_id)
        if row is None:
            raise self.invalid(f"metadata {key} has the unknown value type {type_id}")
        if row.name == "ARRAY":
            array = self.array(key)
            return KeyValue(key, f"ARRAY[{array.element_type}]", array)
        value = self.text(f"metadata {key}") if row.name == "STRING" else self.scalar(row)
        return KeyValue(key, row.name, value, self.view[start : self.position])

    def array(self, key: str) -> PackedArray:
        element_id, count = self.u32(), self.u64()
        element = layout.VALUE_TYPE_BY_ID.get(element_id)
        if element is None or element.name == "ARRAY":
            problem = (
                f"the unknown type {element_id}" if element is None else "arrays, which GGUF readers do not accept"
            )
            raise self.invalid(f"metadata {key} is an array of {problem}")
        start = self.position
        if element.name == "STRING":
            self.need(8 * count, f"metadata {key}, an array of {count} strings,")
            self.skip_strings(key, count)
        else:
            self.need(element.bytes * count, f"metadata {key}, an array of {count} {element.name},")
            self.position += element.bytes * count
        return PackedArray(element.name, count, self.view[start : self.position])

    def tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape (numpy order), ggml type id, offset into the data."""
        name = self.name("a tensor name")
        n_dimensions = self.u32()
        if n_dimensions > layout.MAX_DIMENSIONS:
            raise self.invalid(f"tensor {name} claims {n_dimensions} dimensions; at most {layout.MAX_DIMENSIONS} exist")
        shape = tuple(self.u64() for _ in range(n_dimensions))[::-1]
        if not 0 < math.prod(shape) <= layout.MAX_ELEMENTS:
            raise self.invalid(f"tensor {name} claims the impossible shape {' × '.join(map(str, shape))}")
        return name, shape, self.u32(), self.u64()

    def place(
        self, infos: list[tuple[str, tuple[int, ...], int, int]], data_offset: int, alignment: int
    ) -> tuple[TensorEntry, ...]:
        """Sizes and absolute offsets of all tensors, which must follow one another without holes and fit the file."""
        expected, end, entries = 0, data_offset, []
        for name, shape, type_id, offset in infos:
            type_name, n_bytes = self.stored(name, shape, type_id)
            if offset % alignment:
                raise self.invalid(f"tensor {name} is at offset {offset}, which is not aligned to {alignment}")
            if offset != expected:
                raise self.invalid(f"tensor {name} is at offset {offset} where {expected} was expected")
            entries.append(TensorEntry(name, shape, type_name, data_offset + offset, n_bytes))
            end = data_offset + offset + n_bytes
            expected = layout.padded(offset + n_bytes, alignment)
        if end > self.file_bytes and entries:
            raise TruncatedFile(str(self.path), end, self.file_bytes)
        return tuple(entries)

    def stored(self, name: str, shape: tuple[int, ...], type_id: int) -> tuple[str, int]:
        """Type name and bytes of one tensor."""
        storage = layout.storage(type_id)
        if storage is None:
            raise UnsupportedType(str(self.path), name, f"number {type_id}")
        row_length = shape[-1] if shape else 1
        if row_length % storage.elements:
            raise self.invalid(
                f"tensor {name} has rows of {row_length} elements, which {storage.name} cannot hold "
                f"(a multiple of {storage.elements} is needed)"
            )
        return storage.name, math.prod(shape) // storage.elements * storage.bytes

    # ---- single values

    def u32(self) -> int:
        self.need(4, "the next number")
        (value,) = U32.unpack_from(self.view, self.position)
        self.position += 4
        return int(value)

    def u64(self) -> int:
        self.need(8, "the next number")
        (value,) = U64.unpack_from(self.view, self.position)
        self.position += 8
        return int(value)

    def scalar(self, row: layout.ValueType) -> Any:
        self.need(row.bytes, "the next value")
        return PackedArray(row.name, 1, self.take(row.bytes)).values[0]

    def string(self, what: str) -> bytes:
        length = self.u64()
        self.need(length, what)
        return self.take(length)

    def text(self, what: str) -> str:
        return self.string(what).decode("utf-8", "replace")

    def name(self, what: str) -> str:
        try:
            return self.string(what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.invalid(f"{what} at byte {self.position} is not text") from error

    def take(self, n_bytes: int) -> bytes:
        self.position += n_bytes
        return self.view[self.position - n_bytes : self.position]

    def skip_strings(self, key: str, count: int) -> None:
        """Walks over `count` strings without decoding them (the lengths are a chain, so each must be visited)."""
        position, limit, unpack, view = self.position, self.limit, U64.unpack_from, self.view
        what = f"metadata {key}"
        for _ in range(count):
            if position + 8 > limit:
                self.need(position + 8 - self.position, what)
            position += 8 + unpack(view, position)[0]
        self.need(position - self.position, what)
        self.position = position

    def alignment(self, metadata: tuple[KeyValue, ...]) -> int:
        entry = next((entry for entry in metadata if entry.key == layout.ALIGNMENT_KEY), None)
        if entry is None:
            return layout.DEFAULT_ALIGNMENT
        value = entry.value
        if entry.type != "UINT32" or value & (value - 1) or not 0 < value <= layout.MAX_ALIGNMENT:
            raise self.invalid(f"{layout.ALIGNMENT_KEY} is {value!r}; it must be a power of two")
        return int(value)

    # ---- checks

    def need(self, n_bytes: int, what: str) -> None:
        """Refuses to go on where fewer than `n_bytes` are left, or where the header would become absurdly long."""
        if self.position + n_bytes <= self.limit:
            return
        if self.position + n_bytes > layout.MAX_HEADER_BYTES:
            raise self.invalid(f"{what} at byte {self.position} claims {n_bytes} bytes")
        if self.position + n_bytes <= self.file_bytes:
            raise MoreNeeded(self.position + n_bytes)
        raise TruncatedFile(str(self.path), self.position + n_bytes, self.file_bytes)

    def check_count(self, what: str, count: int, most: int, least_bytes: int) -> None:
        if count > most:
            raise self.invalid(f"it claims {count} {what}")
        if self.position + count * least_bytes > self.file_bytes:
            raise TruncatedFile(str(self.path), self.position + count * least_bytes, self.file_bytes)

    def check_unique(self, what: str, names: list[str]) -> None:
        if len(set(names)) < len(names):
            twice = next(name for name, times in Counter(names).items() if times > 1)
            raise self.invalid(f"{what} {twice} occurs twice")

    def invalid(self, problem: str) -> InvalidHeader:
        return InvalidHeader(str(self.path), problem)

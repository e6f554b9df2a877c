"""Reads the headers of safetensors files, trusting nothing, and finds the files that make up a checkpoint.

A safetensors file is a u64 header length, that many bytes of JSON {name: {dtype, shape, data_offsets}} and the
tensors' data, which the offsets must cover exactly, without holes. Source: README of huggingface/safetensors.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from core.errors import InvalidHeader, MissingParts, NotAModel, ReadFailed, SourceNotFound, TruncatedFile, size
from core.formats.gguf_layout import MAX_ELEMENTS, U64
from core.formats.json_file import parse_json, read_json_object

# A parsed header takes some twenty times its JSON at worst; files are sharded long before a header gets this long.
MAX_HEADER_BYTES = 8 << 20
MAX_INDEX_BYTES = 16 << 20
INDEX_NAME = "model.safetensors.index.json"
PREFIX_BYTES = 8
DTYPE_BYTES: dict[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "C64": 8,
}
_SHARD_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors$")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a safetensors file; offset counts from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """One file's header, tensors in the order of their data."""

    path: Path
    tensors: tuple[StoredTensor, ...]
    file_bytes: int


def read_header(path: Path) -> SafetensorsFile:
    """Parses one file's header. Raises SourceNotFound, InvalidHeader, TruncatedFile, ReadFailed."""
    try:
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            prefix = file.read(PREFIX_BYTES)
            end = header_end(path, prefix, file_bytes)
            return parse_header(path, prefix + file.read(end - PREFIX_BYTES), file_bytes)
    except FileNotFoundError as error:
        raise SourceNotFound(str(path)) from error
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error


def header_end(path: Path, prefix: bytes, file_bytes: int) -> int:
    """Where the header ends, in bytes from the file's start, from its first PREFIX_BYTES.

    Raises InvalidHeader and TruncatedFile where a file of `file_bytes` bytes cannot have such a header.
    """
    if len(prefix) < PREFIX_BYTES:
        raise TruncatedFile(str(path), PREFIX_BYTES, file_bytes)
    (length,) = U64.unpack_from(prefix)
    if length > MAX_HEADER_BYTES:
        raise InvalidHeader(str(path), f"it claims a header of {size(length)}")
    if PREFIX_BYTES + length > file_bytes:
        raise TruncatedFile(str(path), PREFIX_BYTES + length, file_bytes)
    return PREFIX_BYTES + int(length)


def parse_header(path: Path, data: bytes, file_bytes: int) -> SafetensorsFile:
    """The header of a file of that size, of which `data` is the beginning up to `header_end`.

    Raises InvalidHeader and TruncatedFile.
    """
    header = parse_json(path, data[PREFIX_BYTES:])
    if not isinstance(header, dict):
        raise InvalidHeader(str(path), "it is not a JSON object")
    header.pop("__metadata__", None)
    tensors = sorted(
        (_tensor(path, len(data), *item) for item in header.items()), key=lambda entry: (entry.offset, entry.bytes)
    )
    _check_cover(path, tensors, len(data), file_bytes)
    return SafetensorsFile(path, tuple(tensors), file_bytes)


def _tensor(path: Path, data_start: int, name: str, info: Any) -> StoredTensor:
    """One entry of the header, checked by itself."""
    fields = info if isinstance(info, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES or not (_are_sizes(shape) and _are_sizes(offsets)):
        raise InvalidHeader(str(path), f"tensor {name} is described wrongly")
    if len(offsets) != 2:
        raise InvalidHeader(str(path), f"tensor {name} has {len(offsets)} offsets instead of 2")
    elements = math.prod(shape)
    begin, end = offsets
    if elements > MAX_ELEMENTS or end - begin != elements * DTYPE_BYTES[dtype]:
        raise InvalidHeader(str(path), f"tensor {name} has {end - begin} bytes, which its shape {shape} contradicts")
    return StoredTensor(name, dtype, tuple(shape), data_start + begin, end - begin)


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _check_cover(path: Path, tensors: list[StoredTensor], data_start: int, file_bytes: int) -> None:
    """The data must be covered by the tensors without holes or overlaps, and end where the file ends."""
    end = data_start
    for entry in tensors:
        if entry.offset != end:
            raise InvalidHeader(
                str(path), f"tensor {entry.name} begins at byte {entry.offset} where {end} was expected"
            )
        end += entry.bytes
    if end > file_bytes:
        raise TruncatedFile(str(path), end, file_bytes)
    if end < file_bytes:
        raise InvalidHeader(str(path), f"{file_bytes - end} bytes at its end belong to no tensor")


def read_checkpoint(folder: Path) -> tuple[SafetensorsFile, ...]:
    """The headers of all safetensors files of a model folder.

    Raises NotAModel where there are none, MissingParts, and what read_header raises.
    """
    index = folder / INDEX_NAME
    if index.is_file():
        names = indexed_names(index, read_json_object(index, MAX_INDEX_BYTES))
    else:
        names = unindexed_names(folder, [path.name for path in folder.glob("*")])
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MissingParts(str(folder), missing)
    return tuple(read_header(folder / name) for name in names)


def indexed_names(index: Path, values: dict[str, Any]) -> list[str]:
    """The file names an index gives, in order. Raises InvalidHeader for those that lead out of the folder."""
    weight_map = values.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidHeader(str(index), "it has no weight_map")
    names = list(weight_map.values())
    if not all(isinstance(name, str) and name == Path(name).name and name for name in names):
        raise InvalidHeader(str(index), "its weight_map names something that is not a file of this folder")
    return sorted(set(names))


def unindexed_names(folder: Path, present: Iterable[str]) -> list[str]:
    """The file names of a folder without an index: model.safetensors, else all, their numbering completed.

    present: the names of all files that the folder holds. Raises NotAModel.
    """
    present = sorted(present)
    if "model.safetensors" in present:
        return ["model.safetensors"]
    names = [name for name in present if name.endswith(".safetensors")]
    if not names:
        pickled = any(name.endswith((".bin", ".pth")) for name in present)
        raise NotAModel(
            str(folder),
            "it has no .safetensors files"
            + (", only pickled weights, which can run code and are never loaded" if pickled else ""),
            "Take the .safetensors version of the model" if pickled else "",
        )
    match = _SHARD_NAME.fullmatch(names[0])
    if match is None:
        return names
    count = int(match["count"])
    return [f"{match['stem']}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]

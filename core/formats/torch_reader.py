"""Reads the headers of PyTorch checkpoints (pytorch_model.bin) without running what they hold and without torch.

Such a file is a zip archive, uncompressed, of one pickle that describes the tensors and one record per storage. The
pickle is read by an unpickler that knows tensors, storages and dictionaries and refuses every other name, so that no
code of the file's can run; the tensors' data stay in the file, at the offsets that are returned. Source: torch/
serialization.py and torch/_utils.py of pytorch/pytorch (format since version 1.6).
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from core.errors import InvalidHeader, MissingParts, ReadFailed, SourceNotFound, TruncatedFile
from core.formats.gguf_layout import MAX_ELEMENTS
from core.formats.json_file import read_json_object
from core.formats.safetensors_reader import DTYPE_BYTES, MAX_INDEX_BYTES, SafetensorsFile, StoredTensor

INDEX_NAME = "pytorch_model.bin.index.json"
MAX_PICKLE_BYTES = 64 << 20
_SHARD_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.bin$")
_SINGLE = ("pytorch_model.bin", "pytorch_model.pt", "model.pt")
_STORAGE_DTYPES: dict[str, str] = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}


@dataclass(frozen=True, slots=True)
class _Storage:
    """One record of the archive and the type of its elements."""

    dtype: str
    key: str


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as the pickle describes it; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def has_torch_checkpoint(folder: Path) -> bool:
    """Whether a model folder has weights in this form, under one of the usual names."""
    return (folder / INDEX_NAME).is_file() or bool(_unindexed(folder))


def is_torch_weights(name: str) -> bool:
    """Whether a file of a model folder has one of the usual names of such weights."""
    return name in _SINGLE or (name.startswith("pytorch_model-") and _SHARD_NAME.fullmatch(name) is not None)


def read_torch_checkpoint(folder: Path) -> tuple[SafetensorsFile, ...]:
    """The headers of all files of a model folder. Raises MissingParts and what read_torch_header raises."""
    index = folder / INDEX_NAME
    if index.is_file():
        weight_map = read_json_object(index, MAX_INDEX_BYTES).get("weight_map")
        names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
        if not names or not all(name == Path(name).name for name in names):
            raise InvalidHeader(str(index), "its weight_map does not name files of this folder")
    else:
        names = _unindexed(folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MissingParts(str(folder), missing)
    return tuple(read_torch_header(folder / name) for name in names)


def _unindexed(folder: Path) -> list[str]:
    """The file names of a folder without an index, their numbering completed; [] where there are none."""
    single = next((name for name in _SINGLE if (folder / name).is_file()), None)
    if single:
        return [single]
    numbered = (_SHARD_NAME.fullmatch(path.name) for path in sorted(folder.glob("pytorch_model-*.bin")))
    match = next((found for found in numbered if found), None)
    if match is None:
        return []
    count = int(match["count"])
    return [f"{match['stem']}-{number:05}-of-{count:05}.bin" for number in range(1, count + 1)]


def read_torch_header(path: Path) -> SafetensorsFile:
    """Reads one file's description. Raises SourceNotFound, InvalidHeader, TruncatedFile, ReadFailed."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            root, described = _pickle_of(path, archive)
            records = {info.filename: info for info in archive.infolist()}
            found = _tensors_of(path, described)
            tensors = [_placed(path, file, records, root, name, tensor) for name, tensor in found.items()]
            file_bytes = file.seek(0, io.SEEK_END)
    except FileNotFoundError as error:
        raise SourceNotFound(str(path)) from error
    except zipfile.BadZipFile as error:
        raise InvalidHeader(
            str(path), "it is not a PyTorch checkpoint of version 1.6 or later, or is cut off"
        ) from error
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    for entry in tensors:
        if entry.offset + entry.bytes > file_bytes:
            raise TruncatedFile(str(path), entry.offset + entry.bytes, file_bytes)
    return SafetensorsFile(path, tuple(tensors), file_bytes)


def _pickle_of(path: Path, archive: zipfile.ZipFile) -> tuple[str, Any]:
    """The archive's folder name and the object its pickle describes."""
    info = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
    if info is None or info.file_size > MAX_PICKLE_BYTES or info.compress_type != zipfile.ZIP_STORED:
        raise InvalidHeader(str(path), "it holds no description of tensors that can be read")
    root = info.filename.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise InvalidHeader(str(path), "its numbers are stored with the largest byte first")
    try:
        return root, _TensorUnpickler(io.BytesIO(archive.read(info))).load()
    except InvalidHeader:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InvalidHeader(str(path), f"its description of tensors cannot be read: {error}") from error


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler for which only tensors, storages, parameters and dictionaries exist."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """What stands for a name of the pickle. Raises UnpicklingError for every name but the few known ones."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuilt_parameter
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(_STORAGE_DTYPES[name])
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is no tensor and is not run")

    def persistent_load(self, pid: Any) -> _Storage:
        """A record of the archive, by ('storage', type, key, device, elements)."""
        kind, storage_type, key, *_ = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage is described wrongly")
        return _Storage(storage_type.dtype, key)


@dataclass(frozen=True, slots=True)
class _StorageType:
    """Stands for torch.FloatStorage and its kin, which a pickle names and never calls."""

    dtype: str

    def __call__(self, *_: Any) -> NoReturn:
        raise pickle.UnpicklingError("a storage is made where only its type is expected")


def _rebuilt_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(type(value) is int and 0 <= value < 1 << 62 for value in numbers):
        raise pickle.UnpicklingError("a tensor is described wrongly")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuilt_parameter(data: Any, *_: Any) -> Any:
    return data


def _tensors_of(path: Path, described: Any) -> dict[str, _Tensor]:
    """The named tensors of a state dictionary, which may lie within another under the usual names."""
    for name in ("state_dict", "model"):
        if isinstance(described, dict) and isinstance(described.get(name), dict):
            described = described[name]
    found = described.items() if isinstance(described, dict) else ()
    tensors = {name: value for name, value in found if isinstance(name, str) and isinstance(value, _Tensor)}
    if not tensors:
        raise InvalidHeader(str(path), "it holds no tensors by their names")
    return tensors


def _placed(
    path: Path, file: Any, records: dict[str, zipfile.ZipInfo], root: str, name: str, tensor: _Tensor
) -> StoredTensor:
    """Where a tensor's data begin in the file; only data that lie row after row can be read."""
    record = records.get(f"{root}data/{tensor.storage.key}")
    if record is None or record.compress_type != zipfile.ZIP_STORED:
        raise InvalidHeader(str(path), f"the data of tensor {name} are missing or packed")
    width, elements = DTYPE_BYTES[tensor.storage.dtype], math.prod(tensor.shape)
    begin, n_bytes = tensor.offset * width, elements * width
    if elements > MAX_ELEMENTS or begin + n_bytes > record.file_size:
        raise InvalidHeader(str(path), f"tensor {name} is larger than its data")
    if not _is_contiguous(tensor):
        raise InvalidHeader(str(path), f"the data of tensor {name} do not lie row after row")
    return StoredTensor(name, tensor.storage.dtype, tensor.shape, _data_start(file, record) + begin, n_bytes)


def _is_contiguous(tensor: _Tensor) -> bool:
    expected = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _data_start(file: Any, record: zipfile.ZipInfo) -> int:
    """The first byte of a record's data: after its local header, which ends with a name and an extra field."""
    file.seek(record.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    return int(record.header_offset + 30 + name_length + extra_length)

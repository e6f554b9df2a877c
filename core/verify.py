"""Re-opens a GGUF file with an independent reader (gguf-py's) and compares what it finds with what should be there.

Raises VerificationFailed where the two disagree; the file's own damage is reported by our reader before that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import NotAModel, ReadFailed, VerificationFailed
from core.formats.gguf_reader import read_header
from core.formats.newer_types import teach_newer_types
from core.jobs import VerifyJob, VerifyResult
from core.progress import Progress
from core.readback import READ_BYTES, forget

if TYPE_CHECKING:
    import gguf


@dataclass(frozen=True, slots=True)
class Expected:
    """One tensor as it should be found: shape in numpy order."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """One tensor as the independent reader sees it; offset counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int
    offset: int


def verify(job: VerifyJob, progress: Progress) -> VerifyResult:
    """Checks a GGUF file on disk: both readers agree, every tensor lies within the file, every byte can be read.

    sha256 is that of the whole file, as `sha256sum` prints it. Raises what read_header raises, VerificationFailed,
    ReadFailed.
    """
    path = Path(job.path)
    if path.is_dir():
        raise NotAModel(job.path, "it is a folder", "Give the .gguf file itself")
    header = read_header(path)
    expected = [Expected(entry.name, entry.shape, entry.type, entry.bytes) for entry in header.tensors]
    found = read_independently(path)
    compare_tensors(path, expected, found)
    digest = file_digest(path, progress)
    return VerifyResult(
        path=job.path,
        tensors=len(found),
        types=dict(Counter(tensor.type for tensor in found)),
        parameters=sum(_elements(tensor.shape) for tensor in found),
        bytes=header.file_bytes,
        sha256=digest,
    )


def verify_written(path: Path, expected: Sequence[Expected], n_bytes: int) -> list[Found]:
    """Checks that a file just written is of the right size and holds the tensors meant to be in it, in their order.

    Their data are compared by core.readback. Raises VerificationFailed.
    """
    actual = path.stat().st_size
    if actual != n_bytes:
        raise VerificationFailed(str(path), f"it has {actual} bytes instead of {n_bytes}")
    found = read_independently(path)
    compare_tensors(path, expected, found)
    return found


def read_independently(path: Path) -> list[Found]:
    """All tensors of a GGUF file as gguf-py reads them."""
    try:
        return [
            Found(
                tensor.name,
                tuple(int(size) for size in reversed(tensor.shape)),
                tensor.tensor_type.name,
                int(tensor.n_bytes),
                int(tensor.data_offset),
            )
            for tensor in _open_lean(path).tensors
        ]
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise VerificationFailed(str(path), f"an independent reader refuses it: {error}") from error


def compare_tensors(path: Path, expected: Sequence[Expected], found: Sequence[Found]) -> None:
    """Raises VerificationFailed for the first difference in number, names, order, shapes, types or sizes."""
    if len(expected) != len(found):
        raise VerificationFailed(str(path), f"it holds {len(found)} tensors instead of {len(expected)}")
    for wanted, got in zip(expected, found, strict=True):
        for fact in ("name", "shape", "type", "bytes"):
            if getattr(wanted, fact) != getattr(got, fact):
                raise VerificationFailed(
                    str(path),
                    f"the {fact} of tensor {wanted.name} is {getattr(got, fact)} instead of {getattr(wanted, fact)}",
                )


def file_digest(path: Path, progress: Progress) -> str:
    """Reads the whole file from the disk and returns its SHA-256. Raises ReadFailed."""
    progress.stage("Verifying", path.stat().st_size)
    digest, position = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            forget(file.fileno())
            while data := file.read(READ_BYTES):
                digest.update(data)
                position += len(data)
                progress.update(position)
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    return digest.hexdigest()


def _elements(shape: Iterable[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _open_lean(path: Path) -> gguf.GGUFReader:
    """gguf-py's reader without a numpy object per array element, which for a large vocabulary takes 700 MB."""
    import gguf
    import numpy as np

    class LeanReader(gguf.GGUFReader):
        """Walks over metadata arrays instead of keeping their elements."""

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[Any]]:
            if raw_type != gguf.GGUFValueType.ARRAY:
                parts: tuple[int, list[Any], list[int], list[Any]] = super()._get_field_parts(orig_offs, raw_type)
                return parts
            element = gguf.GGUFValueType(int(self._get(orig_offs, np.uint32)[0]))
            count = int(self._get(orig_offs + 4, np.uint64)[0])
            size = 12 + self._elements_bytes(orig_offs + 12, element, count)
            return size, [], [], [gguf.GGUFValueType.ARRAY, element]

        def _elements_bytes(self, start: int, element: gguf.GGUFValueType, count: int) -> int:
            if element != gguf.GGUFValueType.STRING:
                return count * np.dtype(self.gguf_scalar_to_np[element]).itemsize
            view, position = self.data.data, start
            for _ in range(count):
                position += 8 + int.from_bytes(view[position : position + 8], "little")
            return position - start

    teach_newer_types()
    return LeanReader(path)

"""Re-opens a GGUF file with an independent reader (gguf-py's) and compares what it finds with what should be there.

Raises VerificationFailed where the two disagree; the file's own damage is reported by our reader before that.
"""

from __future__ import annotations

import hashlib
import os
import zlib
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

if TYPE_CHECKING:
    import gguf

READ_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Expected:
    """One tensor as it should be found: shape in numpy order, and the CRC-32 of its data where it is known."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int
    crc32: int | None = None


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
    digest = read_back(path, found, expected, progress)
    return VerifyResult(
        path=job.path,
        tensors=len(found),
        types=dict(Counter(tensor.type for tensor in found)),
        parameters=sum(_elements(tensor.shape) for tensor in found),
        bytes=header.file_bytes,
        sha256=digest,
    )


def verify_written(
    path: Path, expected: Sequence[Expected], n_bytes: int, sha256: str, progress: Progress
) -> list[Found]:
    """Checks a file just written against what was meant to be in it, down to the last byte on the disk."""
    actual = path.stat().st_size
    if actual != n_bytes:
        raise VerificationFailed(str(path), f"it has {actual} bytes instead of {n_bytes}")
    found = read_independently(path)
    compare_tensors(path, expected, found)
    if read_back(path, found, expected, progress) != sha256:
        raise VerificationFailed(str(path), "its data read back from the disk differs from what was written")
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


def read_back(path: Path, found: Sequence[Found], expected: Sequence[Expected], progress: Progress) -> str:
    """Reads the whole file once: checks each tensor's CRC-32 where it is known, and returns the file's SHA-256."""
    progress.stage("Verifying", path.stat().st_size)
    digest, position = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            _drop_cache(file.fileno())
            for tensor, wanted in sorted(zip(found, expected, strict=True), key=lambda pair: pair[0].offset):
                position = _digest(file, digest, position, tensor.offset - position, progress)[0]
                position, crc = _digest(file, digest, position, tensor.bytes, progress)
                if wanted.crc32 is not None and crc != wanted.crc32:
                    raise VerificationFailed(
                        str(path), f"the data of tensor {tensor.name} differs from what was written"
                    )
            _digest(file, digest, position, os.fstat(file.fileno()).st_size - position, progress)
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    return digest.hexdigest()


def _digest(file: Any, digest: Any, position: int, n_bytes: int, progress: Progress) -> tuple[int, int]:
    """Reads on by `n_bytes`; returns the new position and the CRC-32 of what was read."""
    crc, left = 0, n_bytes
    while left > 0:
        data = file.read(min(left, READ_BYTES))
        if not data:
            break
        digest.update(data)
        crc = zlib.crc32(data, crc)
        left -= len(data)
        progress.update(position + n_bytes - left)
    return position + n_bytes, crc


def _drop_cache(descriptor: int) -> None:
    """Asks the system to forget its copy of the file, so that what is read comes from the disk."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


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

"""Files of text as streams: plain or packed with gzip or Zstandard, read only as far as somebody asks."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from core.text_rows import BadRow

# Endings of packed files, and what packed them.
PACKED = {".gz": "gzip", ".zst": "zstd"}
# A packed file may unpack to any size: more than so many bytes are not read of one.
LARGEST_UNPACKED = 1 << 30


def ending(path: Path) -> str:
    """What a file holds by its name, in small letters: `.jsonl` of `a.jsonl` and of `a.jsonl.gz`."""
    name = Path(path.name.lower())
    return name.with_suffix("").suffix if name.suffix in PACKED else name.suffix


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read from its beginning, unpacked.

    Raises OSError, and BadRow where it is damaged or unpacks to more than LARGEST_UNPACKED bytes.
    """
    way = PACKED.get(path.suffix.lower())
    with path.open("rb") as file:
        if way is None:
            yield file
            return
        try:
            with _unpacked(file, way) as inner, io.BufferedReader(_Bounded(inner)) as stream:
                yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadRow(f"it is not what {way} packed, or it is damaged ({error})") from error


def _unpacked(file: IO[bytes], way: str) -> Any:
    if way == "gzip":
        return gzip.GzipFile(fileobj=file)
    import pyarrow  # takes a while to import

    return pyarrow.CompressedInputStream(file, way)


class _Bounded(io.RawIOBase):
    """What a stream has, as long as it is not too much."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner, self._left = inner, LARGEST_UNPACKED

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._inner.read(len(buffer))
        except OSError as error:  # pyarrow's word for damage
            raise gzip.BadGzipFile(str(error).splitlines()[0]) from error
        self._left -= len(found)
        if self._left < 0:
            raise BadRow(f"it unpacks to more than {LARGEST_UNPACKED >> 30} GiB")
        buffer[: len(found)] = found
        return len(found)

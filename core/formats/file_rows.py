"""Reads byte ranges of a file into arrays by position, so that memory holds only what was asked for.

Positioned reads rather than a memory map: a failing disk or a file cut off while it is read becomes an error with
words instead of a signal that kills the process, and nothing stays mapped.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from core.errors import ReadFailed, SourceNotFound, TruncatedFile


class RangeReader:
    """One file opened for positioned reads; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # seek and read are two calls
        try:
            self._file = path.open("rb", buffering=0)
            self.file_bytes = os.fstat(self._file.fileno()).st_size
        except FileNotFoundError as error:
            raise SourceNotFound(str(path)) from error
        except OSError as error:
            raise ReadFailed(str(path), error.strerror or str(error)) from error

    def read(self, offset: int, n_bytes: int) -> NDArray[np.uint8]:
        """`n_bytes` from `offset`, writable. Raises TruncatedFile where the file ends before, and ReadFailed."""
        if offset + n_bytes > self.file_bytes:
            raise TruncatedFile(str(self.path), offset + n_bytes, self.file_bytes)
        out = np.empty(n_bytes, np.uint8)
        try:
            with self._lock:
                self._file.seek(offset)
                done = self._fill(out.data)
        except OSError as error:
            raise ReadFailed(str(self.path), error.strerror or str(error)) from error
        if done < n_bytes:
            raise TruncatedFile(str(self.path), offset + n_bytes, offset + done)
        return out

    def read_strided(self, offset: int, step: int, count: int, n_bytes: int) -> NDArray[np.uint8]:
        """`n_bytes` from every `step` bytes on, `count` times: (count, n_bytes). Raises what `read` raises."""
        end = offset + max(0, count - 1) * step + n_bytes
        if end > self.file_bytes:
            raise TruncatedFile(str(self.path), end, self.file_bytes)
        if n_bytes == step:
            return self.read(offset, count * n_bytes).reshape(count, n_bytes)
        out = np.empty((count, n_bytes), np.uint8)
        try:
            with self._lock:
                for number, row in enumerate(out):
                    self._file.seek(offset + number * step)
                    done = self._fill(row.data)
                    if done < n_bytes:
                        raise TruncatedFile(str(self.path), end, offset + number * step + done)
        except OSError as error:
            raise ReadFailed(str(self.path), error.strerror or str(error)) from error
        return out

    def _fill(self, out: memoryview) -> int:
        """Reads until `out` is full or the file ends (one call returns 2 GiB at most); how many bytes were read."""
        done = 0
        while done < len(out):
            got = self._file.readinto(out[done:])
            if not got:
                break
            done += got
        return done

    def release(self, offset: int, n_bytes: int) -> None:
        """Lets the system forget this range, where the file is too large to stay in its cache anyway."""
        if hasattr(os, "posix_fadvise") and self.file_bytes > psutil.virtual_memory().available // 2:
            os.posix_fadvise(self._file.fileno(), offset, n_bytes, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        self._file.close()

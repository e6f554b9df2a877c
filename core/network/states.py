"""Hidden states of all windows between two layers: in memory, or in a file where they are too many."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
import torch

from core.errors import DiskFull, OutputNotWritable
from core.methods.calibration import BATCH_TOKENS, STATES_BYTES

# The share of the memory that is free which hidden states may take before they go to disk.
SHARE = 0.25


def states_bytes(device: torch.device) -> int:
    """How much memory the hidden states of a job may take together: so much, however long the text is."""
    return min(_share(), STATES_BYTES) if device.type == "cpu" else _share()


def _share() -> int:
    return int(psutil.virtual_memory().available * SHARE)


class HiddenStates:
    """Float32 (windows, length, width), indexed by slices of windows. Use it as a context manager.

    folder: where the file goes if one is needed; it has no name there once it is open, so nothing can be left behind.
    limit_bytes: what may be kept in memory, None for a share of what is free. Raises DiskFull, OutputNotWritable.
    """

    def __init__(self, shape: tuple[int, int, int], folder: Path, limit_bytes: int | None = None) -> None:
        self.shape = shape
        self.bytes = int(np.prod(shape, dtype=np.int64)) * 4
        limit = _share() if limit_bytes is None else limit_bytes
        self.on_disk = self.bytes > limit
        self._folder = folder
        self._file: Any = None
        self._array = np.empty((0, 0, 0) if self.on_disk else shape, np.float32)
        if self.on_disk:
            self._open_file()

    def _open_file(self) -> None:
        """Read and written as a file, not mapped: mapped pages would count as memory of this process."""
        free = shutil.disk_usage(self._folder).free
        if free < self.bytes:
            raise DiskFull(str(self._folder), self.bytes, free)
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix=".bitwright-")  # noqa: SIM115 - closed in close()
            if hasattr(os, "posix_fallocate"):  # room that is there now may be gone later
                os.posix_fallocate(self._file.fileno(), 0, self.bytes)
        except OSError as error:
            self.close()
            raise OutputNotWritable(str(self._folder), error.strerror or str(error)) from error

    @property
    def batches(self) -> list[slice]:
        """Runs of windows of at most BATCH_TOKENS tokens together, or of one window."""
        windows, length, _ = self.shape
        size = max(BATCH_TOKENS // length, 1)
        return [slice(first, min(first + size, windows)) for first in range(0, windows, size)]

    @property
    def tokens(self) -> int:
        """Of all windows."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        """How many windows."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> torch.Tensor:
        """A copy, in memory. Raises OutputNotWritable where the file cannot be read."""
        if not self.on_disk:
            return torch.from_numpy(self._array[rows].copy())
        first, last, _ = rows.indices(len(self))
        found = np.empty((last - first, *self.shape[1:]), np.float32)
        with self._accessed(first):
            self._file.readinto(found.reshape(-1).view(np.uint8).data)
        return torch.from_numpy(found)

    def __setitem__(self, rows: slice, hidden: torch.Tensor) -> None:
        """Keeps them. Raises OutputNotWritable where the file cannot be written."""
        if not self.on_disk:
            self._array[rows] = hidden.cpu().numpy()
            return
        numbers = np.ascontiguousarray(hidden.cpu().numpy(), np.float32)
        with self._accessed(rows.indices(len(self))[0]):
            self._file.write(numbers.reshape(-1).view(np.uint8).data)

    @contextlib.contextmanager
    def _accessed(self, first: int) -> Iterator[None]:
        try:
            self._file.seek(first * (self.bytes // len(self)))
            yield
        except OSError as error:
            raise OutputNotWritable(str(self._folder), error.strerror or str(error)) from error

    def close(self) -> None:
        """Gives memory and disk back."""
        self._array = np.empty((0, 0, 0), np.float32)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Hidden states of all windows between two layers: in memory, or in a file where they are too many."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
import torch

from core.errors import DiskFull, OutputNotWritable

# The share of the memory that is free which hidden states may take before they go to disk.
SHARE = 0.25
# Windows are computed together up to so many tokens.
BATCH_TOKENS = 2048


class HiddenStates:
    """Float32 (windows, length, width), indexed by slices of windows. Use it as a context manager.

    folder: where the file goes if one is needed; it has no name there once it is open, so nothing can be left behind.
    limit_bytes: what may be kept in memory, None for a share of what is free. Raises DiskFull, OutputNotWritable.
    """

    def __init__(self, shape: tuple[int, int, int], folder: Path, limit_bytes: int | None = None) -> None:
        self.shape = shape
        self.bytes = int(np.prod(shape, dtype=np.int64)) * 4
        limit = int(psutil.virtual_memory().available * SHARE) if limit_bytes is None else limit_bytes
        self.on_disk = self.bytes > limit
        self._file: Any = None
        self._array = self._mapped(folder) if self.on_disk else np.empty(shape, np.float32)

    def _mapped(self, folder: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
        free = shutil.disk_usage(folder).free
        if free < self.bytes:
            raise DiskFull(str(folder), self.bytes, free)
        try:
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".bitwright-")  # noqa: SIM115 - closed in close()
            if hasattr(os, "posix_fallocate"):  # room that is there now may be gone later
                os.posix_fallocate(self._file.fileno(), 0, self.bytes)
        except OSError as error:
            self.close()
            raise OutputNotWritable(str(folder), error.strerror or str(error)) from error
        return np.memmap(self._file, np.float32, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=self.shape)

    @property
    def batches(self) -> list[slice]:
        """Runs of windows of at most BATCH_TOKENS tokens together, or of one window."""
        windows, length, _ = self.shape
        size = max(BATCH_TOKENS // length, 1)
        return [slice(first, min(first + size, windows)) for first in range(0, windows, size)]

    def __len__(self) -> int:
        """How many windows."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> torch.Tensor:
        """A copy, in memory."""
        return torch.from_numpy(np.array(self._array[rows]))

    def __setitem__(self, rows: slice, hidden: torch.Tensor) -> None:
        self._array[rows] = hidden.cpu().numpy()

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

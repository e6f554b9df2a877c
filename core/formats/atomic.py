"""Writes a file beside its target and gives it the target's name only when it is complete and verified.

While it is written the file is called `.NAME.part-RANDOM` and is locked by its process. Any way out other than
`commit` removes it, but for the errors that it is to be kept for; what a killed process left behind has no lock any
more, and is removed by the next job that writes the same target, unless that one goes on with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import DiskFull, OutputInUse, OutputNotWritable
from core.unfinished import CAN_LOCK, lock, part_prefix

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def check_output(target: Path, needed_bytes: int) -> None:
    """Tries whether `target` could be written, before anything is computed, and leaves nothing behind.

    Raises OutputNotWritable and DiskFull.
    """
    with AtomicFile(target, needed_bytes):
        pass


class AtomicFile:
    """A context manager: write to it, `sync` it, verify the file at `path`, then `commit`.

    Entering raises OutputNotWritable, or DiskFull where fewer than `needed_bytes` are free; so does writing.
    part: what an interrupted job left of it, to go on with; then OutputInUse where it is being written elsewhere.
    """

    def __init__(self, target: Path, needed_bytes: int, part: Path | None = None) -> None:
        self.target = target
        self.needed_bytes = needed_bytes
        self.path = part or _part(target)
        self.keep_for: tuple[type[BaseException], ...] = ()
        self._is_left = part is not None
        self._file: FileIO | None = None
        self._committed = False

    def __enter__(self) -> Self:
        if os.path.isdir(self.target):
            raise OutputNotWritable(str(self.target), "a folder of that name exists")
        if not os.path.isdir(self.target.parent):
            raise OutputNotWritable(str(self.target), f"the folder {self.target.parent} does not exist")
        try:
            if self._is_left:
                self._file = self._reopen()
            remove_stale_parts(self.target)
            self._file = self._file or self._create()
            free = shutil.disk_usage(self.target.parent).free
            if free < self.needed_bytes:
                self.__exit__(DiskFull, None, None)
                raise DiskFull(str(self.target), self.needed_bytes, free)
        except OSError as error:
            raise self._explained(error) from error
        return self

    def _create(self) -> FileIO:
        """A new part, locked. Another job may sweep it in the moment before it is locked: then one more is made."""
        while True:
            file = self.path.open("xb", buffering=0)
            if lock(file) and self.path.exists():
                return file
            file.close()
            self.path = _part(self.target)

    def _reopen(self) -> FileIO:
        file = self.path.open("r+b", buffering=0)
        if lock(file):
            return file
        file.close()
        raise OutputInUse(str(self.target))

    def shorten(self, n_bytes: int) -> None:
        """Keeps the first `n_bytes`; what is written next stands behind them. Raises OutputNotWritable."""
        assert self._file is not None
        try:
            self._file.truncate(n_bytes)
            self._file.seek(n_bytes)
        except OSError as error:
            raise self._explained(error) from error

    def write(self, data: Any, /) -> None:
        """Appends a bytes-like object. Raises DiskFull, OutputNotWritable."""
        assert self._file is not None
        try:
            left = memoryview(data).cast("B")
            while left:  # one call takes 2 GiB at most, and less where a disk fills up
                left = left[self._file.write(left) :]
        except OSError as error:
            raise self._explained(error) from error

    def sync(self) -> None:
        """Waits until everything written is on the disk, so that a verification reads what is there."""
        assert self._file is not None
        try:
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._file.fileno())
        except OSError as error:
            raise self._explained(error) from error

    def commit(self) -> None:
        """Gives the file its final name, replacing what had it. Raises DiskFull, OutputNotWritable."""
        assert self._file is not None
        self.sync()
        self._file.close()
        try:
            os.replace(self.path, self.target)
        except OSError as error:
            raise self._explained(error) from error
        self._committed = True
        _sync_folder(self.target.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
                self._file.close()
        if not self._committed and not (kind is not None and issubclass(kind, self.keep_for)):
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _explained(self, error: OSError) -> DiskFull | OutputNotWritable:
        """The user's words for a failed write."""
        if error.errno in _NO_ROOM:
            return DiskFull(str(self.target), self.needed_bytes, shutil.disk_usage(self.target.parent).free)
        return OutputNotWritable(str(self.target), error.strerror or str(error))


class CommittedFile(AtomicFile):
    """A file that has its name already: an interrupted job got as far as that. It is only read."""

    def __init__(self, target: Path) -> None:
        super().__init__(target, 0, target)

    def __enter__(self) -> Self:
        return self

    def shorten(self, n_bytes: int) -> None:
        """It is complete."""

    def sync(self) -> None:
        """It is on the disk."""

    def commit(self) -> None:
        """It has its name."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It stays, whatever happens to the others."""


def remove_stale_parts(target: Path) -> list[Path]:
    """Removes the parts that killed processes left beside `target`, and names them; those being written stay."""
    removed = []
    prefix = part_prefix(target).name
    for part in [path for path in target.parent.iterdir() if path.name.startswith(prefix)]:
        with contextlib.suppress(OSError):  # gone already, not ours, or (Windows) still being written
            with part.open("rb") as file:
                free = lock(file)
                if free and CAN_LOCK:
                    part.unlink()  # while locked, so that a job just starting notices
            if not CAN_LOCK:
                part.unlink()
            if free:
                removed.append(part)
    return removed


def _part(target: Path) -> Path:
    return target.with_name(part_prefix(target).name + secrets.token_hex(4))


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut; systems that cannot open folders do it by themselves."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

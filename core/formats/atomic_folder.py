"""Makes a folder of files beside its target and gives it the target's name only when it is complete and verified.

While it is made the folder is called `.NAME.part-RANDOM` and is locked by its process. Any way out other than `commit`
removes it; what a killed process left behind has no lock any more, and is removed by the next job for the same target.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from core.errors import DiskFull, OutputNotWritable
from core.unfinished import lock_folder

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Folder:
    """A folder that is being filled. path: where it is. target: where it will be, for messages."""

    def __init__(self, target: Path, path: Path, needed_bytes: int) -> None:
        self.target, self.path, self.needed_bytes = target, path, needed_bytes

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """A new file of the folder, on the disk when the block ends. Raises DiskFull, OutputNotWritable."""
        with self.explained(), (self.path / name).open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns a failed write into the user's words: DiskFull, OutputNotWritable."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                free = shutil.disk_usage(self.path.parent).free
                raise DiskFull(str(self.target), self.needed_bytes, free) from error
            raise OutputNotWritable(str(self.target), error.strerror or str(error)) from error

    def folder(self, name: str) -> Folder:
        """A new folder within it. Raises DiskFull, OutputNotWritable."""
        with self.explained():
            (self.path / name).mkdir()
        return Folder(self.target / name, self.path / name, self.needed_bytes)


class AtomicFolder(Folder):
    """A context manager: fill the folder at `path`, verify it, then `commit`.

    Entering raises OutputNotWritable (the target is a file, or a folder that is not empty), or DiskFull where fewer
    than `needed_bytes` are free.
    """

    def __init__(self, target: Path, needed_bytes: int) -> None:
        super().__init__(target, target.with_name(f".{target.name}.part-{secrets.token_hex(4)}"), needed_bytes)
        self._lock = -1
        self._committed = False

    def __enter__(self) -> Self:
        if self.target.is_dir() and any(self.target.iterdir()):
            raise OutputNotWritable(str(self.target), "a folder of that name exists and is not empty")
        if self.target.exists() and not self.target.is_dir():
            raise OutputNotWritable(str(self.target), "a file of that name exists")
        if not self.target.parent.is_dir():
            raise OutputNotWritable(str(self.target), f"the folder {self.target.parent} does not exist")
        with self.explained():
            remove_stale_folders(self.target)
            self.path.mkdir()
            self._lock = lock_folder(self.path)
        free = shutil.disk_usage(self.target.parent).free
        if free < self.needed_bytes:
            self.__exit__(None, None, None)
            raise DiskFull(str(self.target), self.needed_bytes, free)
        return self

    def commit(self) -> None:
        """Gives the folder its final name. Raises OutputNotWritable."""
        with self.explained():
            if self.target.is_dir():
                self.target.rmdir()  # empty, or this fails and nothing is lost
            os.replace(self.path, self.target)
        self._committed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove_stale_folders(target: Path) -> list[Path]:
    """Removes what killed processes left beside `target`, and names it; folders being filled stay."""
    removed = []
    for part in target.parent.glob(f".{target.name}.part-*"):
        if not part.is_dir():
            continue
        try:
            lock = lock_folder(part)
        except BlockingIOError:
            continue
        shutil.rmtree(part, ignore_errors=True)
        if lock >= 0:
            os.close(lock)
        removed.append(part)
    return removed

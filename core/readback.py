"""Reads an output back from the disk while it is still being written, and compares it with what was written.

Behind the writer, a thread waits until a stretch of the file is on the disk, asks the system to forget its own copy,
reads the stretch and hashes it. So when the last tensor has been written nearly everything has been checked already.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from core.errors import BitwrightError, ReadFailed, VerificationFailed

READ_BYTES = 4 << 20
# So much is synced at once: less, and the disk works in small pieces; more, and the end of the job waits for it.
STRETCH_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """The SHA-256 of the first `position` bytes of a file, whose last ones are those of `name`."""

    position: int
    digest: bytes
    name: str


class ReadBack:
    """Follows one file. `wrote` after every tensor, `done` how far it is, `result` once everything was written.

    path: the file. sync: waits until what was written is on the disk; may raise a core.errors leaf. n_bytes: the size
    it will have. Use it as a context manager, which ends the thread. begun: how much of the file was compared before,
    and the SHA-256 of that.
    """

    def __init__(
        self, path: Path, sync: Callable[[], None], n_bytes: int, begun: tuple[int, Any] | None = None
    ) -> None:
        self.done = begun[0] if begun else 0
        self._digest: Any = begun[1] if begun else hashlib.sha256()
        self._path = path
        self._sync = sync
        self._n_bytes = n_bytes
        self._marks: queue.Queue[Mark | None] = queue.Queue()
        self._problem: BitwrightError | None = None
        self._thread = threading.Thread(target=self._follow, name="read back", daemon=True)

    def wrote(self, mark: Mark) -> None:
        """Everything up to `mark` has been handed to the system. Raises what was found so far."""
        if self._problem is not None:
            raise self._problem
        if not self._thread.is_alive() and self.done < self._n_bytes:
            self._thread.start()
        self._marks.put(mark)

    def wait(self, seconds: float) -> bool:
        """Waits a moment for the end of the file; whether it was reached and all is well. Raises what was found."""
        if self.done < self._n_bytes:
            self._thread.join(seconds)
        if self._problem is not None:
            raise self._problem
        return self.done == self._n_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._marks.put(None)
            self._thread.join()

    def _follow(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(self.done)
                self._check_all(file)
        except BitwrightError as error:
            self._problem = error
        except OSError as error:
            self._problem = ReadFailed(str(self._path), error.strerror or str(error))

    def _check_all(self, file: IO[bytes]) -> None:
        """Stretch after stretch until the file ends, or until it is left."""
        waiting: list[Mark] = []
        while self.done < self._n_bytes:
            mark = self._marks.get()
            if mark is None:
                return
            waiting.append(mark)
            if mark.position - self.done >= STRETCH_BYTES or mark.position == self._n_bytes:
                self._sync()
                forget(file.fileno(), self.done, mark.position - self.done)
                for each in waiting:
                    self._check(file, each)
                waiting.clear()

    def _check(self, file: IO[bytes], mark: Mark) -> None:
        """Reads on to a mark. Raises VerificationFailed."""
        position = self.done
        while position < mark.position:
            data = file.read(min(mark.position - position, READ_BYTES))
            if not data:
                break
            self._digest.update(data)
            position += len(data)
        if position < mark.position or self._digest.digest() != mark.digest:
            raise VerificationFailed(str(self._path), f"the data of {mark.name} differ from what was written")
        self.done = position


def forget(descriptor: int, offset: int = 0, n_bytes: int = 0) -> None:
    """Asks the system to forget its copy of a stretch of a file (0: to the end), so that the disk itself is read."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, n_bytes, os.POSIX_FADV_DONTNEED)

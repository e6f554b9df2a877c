"""A file that is being downloaded in pieces: `DIGEST.part`, and beside it how far each piece is, for the next try."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import BitwrightError, DiskFull, OutputNotWritable

HASHED_BYTES = 1 << 20
FOLLOW_S = 0.02
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass
class Piece:
    """A run of bytes, of which the first `done` are on disk."""

    start: int
    length: int
    done: int = 0

    @property
    def stop(self) -> int:
        """The first byte after it."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Origin:
    """Which file of which commit a partial file will be, for those who find it later."""

    repo: str
    commit: str
    name: str


class PartialFile:
    """A context manager around the open file; leaving it keeps both files, `finish` and `discard` end them.

    path: named by the content's digest. n_bytes: its size when complete. piece_bytes: size of a piece.
    """

    def __init__(self, path: Path, n_bytes: int, piece_bytes: int, of: Origin) -> None:
        self.path = path
        self.n_bytes = n_bytes
        self._of = of
        self._journal = path.with_name(f"{path.name}.json")
        self._lock = threading.Lock()
        self._file = -1
        self._is_ended = False
        self.begun = 0
        self.pieces = _cut(n_bytes, piece_bytes)
        self._recall()

    @property
    def done(self) -> int:
        """Bytes on disk."""
        return sum(piece.done for piece in self.pieces)

    def __enter__(self) -> Self:
        """Raises OutputNotWritable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A link planted under this name must not be written through.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            self._file = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise OutputNotWritable(str(self.path), error.strerror or str(error)) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if self.path.exists() and not self._is_ended:
            with contextlib.suppress(OSError, BitwrightError):
                self.save()

    def write(self, piece: Piece, data: bytes) -> bool:
        """Appends to a piece what belongs to it; False once the file is closed. Raises DiskFull, OutputNotWritable."""
        with self._lock:
            if self._file < 0:
                return False
            view = memoryview(data)[: piece.length - piece.done]
            try:
                os.lseek(self._file, piece.start + piece.done, os.SEEK_SET)
                while view:
                    written = os.write(self._file, view)
                    piece.done += written
                    view = view[written:]
            except OSError as error:
                raise self._explained(error) from error
            return True

    def save(self) -> None:
        """Notes how far every piece is. Raises DiskFull where the rest will not fit, OutputNotWritable."""
        with self._lock:
            pieces = [[piece.start, piece.length, piece.done] for piece in self.pieces]
        state = {"bytes": self.n_bytes, "pieces": pieces, "of": asdict(self._of)}
        fresh = self._journal.with_name(f"{self._journal.name}.new")
        try:
            fresh.write_text(json.dumps(state), encoding="utf-8")
            os.replace(fresh, self._journal)
            free = shutil.disk_usage(self.path.parent).free
        except OSError as error:
            raise self._explained(error) from error
        if free < self.n_bytes - self.done:
            raise DiskFull(str(self.path.parent), self.n_bytes - self.done, free)

    def join(self) -> None:
        """Makes one piece of all, begun anew, for servers that send whole files only."""
        with self._lock:
            self.pieces = _cut(self.n_bytes, max(self.n_bytes, 1))
            self.begun += 1

    @property
    def from_start(self) -> tuple[int, int]:
        """How often all was begun anew, and how many bytes are on disk from the start without a hole."""
        with self._lock:
            whole = 0
            for piece in self.pieces:
                whole += piece.done
                if piece.done < piece.length:
                    break
            return self.begun, whole

    def finish(self, target: Path) -> None:
        """Gives the content its final name, synced. Raises DiskFull and OutputNotWritable."""
        try:
            os.fsync(self._file)
            self._close()  # an open file cannot be renamed on Windows
            os.replace(self.path, target)
        except OSError as error:
            raise self._explained(error) from error
        self._forget()

    def discard(self) -> None:
        """Throws everything away."""
        self._close()
        self.path.unlink(missing_ok=True)
        self._forget()

    def _close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _forget(self) -> None:
        self._is_ended = True
        self._journal.unlink(missing_ok=True)

    def _recall(self) -> None:
        """Takes up what an earlier download noted, where that belongs to this file and is possible."""
        try:
            state = json.loads(self._journal.read_text(encoding="utf-8"))
            pieces = [Piece(int(start), int(length), int(done)) for start, length, done in state["pieces"]]
            size = self.path.stat().st_size
        except (OSError, ValueError, TypeError, KeyError):
            return
        ends = [0, *(piece.stop for piece in pieces)]
        fits = state["bytes"] == self.n_bytes == ends[-1] and ends[:-1] == [piece.start for piece in pieces]
        if fits and all(0 <= piece.done <= piece.length and piece.start + piece.done <= size
                        for piece in pieces if piece.done):  # fmt: skip
            self.pieces = pieces

    def _explained(self, error: OSError) -> DiskFull | OutputNotWritable:
        if error.errno in _NO_ROOM:
            return DiskFull(str(self.path.parent), self.n_bytes - self.done, shutil.disk_usage(self.path.parent).free)
        return OutputNotWritable(str(self.path), error.strerror or str(error))


class GrowingDigest:
    """The hash of a partial file, computed beside the download, so that little is left to read at its end.

    A context manager around its thread, which reads what is on disk from the start without a hole.
    """

    def __init__(self, part: PartialFile, like: str) -> None:
        self._part = part
        self._like = like
        self._begun = 0
        self._read = 0
        self._digest = _empty_digest(part.n_bytes, like)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def finish(self, tick: Callable[[int], None]) -> str:
        """The hash of the complete file. tick: bytes read so far, may raise to stop."""
        self.__exit__()
        whole = self._reach()
        while self._advance(whole):
            tick(self._read)
        return self._digest.hexdigest()

    def _follow(self) -> None:
        while not self._over.wait(FOLLOW_S):
            whole = self._reach()
            while not self._over.is_set() and self._advance(whole):
                pass

    def _reach(self) -> int:
        """How far the file is complete; where all was begun anew, so is the hash."""
        begun, whole = self._part.from_start
        if begun != self._begun:
            self._begun, self._read = begun, 0
            self._digest = _empty_digest(self._part.n_bytes, self._like)
        return whole

    def _advance(self, stop: int) -> bool:
        """Takes in the next bytes before `stop`; False where there are none, or they cannot be read."""
        wanted = min(HASHED_BYTES, stop - self._read)
        if wanted <= 0:
            return False
        with contextlib.suppress(OSError), self._part.path.open("rb") as file:
            file.seek(self._read)
            data = file.read(wanted)
            self._digest.update(data)
            self._read += len(data)
            return bool(data)
        return False


def _empty_digest(n_bytes: int, like: str) -> hashlib._Hash:
    """Of a content of that length, in the form of `like`."""
    return hashlib.sha1(b"blob %d\0" % n_bytes, usedforsecurity=False) if len(like) == 40 else hashlib.sha256()


def content_digest(path: Path, like: str, tick: Callable[[int], None]) -> str:
    """The hash of a file in the form of `like`: SHA-256, or git's SHA-1 of a blob. tick: bytes read so far."""
    digest = _empty_digest(path.stat().st_size, like)
    read = 0
    with path.open("rb") as file:
        while data := file.read(HASHED_BYTES):
            digest.update(data)
            read += len(data)
            tick(read)
    return digest.hexdigest()


def _cut(n_bytes: int, piece_bytes: int) -> list[Piece]:
    return [Piece(start, min(piece_bytes, n_bytes - start)) for start in range(0, n_bytes, piece_bytes)]

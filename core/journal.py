"""What a quantization that is under way has finished, beside its outputs: read again when it was interrupted.

The journal `.NAME.journal-RANDOM` is locked by its process like the unfinished files themselves. Its first line, a JSON
object, says what the job was made of; each further one that a tensor is complete in every output. A line is written
when the tensor's data have been handed to the system, so a killed process leaves a journal that is never ahead of the
files; after a power cut it may be, and the digests tell which data did arrive. This module is light.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import DiskFull, OutputInUse, OutputNotWritable
from core.unfinished import lock, part_prefix

FORMAT = 1
_MIDDLE = ".journal-"


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first line. fingerprint: what must be the same for the job to go on; parts: the unfinished file of each file.

    outputs: of every target. Paths are absolute; parts and files go by target, then by part.
    """

    outputs: tuple[str, ...]
    fingerprint: dict[str, str]
    files: tuple[tuple[str, ...], ...]
    parts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor that is complete. For each target: its error sums, and the SHA-256 of its file up to the tensor's end.

    seconds: how long the job had taken until then, interruptions not counted.
    """

    tensor: str
    sums: tuple[tuple[float, ...], ...]
    digests: tuple[str, ...]
    seconds: float


@dataclass(slots=True)
class Journal:
    """An open, locked journal; used as a context manager it is removed at the end, but for errors of `keep_for`."""

    path: Path
    _file: FileIO
    beginning: Beginning
    entries: list[Entry] = field(default_factory=list)
    keep_for: tuple[type[BaseException], ...] = ()
    _ends: list[int] = field(default_factory=list)

    @classmethod
    def create(cls, beginning: Beginning) -> Journal:
        """A new journal beside the first output; those that killed jobs for this output left are removed.

        Raises OutputNotWritable, DiskFull.
        """
        output = Path(beginning.outputs[0])
        try:
            for leftover in _leftovers(output):
                leftover.discard()
            made = cls(*_created(output), beginning)
            made._ends.append(made._write({"format": FORMAT, **_as_json(beginning)}))
        except OSError as error:
            raise OutputNotWritable(str(output), error.strerror or str(error)) from error
        return made

    @classmethod
    def reopen(cls, path: Path) -> Journal | None:
        """A journal that was left, up to its first line that is not whole; None where it says nothing of use.

        Raises OutputInUse where the job still runs.
        """
        try:
            file = path.open("r+b", buffering=0)
        except OSError:
            return None
        if not lock(file):
            file.close()
            raise OutputInUse(str(path))
        values = _lines(file.read())
        try:
            first, end = next(values)
            beginning = _beginning(first)
        except (StopIteration, KeyError, TypeError, ValueError, AttributeError):
            file.close()
            return None
        journal = cls(path, file, beginning, _ends=[end])
        journal._take(values)
        return journal

    def add(self, entry: Entry) -> None:
        """A tensor is complete. Raises DiskFull, OutputNotWritable."""
        self._ends.append(self._write(_as_json(entry)))
        self.entries.append(entry)

    def shorten(self, count: int) -> None:
        """Forgets all but the first `count` tensors."""
        del self.entries[count:], self._ends[count + 1 :]
        self._file.truncate(self._ends[-1])
        self._file.seek(self._ends[-1])

    def sync(self) -> None:
        """Waits until it is on the disk."""
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes it and leaves it where it is."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is None or not issubclass(kind, self.keep_for):
            self.path.unlink(missing_ok=True)

    def _write(self, value: dict[str, Any]) -> int:
        """Appends a line; where the file ends then."""
        data = _dumped(value)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFull(self.beginning.outputs[0], len(data), 0) from error
            raise OutputNotWritable(self.beginning.outputs[0], error.strerror or str(error)) from error
        return self._file.tell()

    def _take(self, values: Iterator[tuple[dict[str, Any], int]]) -> None:
        """Takes in the lines after the first."""
        for value, end in values:
            try:
                entry = Entry(
                    str(value["tensor"]),
                    tuple(tuple(map(float, sums)) for sums in value["sums"]),
                    tuple(map(str, value["digests"])),
                    float(value["seconds"]),
                )
            except (KeyError, TypeError, ValueError):
                return
            self.entries.append(entry)
            self._ends.append(end)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an interrupted job left: its journal and its unfinished files."""

    journal: Path
    beginning: Beginning
    tensors: int = field(compare=False)

    @property
    def bytes(self) -> int:
        """How much room on the disk it takes."""
        return sum(_room(Path(path)) for parts in self.beginning.parts for path in (*parts, str(self.journal)))

    def discard(self) -> None:
        """Removes it, the journal last; what is gone already is no matter."""
        for parts in self.beginning.parts:
            for path in parts:
                Path(path).unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)


def find_leftover(outputs: Sequence[str]) -> Leftover | None:
    """What an interrupted job with exactly these outputs left; None where there is nothing, or where it still runs."""
    wanted = tuple(os.path.abspath(output) for output in outputs)
    try:
        found = list(_leftovers(Path(wanted[0])))
    except OSError:
        return None
    fitting = [leftover for leftover in found if leftover.beginning.outputs == wanted]
    return max(fitting, key=lambda leftover: leftover.tensors, default=None)


def _leftovers(output: Path) -> Iterator[Leftover]:
    """Every journal that was left for a first output, with what it says; useless ones are removed."""
    prefix = f".{output.name}{_MIDDLE}"
    for path in [path for path in output.parent.iterdir() if path.name.startswith(prefix)]:
        try:
            journal = Journal.reopen(path)
        except OutputInUse:
            continue
        if journal is None:
            path.unlink(missing_ok=True)
            continue
        journal.close()
        yield Leftover(path, journal.beginning, len(journal.entries))


def _created(output: Path) -> tuple[Path, FileIO]:
    """A new file for a journal, locked. Another job may sweep it in the moment before: then one more is made."""
    while True:
        path = output.with_name(f".{output.name}{_MIDDLE}{secrets.token_hex(4)}")
        file = path.open("x+b", buffering=0)
        if lock(file) and path.exists():
            return path, file
        file.close()


def _room(path: Path) -> int:
    try:
        status = path.stat()
    except OSError:
        return 0
    return getattr(status, "st_blocks", 0) * 512 or status.st_size


def _as_json(value: Beginning | Entry) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _dumped(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _lines(data: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """Each whole line as an object, and where it ends; the first that is none ends it."""
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        try:
            value = json.loads(data[position:end])
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        position = end + 1
        yield value, position


def _beginning(value: dict[str, Any]) -> Beginning:
    """The first line as a value. Raises ValueError and others for one that is not ours.

    Parts are removed by what it says, so it may name nothing but hidden parts of its own files.
    """
    beginning = Beginning(
        tuple(map(str, value["outputs"])),
        {str(key): str(digest) for key, digest in value["fingerprint"].items()},
        tuple(tuple(map(str, files)) for files in value["files"]),
        tuple(tuple(map(str, parts)) for parts in value["parts"]),
    )
    for files, parts in zip(beginning.files, beginning.parts, strict=True):
        for file, part in zip(files, parts, strict=True):
            if not part.startswith(str(part_prefix(Path(file)))):
                raise ValueError(part)
    if value["format"] != FORMAT or not beginning.outputs or len(beginning.outputs) != len(beginning.files):
        raise ValueError(value["format"])
    return beginning

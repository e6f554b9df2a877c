"""Finds out how far an interrupted quantization got: which of its tensors are on the disk as its journal says.

Files are read from their beginnings and hashed; where a digest differs, because data did not reach the disk in a power
cut, the tensors from there on are done again. So nothing that was not read back is taken for finished.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import ReadFailed
from core.fingerprint import refuse_changed
from core.formats.gguf_writer import header
from core.journal import Journal, find_leftover
from core.parts import Part
from core.progress import Progress
from core.readback import READ_BYTES, forget


@dataclass(frozen=True, slots=True)
class Kept:
    """One unfinished file. path: where it is, which is its final name where it got that already.

    digests: a SHA-256 object of everything up to the end of the header, and up to the end of each tensor in order.
    """

    path: Path
    is_committed: bool
    digests: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What can be gone on with: the journal, open and locked, the files by target and part, and the tensors done."""

    journal: Journal
    files: tuple[tuple[Kept, ...], ...]
    tensors: int

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self.journal.entries[-1].seconds if self.journal.entries else 0.0


def reopen(
    outputs: Sequence[str],
    files: Sequence[Sequence[tuple[Path, Part]]],
    fingerprint: dict[str, str],
    progress: Progress,
) -> Unfinished | None:
    """What an interrupted job with these outputs left, checked; None where there is nothing that can be used.

    files: of every target, its files and what goes into them. Raises CannotResume where the job was another,
    OutputInUse, ReadFailed, Cancelled.
    """
    leftover = find_leftover(outputs)
    if leftover is None:
        return None
    refuse_changed(outputs[0], leftover.beginning.fingerprint, fingerprint)
    journal = Journal.reopen(leftover.journal)
    if journal is None:
        return None
    try:
        kept = _check_all(journal, files, progress)
    except BaseException:
        journal.close()
        raise
    names = [entry.tensor for entry in journal.entries]
    done = min((_tensors(names, *pair) for pair in zip(files, kept, strict=True)), default=0) if kept else 0
    if not _can_go_on(files, kept, done):
        journal.close()
        leftover.discard()
        return None
    journal.shorten(done)
    return Unfinished(journal, tuple(map(tuple, kept)), done)


def _check_all(journal: Journal, files: Sequence[Sequence[tuple[Path, Part]]], progress: Progress) -> list[list[Kept]]:
    """All files as far as they are in order; nothing where the journal is of other files."""
    names = [[str(path) for path, _ in target] for target in files]
    if [list(target) for target in journal.beginning.files] != names:
        return []
    places = [
        [_place(Path(part), path) for part, (path, _) in zip(parts, target, strict=True)]
        for parts, target in zip(journal.beginning.parts, files, strict=True)
    ]
    progress.stage("Checking what is there", sum(_size(path) for target in places for path, _ in target))
    done = 0
    kept: list[list[Kept]] = []
    for number, (target, own) in enumerate(zip(files, places, strict=True)):
        kept.append([])
        for (_, part), (path, is_committed) in zip(target, own, strict=True):
            digests = {entry.tensor: entry.digests[number] for entry in journal.entries}
            found = in_order(path, part, digests, _reporter(progress, done))
            kept[-1].append(Kept(path, is_committed, found))
            done += _size(path)
    return kept


def in_order(path: Path, part: Part, digests: dict[str, str], report: Callable[[int], None]) -> tuple[Any, ...]:
    """SHA-256 objects of a file up to the end of its header and of each tensor, as far as they are as they should be.

    digests: by tensor, that of the file up to its end. Raises ReadFailed.
    """
    layout, found = part.layout, []
    try:
        with path.open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            forget(file.fileno())
            digest = hashlib.sha256(header(part.metadata, layout))
            if _read_on(file, hashlib.sha256(), layout.data_offset, report).digest() != digest.digest():
                return ()
            found.append(digest.copy())
            for count, slot in enumerate(layout.tensors, start=1):
                wanted = digests.get(slot.name)
                if wanted is None or _read_on(file, digest, layout.end_of(count), report).hexdigest() != wanted:
                    break
                found.append(digest.copy())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    return tuple(found)


def _read_on(file: IO[bytes], digest: Any, end: int, report: Callable[[int], None]) -> Any:
    """Reads and hashes up to `end`, or to the end of the file."""
    while (position := file.tell()) < end and (data := file.read(min(READ_BYTES, end - position))):
        digest.update(data)
        report(file.tell())
    return digest


def _place(part: Path, target: Path) -> tuple[Path, bool]:
    """Where a file is now, and whether it has its final name already."""
    return (part, False) if part.exists() else (target, True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reporter(progress: Progress, start: int) -> Callable[[int], None]:
    return lambda n_bytes: progress.update(start + n_bytes)


def _tensors(names: Sequence[str], target: Sequence[tuple[Path, Part]], kept: Sequence[Kept]) -> int:
    """How many of the first tensors are in order in a target's files."""
    good = {
        slot.name
        for (_, part), file in zip(target, kept, strict=True)
        for slot in part.layout.tensors[: max(0, len(file.digests) - 1)]
    }
    return next((number for number, name in enumerate(names) if name not in good), len(names))


def _can_go_on(files: Sequence[Sequence[tuple[Path, Part]]], kept: Sequence[Sequence[Kept]], done: int) -> bool:
    """Whether every header is in order, and a file has its name only where all is done."""
    if not kept or not all(file.digests for target in kept for file in target):
        return False
    everything = sum(len(part.layout.tensors) for _, part in files[0])
    return done == everything or not any(file.is_committed for target in kept for file in target)

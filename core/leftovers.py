"""What an interrupted job left to go on with: unfinished files with their journal, solved layers. Light."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.journal import find_leftover
from core.unfinished import lock_folder


class Left(Protocol):
    """What can be gone on with, or thrown away."""

    @property
    def bytes(self) -> int:
        """How much room on the disk it takes."""

    def discard(self) -> None:
        """Removes it; what is gone already is no matter."""


@dataclass(frozen=True, slots=True)
class SolvedLayers:
    """The folder of what a calibrated method has solved (core.checkpoints.solutions)."""

    folder: Path

    @property
    def bytes(self) -> int:
        """How much room on the disk it takes."""
        with contextlib.suppress(OSError):
            return sum(path.stat().st_size for path in self.folder.iterdir())
        return 0

    def discard(self) -> None:
        """Removes it; what is gone already is no matter."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """All that one job left."""

    parts: tuple[Left, ...]

    @property
    def bytes(self) -> int:
        """How much room on the disk it takes."""
        return sum(part.bytes for part in self.parts)

    def discard(self) -> None:
        """Removes it; what is gone already is no matter."""
        for part in self.parts:
            part.discard()


def layers_folder(output: Path) -> Path:
    """Where solved layers of a checkpoint or a GGUF file are kept while it is made."""
    return output.with_name(f".{output.name}.layers")


def find_leftovers(outputs: Sequence[str]) -> Leftovers | None:
    """What an interrupted job with exactly these outputs left; None where there is nothing, or where it still runs."""
    journal = find_leftover(outputs)
    folders = [layers_folder(Path(os.path.abspath(output))) for output in outputs]
    solved = [SolvedLayers(folder) for folder in folders if folder.is_dir() and not _is_in_use(folder)]
    parts: tuple[Left, ...] = (*([] if journal is None else [journal]), *solved)
    return Leftovers(parts) if parts else None


def _is_in_use(folder: Path) -> bool:
    try:
        descriptor = lock_folder(folder)
    except OSError:  # another job has it, or nobody may look
        return True
    if descriptor >= 0:
        os.close(descriptor)
    return False

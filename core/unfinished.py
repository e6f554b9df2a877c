"""Unfinished files: what they are called, and locks that end with their process, which tell leftovers from them.

This module is light.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: an open file cannot be removed there, which serves as the lock
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None


def lock(file: IO[Any]) -> bool:
    """Locks an open file until it is closed or its process dies; False where another process holds it.

    A file system without locks cannot tell: there files count as free, and two jobs must not share a target.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def is_locked(path: Path) -> bool:
    """Whether a program, this one included, holds the lock on a file."""
    try:
        with path.open("r+b") as file:
            return not lock(file)
    except OSError:
        return False


def part_prefix(target: Path) -> Path:
    """How the paths of a file's unfinished parts begin: beside it, hidden, under its name."""
    return target.with_name(f".{target.name}.part-")

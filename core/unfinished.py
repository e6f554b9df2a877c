"""Unfinished files: what they are called, and locks that end with their process, which tell leftovers from them.

This module is light.
"""

from __future__ import annotations

import os
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


def lock_folder(folder: Path) -> int:
    """A descriptor that locks a folder until it is closed or the process dies, or -1 where there are no such locks.

    Windows locks no folders: there two jobs must not share a target. Raises BlockingIOError where another has it.
    """
    if fcntl is None:
        return -1
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return -1
    return descriptor


def part_prefix(target: Path) -> Path:
    """How the paths of a file's unfinished parts begin: beside it, hidden, under its name."""
    return target.with_name(f".{target.name}.part-")

"""What unfinished downloads left on this computer: their partial files, and how much room these take. Light."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from core.hub.cache import RepoCache, cache_root
from core.unfinished import is_locked

BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class UnfinishedDownload:
    """The partial files of one model that no program is filling now, each with the note of how far it is."""

    paths: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """How much room on the disk they take: the holes of what has not arrived take none."""
        return sum(_room(path) for path in self.paths)

    def discard(self) -> None:
        """Removes them; what is gone already is no matter."""
        for path in self.paths:
            for each in (path, path.with_name(f"{path.name}.json")):
                each.unlink(missing_ok=True)


def find_unfinished(repo: str, output: str = "") -> UnfinishedDownload | None:
    """What downloads of a model into a folder ("" = the cache) left unfinished; None where there is nothing."""
    folder = Path(output) / ".cache" / "huggingface" / "download" if output else RepoCache(cache_root(), repo).blobs
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".part" and not path.is_symlink())
    except OSError:
        return None
    idle = tuple(path for path in found if not _is_filled(path, repo, output))
    return UnfinishedDownload(idle) if idle else None


def _is_filled(part: Path, repo: str, output: str) -> bool:
    """Whether a program, this one included, holds the lock under which this file is being downloaded."""
    return is_locked(part.with_suffix(".lock") if output else RepoCache(cache_root(), repo).lock(part.stem))


def _room(path: Path) -> int:
    try:
        facts = os.stat(path)
    except OSError:
        return 0
    return int(getattr(facts, "st_blocks", facts.st_size // BLOCK_BYTES) * BLOCK_BYTES)

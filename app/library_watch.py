"""Watches the folders in which models lie, and says so some time after something in them has become another."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal

# A file that is being copied changes all the time; it is looked at once that has ended.
PAUSE_MS = 1500
MOST_FOLDERS = 400
MOST_ENTRIES = 2000
MODEL_ENDINGS = (".gguf", ".safetensors", ".bin", ".pt", ".json")

Signature = frozenset[tuple[str, int, int]]


class LibraryWatch(QObject):
    """changed: models were added, removed or replaced in one of the folders; hidden and other files do not count."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._watcher: QFileSystemWatcher | None = None
        self._seen: dict[str, Signature] = {}
        self._touched: set[str] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._look)

    def watch(self, folders: Iterable[str]) -> None:
        """Watches these folders, without what lies below them, instead of those before; what is none is left out."""
        wanted = [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)][:MOST_FOLDERS]
        if self._watcher is None:
            self._watcher = QFileSystemWatcher(self)
            self._watcher.directoryChanged.connect(self._on_changed)
        gone = set(self._watcher.directories()) - set(wanted)
        new = [folder for folder in wanted if folder not in set(self._watcher.directories())]
        if gone:
            self._watcher.removePaths(sorted(gone))
        if new:
            self._watcher.addPaths(new)
        self._seen = {folder: signature(folder) for folder in wanted}

    def folders(self) -> list[str]:
        """What is watched."""
        return self._watcher.directories() if self._watcher else []

    def _on_changed(self, folder: str) -> None:
        self._touched.add(folder)
        self._timer.start()

    def _look(self) -> None:
        touched, self._touched = self._touched, set()
        if any(signature(folder) != self._seen.get(folder) for folder in touched):
            self.changed.emit()


def signature(folder: str) -> Signature:
    """What tells one state of a folder from another: names, sizes and times of what may belong to a model."""
    found = set()
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MOST_ENTRIES), entries, strict=False):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found.add((entry.name, -1, 0))
                elif entry.name.endswith(MODEL_ENDINGS):
                    facts = entry.stat()
                    found.add((entry.name, facts.st_size, facts.st_mtime_ns))
    except OSError:
        return frozenset()
    return frozenset(found)


def folders_between(path: str, root: str) -> list[str]:
    """The folder a path lies in and those above it, up to `root`; the first alone where it is not below it."""
    place = Path(path) if os.path.isdir(path) else Path(path).parent
    if not place.is_relative_to(root):
        return [str(place)]
    return [str(one) for one in (place, *place.parents) if one.is_relative_to(root)]

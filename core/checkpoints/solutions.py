"""What a calibrated method has solved, one file for each layer, so that an interrupted job goes on where it was.

The folder is called `.NAME.layers`, beside the checkpoint that is made. It belongs to one source, one text and one set
of options; where any of these is another, what is in it is thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import Cancelled, OutputNotWritable, ReadFailed
from core.unfinished import lock_folder
from core.values import Value

# Raised whenever the same input would be solved differently.
FORM = 3
IDENTITY = "identity.json"
Arrays = Mapping[str, np.ndarray[Any, Any]]


def fingerprint(options: Value, files: Iterable[Path], ids: np.ndarray[Any, Any]) -> dict[str, Any]:
    """What the solutions depend on: options, the source's files, the tokens."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return {
        "form": FORM,
        "options": options.model_dump(mode="json"),
        "files": [list(entry) for entry in stats],
        "tokens": hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest(),
    }


class Solutions:
    """Solved layers in a folder, which is locked until `close`. Raises OutputNotWritable where another job has it."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
            self._lock = lock_folder(folder)
            self._begin(identity)
        except BlockingIOError as error:
            raise OutputNotWritable(str(folder), "another job is making the same checkpoint") from error
        except OSError as error:
            raise OutputNotWritable(str(folder), error.strerror or str(error)) from error

    def _begin(self, identity: Mapping[str, Any]) -> None:
        path = self.folder / IDENTITY
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if known != dict(identity):
            for old in self.folder.iterdir():
                old.unlink()
            path.write_text(json.dumps(identity), encoding="utf-8")

    def has(self, layer: int) -> bool:
        """Whether a layer is solved."""
        return self._path(layer).exists()

    @property
    def layers(self) -> list[int]:
        """The layers that are solved."""
        return sorted(int(path.stem.removeprefix("layer-")) for path in self.folder.glob("layer-*.npz"))

    def keep(self, layer: int, found: Mapping[str, Arrays]) -> None:
        """Keeps arrays of a layer's matrices, by the names of these. Raises OutputNotWritable."""
        arrays: dict[str, Any] = {f"{name}|{part}": of[part] for name, of in found.items() for part in of}
        part = self._path(layer).with_suffix(".part")
        try:
            with part.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._path(layer))
        except OSError as error:
            raise OutputNotWritable(str(part), error.strerror or str(error)) from error

    def read(self, layer: int) -> dict[str, Arrays]:
        """A layer's matrices by their names. Raises ReadFailed."""
        path = self._path(layer)
        found: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
        try:
            with np.load(path) as arrays:
                for key in arrays:
                    name, _, part = key.rpartition("|")
                    found.setdefault(name, {})[part] = arrays[key]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ReadFailed(str(path), "it is damaged; remove it, and its layer is quantized again") from error
        return dict(found)

    def _path(self, layer: int) -> Path:
        return self.folder / f"layer-{layer:05}.npz"

    @contextlib.contextmanager
    def until_stopped(self, *, keep: bool) -> Iterator[None]:
        """Closes it where the work inside fails; removes it where that is cancelled and not to be gone on with."""
        try:
            yield
        except Cancelled:
            self.close() if keep else self.remove()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove(self) -> None:
        """Removes the folder."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

"""Opens folders of families that no row knows, by way of the user's own llama.cpp: its converter makes a 16-bit GGUF.

The file lives in a hidden folder, beside the output where there is one, for as long as the source is open. The
converter is the user's program and does what it does: it may run code that a model brings. The hub is out of its reach.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from core.errors import (
    CannotConvert,
    ConversionFailed,
    DiskFull,
    NotAConverter,
    OutputNotWritable,
    UnknownArchitecture,
    UnknownQuantization,
)
from core.progress import Progress
from core.sources import open_source
from core.sources.base import Source
from core.sources.gguf_source import GGUFSource

SCRIPT = "convert_hf_to_gguf.py"
# What is no fault of the folder's, and may be no trouble to another converter.
CONVERTIBLE = (UnknownArchitecture, CannotConvert, UnknownQuantization)
POLL_S = 0.1
MAX_LOG_BYTES = 1 << 16
_PREFIX = ".bitwright-convert-"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_PYTHONS = (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe", "venv/Scripts/python.exe")


class ConvertedSource(GGUFSource):
    """A model in a file that a script made of the folder `original`; closing it removes the file's own folder."""

    def __init__(self, file: Path, original: Path, script: Path) -> None:
        self._folder = file.parent
        super().__init__(file)
        self.path = original
        self._origin = (script, *sorted(path for path in original.iterdir() if path.is_file()))

    @property
    def origin(self) -> tuple[Path, ...]:
        """The script and all files of the folder; what it made of them is new each time."""
        return self._origin

    def close(self) -> None:
        """Closes the file and removes it."""
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)


def open_or_convert(path: str, converter: str, folder: Path, progress: Progress) -> Source:
    """The model at `path`; where its family is not known and there is a converter, converted in a folder in `folder`.

    converter: a llama.cpp checkout, or its script; '' for none. Raises what open_source raises, NotAConverter,
    ConversionFailed, DiskFull, OutputNotWritable, Cancelled.
    """
    try:
        return _checked(open_source(path), converter)
    except CONVERTIBLE:
        if not converter:
            raise
    original = Path(path) if Path(path).is_dir() else Path(path).parent
    return _converted(original, script_of(converter), folder, progress)


def _checked(source: Source, converter: str) -> Source:
    """The source itself. What of a tokenizer cannot be converted shows only when the metadata is made."""
    if converter:
        try:
            _ = source.metadata
        except BaseException:
            source.close()
            raise
    return source


def script_of(converter: str) -> Path:
    """The converter's script. Raises NotAConverter."""
    place = Path(converter)
    script = place / SCRIPT if place.is_dir() else place
    if not script.is_file() or script.suffix != ".py":
        raise NotAConverter(converter)
    return script.absolute()


def _converted(original: Path, script: Path, folder: Path, progress: Progress) -> ConvertedSource:
    needed = _needed_bytes(original)
    with contextlib.ExitStack() as undo:
        place = _private_folder(folder, needed)
        undo.callback(shutil.rmtree, place, ignore_errors=True)
        out = place / "model.gguf"
        progress.stage("Converting with llama.cpp", needed)
        with _running(script, original.absolute(), out) as process:
            while process.poll() is None:
                progress.update(min(out.stat().st_size if out.exists() else 0, needed - 1))
                time.sleep(POLL_S)
        if process.returncode or not out.is_file():
            raise ConversionFailed(str(original), str(script), _reason(place / "log.txt"), _python(script.parent))
        source = ConvertedSource(out, original, script)
        undo.pop_all()
    return source


def _needed_bytes(original: Path) -> int:
    """What the 16-bit file will take at most, where its weights have 16 bits or more."""
    return sum(file.stat().st_size for pattern in _WEIGHTS for file in original.glob(pattern)) + 1


def _private_folder(folder: Path, needed: int) -> Path:
    """A new hidden folder, those that killed processes left being removed. Raises DiskFull, OutputNotWritable."""
    try:
        for left in folder.glob(f"{_PREFIX}*"):
            owner = left.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DiskFull(str(folder), needed, free)
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=folder))
    except OSError as error:
        raise OutputNotWritable(str(folder), error.strerror or str(error)) from error


@contextlib.contextmanager
def _running(script: Path, original: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The converter at work, its words in log.txt; it and what it started are killed where the caller gives up."""
    command = [_python(script.parent), str(script), str(original), "--outfile", str(out), "--outtype", "auto"]
    with (out.parent / "log.txt").open("wb") as log:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=out.parent, env=_environment()
            )
        except OSError as error:
            raise ConversionFailed(str(original), str(script), error.strerror or str(error), command[0]) from error
    try:
        yield process
    finally:
        if process.poll() is None:
            _kill(process)


def _python(checkout: Path) -> str:
    """The interpreter of the checkout's own environment, where it has one; else the one that runs now."""
    return next((str(checkout / name) for name in _PYTHONS if (checkout / name).is_file()), sys.executable)


def _environment() -> dict[str, str]:
    """The environment of this process, without what would lead imports here, and with the model hub out of reach."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return kept | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.kill()
    process.wait()


def _reason(log: Path) -> str:
    """The last words of the converter that say something."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - MAX_LOG_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")[:300]

"""What a quantization is made of, as digests: whether an interrupted one can go on is decided by comparing them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from core.errors import CannotResume, ReadFailed
from core.formats.gguf_writer import header
from core.jobs import QuantizeJob
from core.plan import Prepared
from core.sources import Source
from kernels.dispatch import FORCED_BACKEND

HEAD_BYTES = 1 << 20
ROOT = Path(__file__).resolve().parents[1]
# What decides which bytes are written; other versions of them may round otherwise.
CODE = ("core", "kernels", "resources/grids")
LIBRARIES = ("numpy", "numba", "llvmlite", "torch")
# Each digest with what it says when it has changed, in the order in which a change is looked for.
CHANGES: dict[str, str] = {
    "options": "it was begun with other options",
    "imatrix": "the importance matrix has changed since then",
    "source": "the source has changed since then",
    "program": "it was begun by another version of Bitwright or of its libraries, which may compute other bytes",
}


def fingerprint(source: Source, jobs: Sequence[QuantizeJob], prepared: Sequence[Prepared]) -> dict[str, str]:
    """The digests of CHANGES. Raises ReadFailed.

    A source is known by its files' names, sizes, times and beginnings, and by what it makes of the outputs' headers.
    """
    return {
        "options": _digest(_options(job) for job in jobs),
        "imatrix": _digest(_content(path) for path in sorted({job.options.imatrix for job in jobs} - {""})),
        "source": _digest([*map(_file, source.origin), *map(_header, prepared)]),
        "program": _program(),
    }


def refuse_changed(output: str, before: dict[str, str], now: dict[str, str]) -> None:
    """Raises CannotResume for the first digest that is not what it was."""
    for name, words in CHANGES.items():
        if before.get(name) != now[name]:
            raise CannotResume(output, words)


def _options(job: QuantizeJob) -> str:
    """Everything that decides the output; the number of threads does not."""
    values = [job.options.model_dump(mode="json"), job.device, os.environ.get(FORCED_BACKEND, "")]
    return json.dumps(values, sort_keys=True)


def _file(path: Path) -> str:
    try:
        status = path.stat()
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    return f"{path.name} {status.st_size} {status.st_mtime_ns} {head}"


def _header(prepared: Prepared) -> str:
    """The outputs' headers: metadata, some converted from files beside the weights, and the types of all tensors."""
    return _digest(hashlib.sha256(header(part.metadata, part.layout)).hexdigest() for part in prepared.parts)


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ReadFailed(path, error.strerror or str(error)) from error


@cache
def _program() -> str:
    """The program's own files, and the versions of the libraries that compute."""
    paths = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.*"))
    files = [path for path in paths if path.suffix in (".py", ".npz")]
    versions = [f"{name} {_version(name)}" for name in LIBRARIES]
    return _digest([*versions, *(f"{path.relative_to(ROOT)} {_content(str(path))}" for path in files)])


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()

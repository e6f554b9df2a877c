"""Whether all of a model is in the cache already, told without the Hub: then a download has nothing to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from core.errors import BitwrightError
from core.formats.json_file import read_json_object
from core.formats.safetensors_reader import INDEX_NAME, MAX_INDEX_BYTES, indexed_names
from core.hub.cache import RepoCache
from core.hub.selection import select
from core.hub.stored import partials, read_snapshot
from core.jobs import DownloadedFile, DownloadJob, DownloadResult, SkippedFile

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
_WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth")


def result_of_cache(job: DownloadJob, cache: RepoCache, commit: str) -> DownloadResult | None:
    """The answer of a download into the cache that had nothing to fetch; None where something is missing, or may be.

    Files get their names only once they are checked, so what has its name is whole. Which others the Hub has is not
    known: that weights are all there, their own names and index say.
    """
    if job.output or any(True for _ in partials(cache)):
        return None
    snapshot = read_snapshot(cache.snapshot(commit))
    names = sorted(snapshot.links)
    patterns_met = all(any(fnmatchcase(name, pattern) for name in names) for pattern in job.include)
    if snapshot.broken or not patterns_met:
        return None
    try:
        wanted, reasons = select(job.repo, names, job.include)
        if not _has_weights(snapshot.folder, wanted):
            return None
    except BitwrightError:
        return None
    sizes = {name: snapshot.contents[real] for name, real in snapshot.links.items()}
    return DownloadResult(
        repo=job.repo,
        revision=job.revision,
        commit=commit,
        folder=str(snapshot.folder),
        files=tuple(DownloadedFile(name=name, bytes=sizes[name], fetched=0) for name in wanted),
        skipped=tuple(SkippedFile(name=name, bytes=sizes[name], reason=why) for name, why in reasons.items()),
        bytes=sum(sizes[name] for name in wanted),
        fetched=0,
        seconds=0.0,
        offline=True,
    )


def _has_weights(folder: Path, names: Sequence[str]) -> bool:
    """Whether some of the names are weights, of which no part is missing. Raises what reading an index raises."""
    weights = {name for name in names if name.lower().endswith(_WEIGHTS)}
    for name in list(weights):
        if part := _PART.search(name):
            stem = name[: part.start()]
            weights |= {f"{stem}-{number:05}-of-{part[1]}.gguf" for number in range(1, int(part[1]) + 1)}
    index = folder / INDEX_NAME
    if INDEX_NAME in names and index.is_file():
        weights |= set(indexed_names(index, read_json_object(index, MAX_INDEX_BYTES)))
    return bool(weights) and all((folder / name).is_file() for name in weights)

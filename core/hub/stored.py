"""What downloads have left on this computer: the models in the Hub's cache, their revisions, what is unfinished."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.hub.cache import RepoCache, cache_root, cached_repos, first_parts
from core.jobs import CachedRepo, CachedRevision, HubCacheJob, HubCacheResult, PartialDownload
from core.progress import Progress
from core.unfinished import is_locked

OWN_ENDING = ".part"
OTHER_ENDING = ".incomplete"
UNFINISHED = Path(".cache") / "huggingface" / "download"
FOLDERS_DEEP = ("", "*", "*/*")


@dataclass
class Snapshot:
    """The files of one commit. contents: real paths and sizes, of each once. links: name -> real path."""

    folder: Path
    contents: dict[Path, int] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Of all contents."""
        return sum(self.contents.values())


def hub_cache(job: HubCacheJob, progress: Progress) -> HubCacheResult:
    """The answer of HubCacheJob. What cannot be read is left out; a cache that does not exist is empty."""
    root = cache_root()
    progress.stage("Looking through the cache", unit="models")
    repos = []
    for number, cache in enumerate(cached_repos(root)):
        progress.update(number, cache.repo)
        repos.append(_repo(cache))
    loose = [partial for folder in job.folders for partial in _loose(Path(folder))]
    return HubCacheResult(
        root=str(root),
        bytes=sum(repo.bytes for repo in repos),
        free=_free(root),
        repos=tuple(repos),
        loose=tuple({partial.path: partial for partial in loose}.values()),
    )


def snapshots(cache: RepoCache) -> dict[str, Snapshot]:
    """The commits of a model in the cache."""
    with contextlib.suppress(OSError):
        folders = sorted(entry for entry in (cache.folder / "snapshots").iterdir() if entry.is_dir())
        return {folder.name: read_snapshot(folder) for folder in folders}
    return {}


def read_snapshot(folder: Path) -> Snapshot:
    """The files of a commit's folder and the contents they are links to."""
    snapshot, root = Snapshot(folder), os.path.realpath(cache_root())
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            real = Path(os.path.realpath(path))
            shown = path.relative_to(folder).as_posix()
            if real.is_file() and real.is_relative_to(root):
                snapshot.contents[real] = real.stat().st_size
                snapshot.links[shown] = real
            else:
                snapshot.broken.append(shown)
    return snapshot


def refs(cache: RepoCache) -> dict[str, str]:
    """Branches and tags that were downloaded, and the commits they meant then."""
    found = {}
    folder = cache.folder / "refs"
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if path.is_file() and not path.name.endswith(".tmp"):
                found[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8").strip()
    return found


def _repo(cache: RepoCache) -> CachedRepo:
    found, named = snapshots(cache), refs(cache)
    owners = Counter(path for snapshot in found.values() for path in snapshot.contents)
    contents = {path: size for snapshot in found.values() for path, size in snapshot.contents.items()}
    partial = tuple(partials(cache))
    revisions = [
        CachedRevision(
            commit=commit,
            refs=tuple(name for name, meant in named.items() if meant == commit),
            folder=str(snapshot.folder),
            bytes=snapshot.bytes,
            own_bytes=sum(size for path, size in snapshot.contents.items() if owners[path] == 1),
            files=len(snapshot.links),
            modified=_time(snapshot.folder),
            models=tuple(sorted(path.relative_to(snapshot.folder).as_posix() for path in first_parts(snapshot.folder))),
            broken=tuple(snapshot.broken),
        )
        for commit, snapshot in found.items()
    ]
    return CachedRepo(
        repo=cache.repo,
        folder=str(cache.folder),
        bytes=sum(contents.values()) + sum(one.done for one in partial),
        used=max((_read(path) for path in contents), default=_time(cache.folder)),
        revisions=tuple(sorted(revisions, key=lambda revision: -revision.modified)),
        partial=partial,
    )


def partials(cache: RepoCache) -> Iterator[PartialDownload]:
    """The unfinished files of a model in the cache, ours and those of other programs."""
    for path in sorted(cache.blobs.glob("*")) if cache.blobs.is_dir() else []:
        if path.name.endswith((OWN_ENDING, OTHER_ENDING)):
            digest = path.name.partition(".")[0]
            yield _partial(path, cache.lock(digest), cache.repo)


def _loose(folder: Path) -> Iterator[PartialDownload]:
    """Those in folders that were downloaded into, at or a little below `folder`."""
    for pattern in FOLDERS_DEEP:
        for place in sorted(folder.glob(pattern)) if pattern else [folder]:
            for path in sorted((place / UNFINISHED).glob(f"*{OWN_ENDING}")):
                yield _partial(path, path.with_suffix(".lock"), "")


def _partial(path: Path, lock_path: Path, repo: str) -> PartialDownload:
    total, done, of = 0, _allocated(path), {}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        state = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        total, of = int(state["bytes"]), dict(state.get("of") or {})
        done = sum(int(piece[2]) for piece in state["pieces"])
    return PartialDownload(
        path=str(path),
        repo=repo or str(of.get("repo", "")),
        name=str(of.get("name", "")),
        done=done,
        total=total,
        ours=path.name.endswith(OWN_ENDING),
        running=is_locked(lock_path),
    )


def _allocated(path: Path) -> int:
    """Bytes of a file that are really there: its holes are not."""
    with contextlib.suppress(OSError):
        state = path.stat()
        return min(state.st_size, getattr(state, "st_blocks", state.st_size) * 512)
    return 0


def _time(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _read(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_atime
    return 0.0


def _free(root: Path) -> int:
    place = Path(os.path.abspath(root))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free

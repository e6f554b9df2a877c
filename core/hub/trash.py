"""Moves models to the trash: files with all their parts, folders, and what of the Hub's cache nothing else needs.

Contents in the cache lie under their hashes and are shared by revisions. What goes to the trash is a folder of the
model's files under their own names, made of hard links, so that it can be put back; only when the trash has it are the
contents taken out of the cache. At no moment is a content in neither place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.catalog import sample_path
from core.errors import InUse, NotAModel, NotTrashed, SourceNotFound
from core.hub.cache import RepoCache, cache_root, cached_repos
from core.hub.selection import parts_beside
from core.hub.stored import OTHER_ENDING, OWN_ENDING, Snapshot, partials, refs, snapshots
from core.hub.uses import uses_of
from core.jobs import TrashItem, TrashJob, TrashResult, Use
from core.progress import Progress
from core.store import data_dir
from core.unfinished import is_locked

MODEL_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".pth")


@dataclass
class Removal:
    """What one path means. whole: paths that go as they are. names: files of `cached`'s snapshot that go.

    for_good: files of no use, which are removed. kept: bytes that others share.
    """

    path: Path
    bytes: int
    files: int
    kept: int = 0
    whole: tuple[Path, ...] = ()
    for_good: tuple[Path, ...] = ()
    cached: tuple[RepoCache, Snapshot] | None = None
    names: tuple[str, ...] = ()
    uses: tuple[Use, ...] = field(default=())

    @property
    def item(self) -> TrashItem:
        """For the answer."""
        return TrashItem(path=str(self.path), bytes=self.bytes, kept=self.kept, files=self.files, uses=self.uses)


def trash(job: TrashJob, progress: Progress) -> TrashResult:
    """The answer of TrashJob; everything is judged before anything is moved.

    Raises SourceNotFound, NotAModel for what is none, InUse, NotTrashed.
    """
    progress.stage("Looking what else uses it", len(job.paths), "models")
    removals = [_removal(Path(os.path.abspath(path))) for path in job.paths]
    if not job.dry_run:
        for removal in removals:
            if blocking := [use.name for use in removal.uses if use.blocks]:
                raise InUse(str(removal.path), blocking)
        progress.stage("Moving to the trash", len(removals), "models")
        for number, removal in enumerate(removals):
            progress.update(number, removal.path.name)
            _carry_out(removal)
    items = tuple(removal.item for removal in removals)
    return TrashResult(items=items, bytes=sum(item.bytes for item in items), dry_run=job.dry_run)


# ---------------------------------------------------------------- what a path means


def _removal(path: Path) -> Removal:
    """Raises SourceNotFound, NotAModel."""
    if not os.path.lexists(path):
        raise SourceNotFound(str(path))
    if path.name.endswith((OWN_ENDING, OTHER_ENDING)) and path.is_file():
        return _partial(path)
    for cache in cached_repos(cache_root()):
        if path.is_relative_to(cache.folder):
            return _cached(cache, path)
    _check_is_model(path)
    whole = parts_beside(path) if path.is_file() else (path,)
    sizes = [size for place in whole for size in _sizes(place)]
    return Removal(path, sum(sizes), len(sizes), whole=whole, uses=uses_of(path, ""))


def _check_is_model(path: Path) -> None:
    """Raises NotAModel for a folder that is more than a model, and for what came with the program."""
    sample = sample_path()
    if sample is not None and os.path.realpath(path) == os.path.realpath(sample):
        raise NotAModel(str(path), "it came with the program", "Take it off the list instead")
    if path.is_file():
        if not path.name.lower().endswith(MODEL_FILES):
            raise NotAModel(str(path), "it is another kind of file", "Delete it in the file manager")
        return
    real = Path(os.path.realpath(path))
    above = any(Path(os.path.realpath(place)).is_relative_to(real) for place in (Path.home(), data_dir(), cache_root()))
    with contextlib.suppress(OSError):
        if not above and any(_is_models(name) for name in os.listdir(path)):
            return
    raise NotAModel(str(path), "it is a folder of other things, too", "Choose the model in it")


def _is_models(name: str) -> bool:
    return name == "config.json" or name.lower().endswith(MODEL_FILES)


def _sizes(path: Path) -> Iterator[int]:
    """Bytes of every file at or below a path; links count nothing."""
    if path.is_symlink() or path.is_file():
        yield 0 if path.is_symlink() else path.stat().st_size
        return
    for place, _, names in os.walk(path):
        for name in names:
            file = Path(place) / name
            yield 0 if file.is_symlink() else file.stat().st_size


def _partial(path: Path) -> Removal:
    """An unfinished download. Raises InUse while somebody is at it."""
    digest = path.name.partition(".")[0]
    repo = next((cache for cache in cached_repos(cache_root()) if path.parent == cache.blobs), None)
    if is_locked(repo.lock(digest) if repo else path.with_suffix(".lock")):
        raise InUse(str(path), ["a download that is running"])
    beside = (path, *path.parent.glob(f"{path.name}.json*"))
    return Removal(path, path.stat().st_size, 1, for_good=beside)


def _cached(cache: RepoCache, path: Path) -> Removal:
    """A whole repository, a revision or a file of one, in the cache. Raises NotAModel, InUse."""
    found = snapshots(cache)
    steps = path.relative_to(cache.folder).parts
    if not steps:
        return _cached_repo(cache)
    snapshot = found.get(steps[1]) if steps[0] == "snapshots" and len(steps) > 1 else None
    if snapshot is None:
        raise NotAModel(str(path), "it is a part of the cache that others rely on", "Choose a model or a revision")
    if len(steps) == 2 and len(found) == 1 and not list(partials(cache)):
        return _cached_repo(cache)
    names = tuple(snapshot.links) if len(steps) == 2 else _parts_of("/".join(steps[2:]), snapshot)
    if not names and len(steps) > 2:
        raise NotAModel(str(path), "it is a folder of a revision", "Choose a model file or the revision")
    shared = _shared(found, snapshot, names)
    going = {snapshot.links[name] for name in names} - shared.keys()
    others = {use for uses in shared.values() for use in uses}
    return Removal(
        path,
        sum(snapshot.contents[content] for content in going),
        len(names),
        kept=sum(snapshot.contents[content] for content in shared),
        cached=(cache, snapshot),
        names=names,
        uses=(*(Use(kind="revision", name=name) for name in sorted(others)), *uses_of(path, cache.repo)),
    )


def _cached_repo(cache: RepoCache) -> Removal:
    """Raises InUse while a download into it runs."""
    if running := [one.name or one.path for one in partials(cache) if one.running]:
        raise InUse(str(cache.folder), [f"the download of {name}" for name in running])
    contents = {real: size for one in snapshots(cache).values() for real, size in one.contents.items()}
    sizes = {Path(os.path.realpath(path)): path.stat().st_size for path in cache.blobs.glob("*") if path.is_file()}
    return Removal(
        cache.folder,
        sum((contents | sizes).values()),
        len(contents),
        whole=(cache.folder,),
        uses=uses_of(cache.folder, cache.repo),
    )


def _parts_of(name: str, snapshot: Snapshot) -> tuple[str, ...]:
    """A file of a snapshot and the other parts of the model it belongs to."""
    paths = parts_beside(snapshot.folder / name)
    return tuple(shown for path in paths if (shown := path.relative_to(snapshot.folder).as_posix()) in snapshot.links)


def _shared(found: dict[str, Snapshot], snapshot: Snapshot, names: Iterable[str]) -> dict[Path, set[str]]:
    """The contents of files that something else is a link to as well: the revisions, or other files of this one."""
    going, shared = set(names), {}
    for content in {snapshot.links[name] for name in going}:
        users = {
            commit[:12]
            for commit, other in found.items()
            for name, real in other.links.items()
            if real == content and not (other is snapshot and name in going)
        }
        if users:
            shared[content] = users
    return shared


# ---------------------------------------------------------------- doing it


def _carry_out(removal: Removal) -> None:
    """Raises NotTrashed; what was not moved is where it was."""
    for path in removal.for_good:
        path.unlink(missing_ok=True)
    for path in removal.whole:
        _own_contents(path)
        to_trash(path)
    if removal.cached is not None:
        _trash_names(*removal.cached, removal.names)


def to_trash(path: Path) -> None:
    """Moves one file or folder to the trash. Raises NotTrashed."""
    from send2trash import send2trash  # asks the desktop which trash it has, which only deleting needs

    try:
        send2trash(str(path))
    except Exception as error:  # every system's trash has failures of its own
        raise NotTrashed(str(path), getattr(error, "strerror", None) or str(error)) from error


def _own_contents(folder: Path) -> None:
    """Contents that huggingface_hub keeps for the whole cache and only this repository uses become its own."""
    if folder.parent != cache_root() or not folder.is_dir():
        return
    for link in [path for path in (folder / "blobs").glob("*") if path.is_symlink()]:
        real = Path(os.path.realpath(link))
        others = [path for path in folder.parent.glob("*--*/blobs/*") if path != link and path.is_symlink()]
        if real.is_file() and not any(Path(os.path.realpath(path)) == real for path in others):
            with contextlib.suppress(OSError):
                os.replace(real, link)


def _trash_names(cache: RepoCache, snapshot: Snapshot, names: tuple[str, ...]) -> None:
    """Takes files out of a revision; where none is left, the revision out of the cache. Raises NotTrashed."""
    _own_contents(cache.folder)
    found = snapshots(cache)
    snapshot = found[snapshot.folder.name]
    shared = _shared(found, snapshot, names)
    going = {name: snapshot.links[name] for name in names if snapshot.links[name] not in shared}
    if going:
        _trash_contents(cache, snapshot, going)
    for content in set(going.values()):
        content.unlink(missing_ok=True)
    for name in names:
        (snapshot.folder / name).unlink(missing_ok=True)
    if set(names) == set(snapshot.links):
        shutil.rmtree(snapshot.folder, ignore_errors=True)
        for name, commit in refs(cache).items():
            if commit == snapshot.folder.name:
                cache.ref(name).unlink(missing_ok=True)


def _trash_contents(cache: RepoCache, snapshot: Snapshot, going: dict[str, Path]) -> None:
    """A folder of hard links under the files' own names, moved to the trash. Raises NotTrashed."""
    try:
        with tempfile.TemporaryDirectory(prefix=".trash-", dir=cache.root, ignore_cleanup_errors=True) as place:
            staged = Path(place) / f"{cache.repo.replace('/', '--')} {snapshot.folder.name[:12]}"
            for name, content in going.items():
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(content, staged / name)
            to_trash(staged)
    except OSError as error:
        raise NotTrashed(str(snapshot.folder), error.strerror or str(error)) from error

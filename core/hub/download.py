"""Downloads a model: what is needed, what is here already, room and names checked first, every content by its hash.

Into the cache the files go in the shared layout (core.hub.cache); into a folder of the user's under their own names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import (
    ChangedOnHub,
    DiskFull,
    DownloadCorrupt,
    HubNotFound,
    HubOffline,
    OutputNotWritable,
    UnsafeFileName,
)
from core.hub import client
from core.hub.address import endpoint
from core.hub.cache import RepoCache, cache_root
from core.hub.client import Listing, RemoteFile
from core.hub.fetch import Fetch, Manners, Throttle
from core.hub.here import result_of_cache
from core.hub.names import is_commit, problem_of
from core.hub.partial import GrowingDigest, Origin, PartialFile, content_digest
from core.hub.selection import select
from core.hub.transfer import ContentChanged, Remote
from core.jobs import DownloadedFile, DownloadJob, DownloadResult, SkippedFile
from core.progress import Progress
from core.unfinished import lock

HASH_TRIES = 2
LISTINGS = 3


def download(job: DownloadJob, progress: Progress, manners: Manners | None = None) -> DownloadResult:
    """The answer of DownloadJob. What has arrived stays where the job ends early, and the same job goes on with it.

    Raises the leaves that core.errors has for the Hub, UnsafeFileName, UnsafeCache, DiskFull, OutputNotWritable.
    """
    if problem_of(job.revision):
        raise HubNotFound(f"{job.repo}, revision {job.revision!r},", endpoint())
    manners = manners or Manners(job.connections, job.limit)
    began = time.monotonic()
    for _ in range(LISTINGS):
        progress.stage("Asking the Hub", 0, "files")
        listed = _listed(job, progress)
        if isinstance(listed, DownloadResult):
            return listed
        names = [file.name for file in listed.files]
        wanted, reasons = select(job.repo, names, job.include)
        _check_names(job.repo, wanted)
        by_name = {file.name: file for file in listed.files}
        layout = FolderLayout(Path(job.output), listed) if job.output else CacheLayout(listed, job.revision)
        try:
            done = _Run(listed, layout, manners, progress).fetch([by_name[name] for name in wanted])
        except ContentChanged:
            continue
        skipped = [SkippedFile(name=name, bytes=by_name[name].bytes, reason=reason) for name, reason in reasons.items()]
        return DownloadResult(
            repo=job.repo,
            revision=job.revision,
            commit=listed.commit,
            folder=str(layout.folder),
            files=tuple(done),
            skipped=tuple(skipped),
            bytes=sum(file.bytes for file in done),
            fetched=sum(file.fetched for file in done),
            seconds=time.monotonic() - began,
        )
    raise ChangedOnHub(job.repo)


def into_cache(
    listed: Listing, names: Sequence[str], revision: str, progress: Progress, manners: Manners | None = None
) -> Path:
    """Files of a listing in the cache, complete and checked; answers the folder of their commit.

    Raises what `download` raises, and ContentChanged where the listing is no longer true.
    """
    _check_names(listed.repo, names)
    layout = CacheLayout(listed, revision)
    chosen = set(names)
    _Run(listed, layout, manners or Manners(), progress).fetch([file for file in listed.files if file.name in chosen])
    return layout.folder


def _listed(job: DownloadJob, progress: Progress) -> Listing | DownloadResult:
    """The files of the model; where nobody can be asked and all is here, the answer. Raises what `download` raises."""
    try:
        return client.listing(job.repo, job.revision, progress)
    except HubOffline as error:
        cache = RepoCache(cache_root(), job.repo)
        commit = cache.commit_of(job.revision)
        if commit and cache.snapshot(commit).is_dir():
            if found := result_of_cache(job, cache, commit):
                return found
            raise HubOffline(endpoint(), error.why, job.repo) from error
        raise


def _check_names(repo: str, names: Sequence[str]) -> None:
    """Before anything is written. Raises UnsafeFileName."""
    for name in names:
        if problem := problem_of(name):
            raise UnsafeFileName(repo, name, problem)
    folded: dict[str, str] = {}
    for name in names:
        if folded.setdefault(name.casefold(), name) != name:
            raise UnsafeFileName(repo, name, f"{folded[name.casefold()]} is the same name on many systems")


class CacheLayout:
    """Files of a commit in the cache: contents under their hashes, and links to them under their names."""

    def __init__(self, listed: Listing, revision: str) -> None:
        self._cache = RepoCache(cache_root(), listed.repo, listed.kind)
        self._listed = listed
        self._revision = revision
        self.folder = self._cache.snapshot(listed.commit)

    def part(self, file: RemoteFile) -> Path:
        """The unfinished file."""
        return self._cache.blob(f"{file.digest}.part")

    def target(self, file: RemoteFile) -> Path:
        """Where the content goes. Raises UnsafeCache."""
        self._cache.check_inside(self._cache.blob(file.digest))
        self._cache.check_inside(self.folder / file.name)
        return self._cache.blob(file.digest)

    def lock(self, file: RemoteFile) -> Path:
        """The file to lock while a content is being downloaded."""
        return self._cache.lock(file.digest)

    def has(self, file: RemoteFile) -> bool:
        """Whether the content is there, downloaded by whomever; where no links can be made, under its name."""
        return any(_is_whole(path, file) for path in (self.target(file), self.folder / file.name))

    def place(self, file: RemoteFile) -> None:
        """Links the name to the content. Raises OutputNotWritable."""
        name, content = self.folder / file.name, self._cache.blob(file.digest)
        if _is_whole(name, file):
            return
        with _writing(name):
            name.parent.mkdir(parents=True, exist_ok=True)
            name.unlink(missing_ok=True)
            try:
                name.symlink_to(os.path.relpath(content, name.parent))
            except FileExistsError:
                return  # another program was faster
            except OSError:
                os.replace(content, name)  # a system without links

    def complete(self) -> None:
        """Notes which commit the revision means, now that its files are here."""
        if is_commit(self._revision):
            return
        ref = self._cache.ref(self._revision)
        self._cache.check_inside(ref)
        with _writing(ref):
            ref.parent.mkdir(parents=True, exist_ok=True)
            fresh = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
            fresh.write_text(self._listed.commit, encoding="utf-8")
            os.replace(fresh, ref)


class FolderLayout:
    """Files of a commit in a folder of the user's; unfinished ones lie where huggingface_hub keeps its own."""

    def __init__(self, folder: Path, listed: Listing) -> None:
        self.folder = folder
        self._unfinished = folder / ".cache" / "huggingface" / "download"
        self._cache = RepoCache(cache_root(), listed.repo)

    def part(self, file: RemoteFile) -> Path:
        """The unfinished file."""
        return self._unfinished / f"{file.digest}.part"

    def target(self, file: RemoteFile) -> Path:
        """Where the content goes. Raises OutputNotWritable."""
        path = self.folder / file.name
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder)):
            raise OutputNotWritable(str(path), "a link leads out of the folder")
        return path

    def lock(self, file: RemoteFile) -> Path:
        """The file to lock while a content is being downloaded."""
        return self._unfinished / f"{file.digest}.lock"

    def has(self, file: RemoteFile) -> bool:
        """Whether the file is there. One from the cache is copied. Raises OutputNotWritable for another content."""
        path = self.target(file)
        if not os.path.lexists(path):
            return self._copied(file, path)
        if not _is_whole(path, file) or content_digest(path, file.digest, _ignore) != file.digest:
            raise OutputNotWritable(str(path), "another file of that name is there")
        return True

    def _copied(self, file: RemoteFile, path: Path) -> bool:
        blob = self._cache.blob(file.digest)
        if not _is_whole(blob, file):
            return False
        with _writing(path):
            self._unfinished.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._unfinished / f"{file.digest}.{os.getpid()}.copy"
            try:
                shutil.copyfile(blob, fresh)
                os.replace(fresh, path)
            finally:
                fresh.unlink(missing_ok=True)
        return True

    def place(self, file: RemoteFile) -> None:
        """Nothing to do: the content has its name."""

    def complete(self) -> None:
        """Removes the folder of unfinished files where nothing else is in it."""
        for path in self._unfinished.glob("*.lock"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for folder in (self._unfinished, self._unfinished.parent, self._unfinished.parent.parent):
                folder.rmdir()


def _ignore(read: int) -> None:
    """Where nobody waits for progress."""


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputNotWritable(str(path), error.strerror or str(error)) from error


@dataclass
class _Run:
    """The files of one listing, one after another, each over several connections."""

    listed: Listing
    layout: CacheLayout | FolderLayout
    manners: Manners
    progress: Progress
    _before: int = 0

    def fetch(self, files: list[RemoteFile]) -> list[DownloadedFile]:
        """All of them, complete and in place."""
        missing = [file for file in files if not self.layout.has(file)]
        begun = {file.name: self._part(file).done for file in missing}
        self._check_room(sum(file.bytes - begun[file.name] for file in missing))
        here = sum(file.bytes for file in files) - sum(file.bytes for file in missing)
        self.progress.stage("Downloading", sum(file.bytes for file in files), begun=here + sum(begun.values()))
        self._before = here
        throttle = Throttle(self.manners.limit)
        done = []
        for file in files:
            fetched = self._fetch_one(file, throttle) if file in missing else 0
            self.layout.place(file)
            done.append(DownloadedFile(name=file.name, bytes=file.bytes, fetched=fetched))
        self.layout.complete()
        return done

    def _part(self, file: RemoteFile) -> PartialFile:
        of = Origin(self.listed.repo, self.listed.commit, file.name)
        return PartialFile(self.layout.part(file), file.bytes, self.manners.piece_bytes, of)

    def _check_room(self, needed: int) -> None:
        folder = Path(os.path.abspath(self.layout.folder))
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise DiskFull(str(self.layout.folder), needed, free)

    def _fetch_one(self, file: RemoteFile, throttle: Throttle) -> int:
        """Bytes fetched; 0 where another program had it ready meanwhile. Raises what `download` raises."""
        target = self.layout.target(file)
        try:
            with locked(self.layout.lock(file), self._waiting(file)):
                if self.layout.has(file):
                    return 0
                with _writing(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                return self._fetch_checked(file, target, throttle)
        finally:
            self._before += file.bytes

    def _waiting(self, file: RemoteFile) -> Callable[[], None]:
        return lambda: self.progress.update(self._before, f"another program is downloading {file.name}")

    def _fetch_checked(self, file: RemoteFile, target: Path, throttle: Throttle) -> int:
        fetched = 0
        for _ in range(HASH_TRIES):
            # A new one asks the Hub again, which knows whether the content has become another one.
            remote = Remote(self.listed.page, self.listed.commit, file, self.manners.stall_s)
            with self._part(file) as part, GrowingDigest(part, file.digest) as digest:
                fetched += self._receive(remote, part, throttle)
                if digest.finish(self._checking(file)) == file.digest:
                    part.finish(target)
                    return fetched
                part.discard()
        raise DownloadCorrupt(file.name)

    def _receive(self, remote: Remote, part: PartialFile, throttle: Throttle) -> int:
        fetch = Fetch(remote, part, self.manners, throttle)
        try:
            fetch.run(lambda done: self.progress.update(self._before + done, remote.file.name))
        except ContentChanged:
            part.discard()
            raise
        return fetch.received

    def _checking(self, file: RemoteFile) -> Callable[[int], None]:
        # The bytes are counted already; what moves is the note.
        whole = self._before + file.bytes - 1
        return lambda read: self.progress.update(whole, f"checking {file.name}, {read * 100 // max(file.bytes, 1)} %")


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds a lock that other programs respect, too. waiting: called while another has it, may raise to give up.

    Raises OutputNotWritable.
    """
    while True:
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b")
        with file:
            # Who had it may have removed the file: then this one is no longer the one that others lock.
            if lock(file) and path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return
        waiting()
        time.sleep(0.1)

"""What downloads have left on this computer, and taking models off it."""

from __future__ import annotations

from typing import Literal

from core.values import Value


class HubCacheJob(Value):
    """What is in the cache that all programs share, and what of it is unfinished. Answer: HubCacheResult.

    folders: others in which downloads may have been left unfinished.
    """

    kind: Literal["hub_cache"] = "hub_cache"
    folders: tuple[str, ...] = ()


class TrashJob(Value):
    """Moves models to the trash of the desktop. Answer: TrashResult.

    paths: model files (all parts of a split one go), folders, and in the cache a repository's folder, a revision's or a
    file of one; also unfinished downloads, which are of no use and removed for good. dry_run: only tells what would go,
    what stays, and what else uses it.
    """

    kind: Literal["trash"] = "trash"
    paths: tuple[str, ...]
    dry_run: bool = False


class PartialDownload(Value):
    """A file that has not arrived whole. ours: `download` goes on with it; others begin anew with theirs.

    path: of the unfinished file. repo, name: "" where that is not known. done: bytes that are here. total: bytes when
    complete, 0 = not known. running: somebody is at it right now.
    """

    path: str
    repo: str
    name: str
    done: int
    total: int
    ours: bool
    running: bool = False


class CachedRevision(Value):
    """One commit of a model in the cache. folder: ready to be a source. refs: branches and tags that mean it.

    bytes: of all its files. own_bytes: what no other revision shares, so what deleting it frees. models: GGUF files (of
    split ones the first part), empty for a checkpoint. broken: names whose content is gone or lies outside the cache.
    """

    commit: str
    refs: tuple[str, ...]
    folder: str
    bytes: int
    own_bytes: int
    files: int
    modified: float
    models: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


class CachedRepo(Value):
    """A model in the cache. bytes: on disk, unfinished files with it. used: when it was read last, seconds (epoch)."""

    repo: str
    folder: str
    bytes: int
    used: float
    revisions: tuple[CachedRevision, ...]
    partial: tuple[PartialDownload, ...] = ()


class HubCacheResult(Value):
    """What is in the cache. free: bytes free on its disk. loose: unfinished files in the other folders asked about."""

    root: str
    bytes: int
    free: int
    repos: tuple[CachedRepo, ...]
    loose: tuple[PartialDownload, ...] = ()


class Use(Value):
    """Something that needs what is to be deleted.

    kind: a job that waits, runs or was interrupted; a finished job whose result is this or was made from it; another
    revision that shares contents, which stay. blocks: it must end first.
    """

    kind: Literal["job", "result", "revision"]
    name: str
    blocks: bool = False


class TrashItem(Value):
    """What goes to the trash at one place. bytes: that this frees (once the trash is emptied). kept: shared, stays."""

    path: str
    bytes: int
    kept: int
    files: int
    uses: tuple[Use, ...] = ()


class TrashResult(Value):
    """What went to the trash, or would go."""

    items: tuple[TrashItem, ...]
    bytes: int
    dry_run: bool

"""Texts of a dataset on the Hub: which of its files, fetched into the cache that all programs share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from core.errors import ChangedOnHub, DatasetNotFound, DatasetUnusable, HubNotFound, HubOffline
from core.hub import client
from core.hub.address import endpoint
from core.hub.cache import RepoCache, cache_root
from core.hub.download import LISTINGS, into_cache
from core.hub.names import DATASET, ENOUGH_BYTES, is_repo, split_id
from core.hub.transfer import ContentChanged
from core.progress import Progress
from core.texts import Text

KIND = "datasets"
REVISION = "main"
# Endings that are read, the better ones first.
READABLE = (
    *(".jsonl", ".parquet", ".jsonl.gz", ".jsonl.zst"),
    *(".json", ".json.gz", ".json.zst", ".txt", ".txt.gz", ".txt.zst", ".md"),
)
# Words in names that say which split of a dataset a file is of.
SPLITS = {
    "calibration": frozenset({"train", "training"}),
    "evaluation": frozenset({"test", "validation", "valid", "val", "dev", "eval"}),
}
# Larger ones are taken only where they are asked for by name: a file is fetched whole.
LARGEST_BYTES = 1 << 30
_ABOUT = re.compile(
    r"(.*/)?(\..*|(readme|licen[cs]e|notice|citation|requirements|changelog)[^/]*"
    r"|(dataset_infos?|dataset_dict|state|croissant|metadata|config|stats)\.json)"
)
Sizes = dict[str, int]


def dataset_texts(name: str, purpose: str, progress: Progress) -> list[Text]:
    """Texts of `dataset:OWNER/NAME` or `dataset:OWNER/NAME/FILE`; without a FILE the first files of the best split.

    FILE may be a folder, whose files are then all there is.
    Where the Hub cannot be reached, what of the dataset is in the cache is taken. Raises DatasetNotFound,
    DatasetUnusable, HubOffline, and what downloads raise (core.hub.download).
    """
    repo, file = split_id(name.removeprefix(DATASET))
    if not is_repo(repo):
        raise DatasetUnusable(name, f"a dataset is named {DATASET}OWNER/NAME or {DATASET}OWNER/NAME/FILE")
    for _ in range(LISTINGS):
        progress.stage("Asking the Hub", 0, "files")
        try:
            listed = client.listing(repo, REVISION, progress, KIND)
            chosen = choose(repo, {entry.name: entry.bytes for entry in listed.files}, file, purpose)
            return _texts(repo, into_cache(listed, chosen, REVISION, progress), chosen, file)
        except HubNotFound as error:
            raise DatasetNotFound(repo, endpoint()) from error
        except HubOffline:
            if (folder := _cached(repo)) is None:
                raise
            here = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
            return _texts(repo, folder, choose(repo, here, file, purpose), file)
        except ContentChanged:
            continue
    raise ChangedOnHub(repo)


def choose(repo: str, sizes: Sizes, file: str, purpose: str) -> list[str]:
    """The names to read of all files, whose bytes are given. file: the one or the folder asked for, or "".

    Raises DatasetUnusable.
    """
    folder = {name: size for name, size in sizes.items() if name.startswith(f"{file}/")}
    if folder:
        sizes = folder
    elif file:
        if file not in sizes:
            raise DatasetUnusable(DATASET + repo, f"it has no file {file}", f"Look at {endpoint()}/datasets/{repo}")
        if not file.lower().endswith(READABLE):
            raise _unreadable(repo, [file])
        return [file]
    readable = [name for name in sizes if name.lower().endswith(READABLE) and not _ABOUT.fullmatch(name.lower())]
    if not readable:
        raise _unreadable(repo, list(sizes))
    fitting = [name for name in readable if sizes[name] <= LARGEST_BYTES]
    if not fitting:
        least = min(readable, key=lambda name: sizes[name])
        raise DatasetUnusable(
            DATASET + repo,
            f"each of its files is larger than {LARGEST_BYTES >> 30} GiB",
            f"Ask for one by its name: {DATASET}{repo}/{least} has {sizes[least] / (1 << 30):.1f} GiB",
        )
    best = min(_order(name, purpose) for name in fitting)
    return _enough([name for name in sorted(fitting) if _order(name, purpose) == best], sizes)


def _order(name: str, purpose: str) -> tuple[int, int]:
    """Which files come first: of the purpose's split, then of none, then of others; in them the better endings."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    rank = 0 if words & SPLITS[purpose] else 2 if any(words & split for split in SPLITS.values()) else 1
    return rank, next(number for number, ending in enumerate(READABLE) if name.lower().endswith(ending))


def _enough(names: Sequence[str], sizes: Sizes) -> list[str]:
    taken: list[str] = []
    total = 0
    for name in names:
        taken.append(name)
        total += sizes[name]
        if total >= ENOUGH_BYTES:
            break
    return taken


def _unreadable(repo: str, names: Sequence[str]) -> DatasetUnusable:
    """Says what there is instead, and how it becomes a text."""
    endings = sorted({PurePosixPath(name).suffix for name in names} - {"", ".md", ".gitattributes"})
    others = f"; it has {', '.join(endings[:6])}" if endings else ""
    remedy = (
        "Write some of its rows as JSONL once, with Python's `datasets`: "
        f'load_dataset("{repo}", split="train[:2000]").to_json("text.jsonl"); then give that file'
    )
    return DatasetUnusable(DATASET + repo, f"only {', '.join(READABLE)} are read{others}", remedy if endings else "")


def _cached(repo: str) -> Path | None:
    """The folder of what was downloaded last. Raises UnsafeCache."""
    cache = RepoCache(cache_root(), repo, KIND)
    commit = cache.commit_of(REVISION)
    if commit is None or not cache.snapshot(commit).is_dir():
        return None
    for path in _files(cache.snapshot(commit)):
        cache.check_inside(path)
    return cache.snapshot(commit)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _texts(repo: str, folder: Path, names: Sequence[str], file: str) -> list[Text]:
    """Of a file that was asked for by its name all is read."""
    enough = 0 if file in names else ENOUGH_BYTES
    return [Text(f"{DATASET}{repo}/{name}", folder / name, is_fetched=True, enough_letters=enough) for name in names]

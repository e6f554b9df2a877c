"""Publishes a model file or folder as a repository of the Hub, with a card of what is known about it.

huggingface_hub speaks to the Hub; what is here chooses the files, writes the card, reads the files so that progress is
known and the job can be cancelled, and puts failures into words. Large files that the Hub has already are not sent
again, so that a broken upload goes on with the first file that is missing.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from logging import ERROR
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, logging
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils.tqdm import disable_progress_bars

from core.errors import (
    BitwrightError,
    Cancelled,
    HubNotFound,
    HubReadOnly,
    NotAHubId,
    NothingToUpload,
    ReadFailed,
    SourceNotFound,
    TokenMissing,
    UnsafeFileName,
    UploadFailed,
)
from core.hub import card as cards
from core.hub import client
from core.hub.address import endpoint
from core.hub.card import CardFacts, CardFile
from core.hub.client import AGENT, Listing, awaited, explained, reachable, token_in_use
from core.hub.known import Known, known_of, results_by_hash
from core.hub.names import is_repo, problem_of
from core.hub.page import type_in
from core.hub.selection import parts_beside
from core.hub.stored import OTHER_ENDING, OWN_ENDING
from core.jobs import SkippedFile, UploadedFile, UploadJob, UploadResult
from core.progress import Progress

T = TypeVar("T")
NOT_PUBLISHED = (OWN_ENDING, OTHER_ENDING, ".tmp", ".lock", ".pyc")
FORBIDDEN = (401, 403)


@dataclass
class Counted:
    """Bytes that all readers have read, and the order to stop."""

    stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    bytes: int = 0

    def add(self, n_bytes: int) -> None:
        """Raises Cancelled after the order to stop."""
        if self.stopped.is_set():
            raise Cancelled
        with self._lock:
            self.bytes += n_bytes


class Reader(io.BufferedIOBase):
    """A file of which every byte that is read is counted."""

    def __init__(self, path: Path, counted: Counted) -> None:
        self._file = path.open("rb")
        self._counted = counted
        self.read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises Cancelled after the order to stop."""
        data = self._file.read(-1 if size is None else size)
        self.read_bytes += len(data)
        self._counted.add(len(data))
        return data

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of the file."""
        return self._file.tell()

    def fileno(self) -> int:
        """The file's, which tells its size."""
        return self._file.fileno()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files of an upload by their names in the repository, and those that stay here."""

    files: dict[str, Path]
    skipped: tuple[SkippedFile, ...] = ()


def upload(job: UploadJob, progress: Progress) -> UploadResult:
    """The answer of UploadJob.

    Raises NotAHubId, SourceNotFound, NothingToUpload, UnsafeFileName, and for the Hub TokenMissing, HubTokenRefused,
    HubReadOnly, HubOffline, HubBusy, UploadFailed.
    """
    began = time.monotonic()
    if not is_repo(job.repo):
        raise NotAHubId(job.repo)
    if problem_of(job.revision):
        raise HubNotFound(f"{job.repo}, revision {job.revision!r},", endpoint())
    progress.stage("Preparing", unit="files")
    chosen = choose(Path(os.path.abspath(job.source)), job.include)
    description = _there(job, progress)
    there = client.as_listing(job.repo, description) if description else None
    card, warnings = _card(job, chosen, there, progress)
    sizes = {name: path.stat().st_size for name, path in chosen.files.items()} | {cards.NAME: len(card.encode())}
    sent, commit, url, created = dict.fromkeys(sizes, 0), "", f"{endpoint()}/{job.repo}", there is None
    if not job.dry_run:
        sent, commit = _Upload(job, progress).run(chosen, card)
    return UploadResult(
        repo=job.repo,
        url=url,
        private=bool(description.get("private")) if description else job.private,
        created=created,
        revision=job.revision,
        commit=commit,
        files=tuple(UploadedFile(name=name, bytes=size, sent=sent.get(name, 0)) for name, size in sizes.items()),
        skipped=chosen.skipped,
        card=card,
        warnings=tuple(warnings),
        bytes=sum(sizes.values()),
        sent=sum(sent.values()),
        seconds=time.monotonic() - began,
        dry_run=job.dry_run,
    )


# ---------------------------------------------------------------- what is published


def choose(source: Path, include: Sequence[str]) -> Chosen:
    """Which files go. Raises SourceNotFound, NothingToUpload, UnsafeFileName."""
    if not source.exists():
        raise SourceNotFound(str(source))
    if source.is_file():
        return Chosen({part.name: part for part in parts_beside(source)})
    files, skipped = {}, []
    for path in _below(source):
        name = path.relative_to(source).as_posix()
        if reason := _against(path, name, source, include):
            skipped.append(SkippedFile(name=name, bytes=path.stat().st_size if path.exists() else 0, reason=reason))
        elif name != cards.NAME:
            files[name] = path
    if not files:
        raise NothingToUpload(str(source), "no file of it was chosen" if include else "it has no files")
    for name in files:
        if problem := problem_of(name):
            raise UnsafeFileName(str(source), name, problem)
    return Chosen(files, tuple(skipped))


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in sorted(names))


def _against(path: Path, name: str, source: Path, include: Sequence[str]) -> str:
    """Why a file of a folder is not published, or ''. Hidden ones may hold anything, keys included."""
    if any(part.startswith(".") or part == "__pycache__" for part in Path(name).parts):
        return "hidden"
    if name.endswith(NOT_PUBLISHED):
        return "unfinished or of a program"
    if include and not any(fnmatchcase(name, pattern) for pattern in include):
        return "not asked for"
    if not path.is_file():
        return "no file"
    # In the Hub's cache a revision's files are links to contents beside it; others must not lead out of the folder.
    inside = source.parent.parent if source.parent.name == "snapshots" else source
    return "" if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(inside)) else "a link out of the folder"


def _there(job: UploadJob, progress: Progress) -> dict[str, Any] | None:
    """What the Hub says of the repository; None where there is none to be seen, or nobody to be asked in a dry run."""
    try:
        return client.described(job.repo, job.revision, progress)
    except HubNotFound:
        return None
    except BitwrightError:
        if job.dry_run:
            return None
        raise


def _card(job: UploadJob, chosen: Chosen, there: Listing | None, progress: Progress) -> tuple[str, list[str]]:
    """The card, and what the user should look at before publishing."""
    source = Path(os.path.abspath(job.source))
    if job.card:
        return job.card, []
    own = _own_card(source)
    if own and not cards.is_ours(own):
        return own, ["The card is the folder's own README.md."]
    progress.update(0, "reading what is known of the model")
    known = known_of(source)
    base, model_license = job.base or known.base, job.license or known.license
    warnings = []
    if not base:
        warnings.append("The card does not say what the model was made from: name it with --base OWNER/NAME.")
    if not model_license:
        warnings.append("The card names no licence: look which one the original has, and name it with --license.")
    files = [*_own_files(chosen, known), *_other_files(chosen, there)]
    return cards.make_card(CardFacts(job.repo, known, files, base, model_license, own)), warnings


def _own_card(source: Path) -> str:
    try:
        return (source / cards.NAME).read_text(encoding="utf-8", errors="replace") if source.is_dir() else ""
    except OSError:
        return ""


def _own_files(chosen: Chosen, known: Known) -> Iterator[CardFile]:
    ggufs = {name: path for name, path in chosen.files.items() if name.endswith(".gguf")}
    for name, path in ggufs.items():
        mine = known.result if len(ggufs) == 1 or path == known.path else None
        yield CardFile(name, known.type if path == known.path else type_in(name), path.stat().st_size, mine)


def _other_files(chosen: Chosen, there: Listing | None) -> Iterator[CardFile]:
    """Other models of the repository, so that a second type published beside the first does not hide it."""
    results = results_by_hash() if there else {}
    for file in there.files if there else ():
        if file.name.endswith(".gguf") and file.name not in chosen.files:
            yield CardFile(file.name, type_in(file.name), file.bytes, results.get(file.digest))


# ---------------------------------------------------------------- the upload


class _Upload:
    """One upload; the client's calls run in a thread, so that the job can be cancelled and tells how far it is."""

    def __init__(self, job: UploadJob, progress: Progress) -> None:
        token, _ = token_in_use()
        if not token:
            raise TokenMissing(endpoint())
        # It would say on standard error what these files are not, and draw bars.
        logging.set_verbosity(ERROR)
        disable_progress_bars()
        self._job = job
        self._progress = progress
        self._api = HfApi(endpoint=endpoint(), token=token, user_agent=AGENT)
        self._counted = Counted()

    def run(self, chosen: Chosen, card: str) -> tuple[dict[str, int], str]:
        """Bytes sent of every file, and the commit. Raises what `upload` raises."""
        job = self._job
        self._ask(
            job.repo, lambda: self._api.create_repo(job.repo, private=job.private, exist_ok=True, repo_type="model")
        )
        total = sum(path.stat().st_size for path in chosen.files.values())
        with ExitStack() as stack:
            readers = {name: stack.enter_context(_reader(path, self._counted)) for name, path in chosen.files.items()}
            self._progress.stage("Computing hashes", total)
            additions = self._ask(job.repo, lambda: _additions(readers, card))
            hashed = {name: reader.read_bytes for name, reader in readers.items()}
            self._counted.bytes = 0
            self._progress.stage("Uploading", total)
            commit = self._ask(job.repo, lambda: self._commit(additions))
            sent = {name: reader.read_bytes - hashed[name] for name, reader in readers.items()}
        return sent | {cards.NAME: len(card.encode())}, commit

    def _commit(self, additions: list[CommitOperationAdd]) -> str:
        info = self._api.create_commit(
            self._job.repo,
            additions,
            commit_message=self._job.message or "Upload with Bitwright",
            revision=self._job.revision,
            num_threads=self._job.connections,
        )
        return str(info.oid)

    def _ask(self, name: str, request: Callable[[], T]) -> T:
        """What a call of the client answers. Raises Cancelled and the failure in words."""
        try:
            with reachable():
                return awaited(request, _Watching(self._progress, self._counted))
        except BaseException as error:
            self._counted.stopped.set()
            raise _explained(error, name) from error


class _Watching(Progress):
    """A progress whose ticks tell how much was read."""

    def __init__(self, progress: Progress, counted: Counted) -> None:
        super().__init__()
        self._of = progress
        self._counted = counted

    def tick(self) -> None:
        """Raises Cancelled."""
        self._of.update(self._counted.bytes)


@contextmanager
def _reader(path: Path, counted: Counted) -> Iterator[Reader]:
    try:
        reader = Reader(path, counted)
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    with reader:
        yield reader


def _additions(readers: dict[str, Reader], card: str) -> list[CommitOperationAdd]:
    """What the commit adds; each file is read once for its hash."""
    additions = [CommitOperationAdd(name, cast("BinaryIO", reader)) for name, reader in readers.items()]
    return [*additions, CommitOperationAdd(cards.NAME, card.encode())]


def _explained(error: BaseException, repo: str) -> BaseException:
    """A failure in words, or itself where it has them."""
    cause: Any = error
    while isinstance(cause, RuntimeError) and cause.__cause__ is not None:
        cause = cause.__cause__  # the client's words around a failure in one of its threads
    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code
        if status == 403 or (status == 401 and "authorization" not in cause.response.request.headers):
            return HubReadOnly(repo, endpoint())
        return explained(cause, repo, repo)
    if isinstance(cause, httpx2.TransportError):
        return UploadFailed(repo, "the connection broke")
    if isinstance(cause, ValueError):
        return UploadFailed(repo, "the Hub did not accept it: " + str(cause).partition("\n")[0])
    return cause if isinstance(cause, BaseException) else error

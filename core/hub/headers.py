"""What models on the Hub are made of, from the headers of their files alone, which are read by ranges of bytes.

A header is a small part of a file: of safetensors its first kilobytes, of GGUF mostly the vocabulary.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from core.errors import (
    ChangedOnHub,
    HubNotFound,
    HubUnreadable,
    NotAHubId,
    NotAModel,
    OutputNotWritable,
    SeveralModels,
    UnsafeFileName,
    size,
)
from core.estimate.config import facts_of_config
from core.estimate.metadata import Stored, facts_of_gguf
from core.estimate.values import ModelFacts
from core.formats import gguf_reader, safetensors_reader
from core.formats.gguf_layout import MAX_HEADER_BYTES
from core.formats.json_file import MAX_JSON_BYTES, parse_json
from core.formats.safetensors_reader import INDEX_NAME, MAX_INDEX_BYTES, PREFIX_BYTES, StoredTensor
from core.hub import client
from core.hub.address import endpoint
from core.hub.client import Listing, RemoteFile
from core.hub.names import REMOTE, is_repo, problem_of, split_id
from core.hub.selection import is_descriptive, reason_by_table, whole_name
from core.hub.transfer import ContentChanged, PassingError, RangesRefused, Remote
from core.progress import Progress

CONNECTIONS = 4
STALL_S = 20.0
# What is asked for first: of most files of safetensors that is all; of GGUF, some of the vocabulary.
FIRST_BYTES = 1 << 20
FIRST_BYTES_SAFETENSORS = 1 << 16
POLL_S = 0.05
# What may be kept of the model read last.
MOST_KEPT_BYTES = 64 << 20
_last_read: list[tuple[tuple[Listing, str], dict[RemoteFile, bytes]]] = []
T = TypeVar("T")


@dataclass
class Head:
    """The beginning of a file on the Hub, of which more is fetched when it is asked for.

    stopped: ends the waiting between tries.
    """

    listed: Listing
    file: RemoteFile
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.path = Path(self.listed.repo) / self.file.name
        self.fetched = 0
        self._data = bytearray()
        self._remote = Remote(self.listed.repo, self.listed.commit, self.file, STALL_S)

    def read(self, n_bytes: int) -> bytes:
        """The first `n_bytes`, or all of a shorter file.

        Raises HubUnreadable where the server goes on failing, ContentChanged, and leaves of core.errors.
        """
        wanted, failures = min(n_bytes, self.file.bytes), 0
        while len(self._data) < wanted:
            before = len(self._data)
            try:
                self._receive(wanted)
            except RangesRefused:
                self._data.clear()
            except PassingError as error:
                failures = 1 if len(self._data) > before else failures + 1
                if failures >= client.TRIES or self.stopped.is_set():
                    raise HubUnreadable(self.file.name, str(error)) from error
                self.stopped.wait(error.wait or client.FIRST_WAIT_S * 2.0 ** (failures - 1))
        return bytes(self._data[:wanted])

    def _receive(self, stop: int) -> None:
        """Adds what comes up to `stop`. Raises PassingError where that is not all of it."""
        with self._remote.read(len(self._data), stop) as chunks:
            for chunk in chunks:
                if self.stopped.is_set():
                    break
                self.fetched += len(chunk)
                self._data += chunk[: stop - len(self._data)]
                if len(self._data) == stop:
                    return
        raise PassingError("the connection ended early")


def remote_facts(source: str, progress: Progress) -> ModelFacts:
    """The facts of a model on the Hub. source: hub:OWNER/NAME, or with /FILE one GGUF file of it.

    Raises NotAHubId, SeveralModels, NotAModel, HubUnreadable, ChangedOnHub, what client.listing raises, and what the
    readers of headers raise.
    """
    listed, file = _listed(source, progress)
    return facts_of_listing(listed, file, progress)


def _listed(source: str, progress: Progress) -> tuple[Listing, str]:
    """The files of the repository that a source names, and the file of it, or ''."""
    repo, file = split_id(source.removeprefix(REMOTE))
    if not is_repo(repo):
        raise NotAHubId(source.removeprefix(REMOTE))
    progress.stage("Asking the Hub")
    return client.listing(repo, "main", progress), file


def facts_of_listing(listed: Listing, file: str, progress: Progress) -> ModelFacts:
    """The facts of the checkpoint that a listing holds, or of one GGUF file of it ('' = its only one). Raises as above.

    A listing is one commit's, so that several files of it can be asked for without listing it again.
    """
    try:
        chosen = model_files(listed, file, progress)
        if chosen[0].name.lower().endswith(".gguf"):
            return _gguf_facts(listed, chosen, progress)
        return _checkpoint_facts(listed, chosen, progress)
    except ContentChanged as error:
        raise ChangedOnHub(listed.repo) from error


def gguf_models(listed: Listing) -> dict[str, tuple[RemoteFile, ...]]:
    """The GGUF models that a listing holds: the name of each one's first file, and its parts in order."""
    models: dict[str, list[RemoteFile]] = {}
    for file in sorted(listed.files, key=lambda file: file.name):
        if file.name.lower().endswith(".gguf") and not reason_by_table(file.name):
            models.setdefault(whole_name(file.name), []).append(file)
    return {parts[0].name: tuple(parts) for parts in models.values()}


def model_files(listed: Listing, file: str, progress: Progress) -> tuple[RemoteFile, ...]:
    """The files of which a model's weights are made, in order. file: a GGUF file, or '' for what the listing holds.

    Raises HubNotFound where `file` is not listed, SeveralModels, NotAModel.
    """
    ggufs = gguf_models(listed)
    names = [entry.name for entry in listed.files]
    if file.lower().endswith(".gguf") and file in names:
        return next(parts for parts in ggufs.values() if whole_name(parts[0].name) == whole_name(file))
    if file:
        raise HubNotFound(f"{file} of {listed.repo}", endpoint())
    if "config.json" in names and (checkpoint := _checkpoint_files(listed, progress)):
        return checkpoint
    if len(ggufs) > 1:
        raise SeveralModels(listed.repo, ggufs)
    if not ggufs:
        raise NotAModel(listed.repo, "it has no weights in .safetensors or .gguf", "Download it to read other forms")
    return next(iter(ggufs.values()))


def _checkpoint_files(listed: Listing, progress: Progress) -> tuple[RemoteFile, ...]:
    """The .safetensors files at the root that belong together; none where there are none, or not all."""
    files = {file.name: file for file in listed.files if "/" not in file.name and not reason_by_table(file.name)}
    folder = Path(listed.repo)
    if not any(name.endswith(".safetensors") for name in files):
        return ()
    if INDEX_NAME in files:
        values = remote_json(listed, INDEX_NAME, progress, MAX_INDEX_BYTES)
        names = safetensors_reader.indexed_names(folder / INDEX_NAME, values)
    else:
        names = safetensors_reader.unindexed_names(folder, files)
    return tuple(files[name] for name in names) if all(name in files for name in names) else ()


@contextmanager
def hollow_copy(source: str, progress: Progress) -> Iterator[Path]:
    """A model that is on the Hub, to be opened and planned with: its headers and tokenizer, with holes for its weights.

    source: as in remote_facts, which says what is raised; also UnsafeFileName and OutputNotWritable. The copy is gone
    afterwards. Its values are zeros and must not be looked at; where the file system knows of holes they take no room.
    """
    listed, file = _listed(source, progress)
    with tempfile.TemporaryDirectory(prefix="bitwright-headers-") as made:
        files = _beginnings(listed, file, progress)
        folder = Path(made) / listed.repo.partition("/")[2]
        for entry, data in files.items():
            _write_hollow(listed.repo, folder, entry, data)
        first = Path(next(iter(files)).name).name
        yield folder / first if first.lower().endswith(".gguf") else folder


def _beginnings(listed: Listing, file: str, progress: Progress) -> dict[RemoteFile, bytes]:
    """Of a model's files of weights, in order, the headers, and of those that describe it everything.

    A plan and a preflight of a model follow one another, so those of the last one are kept; what they are of is in the
    listing, by its hash. Raises what `read_each` and `model_files` raise.
    """
    for kept_of, kept in _last_read:
        if kept_of == (listed, file):
            return kept
    try:
        weights = model_files(listed, file, progress)
        beside = [] if file else [entry for entry in listed.files if is_descriptive(entry.name)]
        heads = [*read_each(listed, weights, _whole_head, progress), *read_each(listed, beside, _whole, progress)]
    except ContentChanged as error:
        raise ChangedOnHub(listed.repo) from error
    found = dict(zip([*weights, *beside], heads, strict=True))
    if sum(map(len, heads)) <= MOST_KEPT_BYTES:
        _last_read[:] = [((listed, file), found)]
    return found


def _write_hollow(repo: str, folder: Path, file: RemoteFile, data: bytes) -> None:
    """A file's beginning, and a hole of the length of the rest. Raises UnsafeFileName, OutputNotWritable."""
    if problem := problem_of(file.name):
        raise UnsafeFileName(repo, file.name, problem)
    try:
        folder.mkdir(exist_ok=True)
        with (folder / Path(file.name).name).open("wb") as out:
            out.write(data)
            out.truncate(file.bytes)
    except OSError as error:
        raise OutputNotWritable(str(folder), error.strerror or str(error)) from error


def _whole(head: Head) -> bytes:
    return head.read(min(head.file.bytes, MAX_JSON_BYTES))


def _whole_head(head: Head) -> bytes:
    """All bytes of a header."""
    if head.path.suffix.lower() == ".gguf":
        return head.read(gguf_header(head).data_offset)
    header = safetensors_header(head)
    return head.read(min((tensor.offset for tensor in header.tensors), default=head.file.bytes))


def remote_json(listed: Listing, name: str, progress: Progress, most_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file. Raises NotAModel where it is none or too large, and what `read_each` raises."""
    file = next(file for file in listed.files if file.name == name)
    if file.bytes > most_bytes:
        raise NotAModel(listed.repo, f"its {name} has {size(file.bytes)}, more than makes sense")
    (data,) = read_each(listed, [file], lambda head: head.read(head.file.bytes), progress)
    value = parse_json(Path(listed.repo) / name, data)
    if not isinstance(value, dict):
        raise NotAModel(listed.repo, f"{name} does not hold a JSON object")
    return value


def _gguf_facts(listed: Listing, files: Sequence[RemoteFile], progress: Progress) -> ModelFacts:
    headers = read_each(listed, files, gguf_header, progress)
    values = {entry.key: entry.value for entry in headers[0].metadata}
    tensors = [
        Stored(entry.name, entry.type, entry.shape, entry.bytes) for header in headers for entry in header.tensors
    ]
    name = str(values.get("general.name") or whole_name(files[0].name))
    return facts_of_gguf(f"{REMOTE}{listed.repo}/{files[0].name}", name, values, tensors)


def _checkpoint_facts(listed: Listing, files: Sequence[RemoteFile], progress: Progress) -> ModelFacts:
    return checkpoint_facts(listed, *read_checkpoint(listed, files, progress))


def read_checkpoint(
    listed: Listing, files: Sequence[RemoteFile], progress: Progress
) -> tuple[dict[str, Any], list[StoredTensor]]:
    """The configuration of a checkpoint and the tensors of its files. Raises what remote_json and read_each raise."""
    values = remote_json(listed, "config.json", progress)
    headers = read_each(listed, files, safetensors_header, progress)
    return values, [tensor for header in headers for tensor in header.tensors]


def checkpoint_facts(listed: Listing, values: dict[str, Any], tensors: Sequence[StoredTensor]) -> ModelFacts:
    """The facts of a checkpoint from what read_checkpoint has read."""
    sizes = [(tensor.name, tensor.bytes) for tensor in tensors]
    return facts_of_config(f"{REMOTE}{listed.repo}", listed.repo.partition("/")[2], values, sizes)


def gguf_header(head: Head) -> gguf_reader.Header:
    """Fetches twice as much until the header is whole. Raises what the reader of GGUF and Head.read raise."""
    n_bytes = FIRST_BYTES
    while True:
        try:
            return gguf_reader.parse_header(head.path, head.read(n_bytes), head.file.bytes)
        except gguf_reader.MoreNeeded as more:
            n_bytes = min(max(more.n_bytes, 2 * n_bytes), MAX_HEADER_BYTES)


def safetensors_header(head: Head) -> safetensors_reader.SafetensorsFile:
    """One request, where the header is no longer than usual. Raises what the reader and Head.read raise."""
    prefix = head.read(FIRST_BYTES_SAFETENSORS)[:PREFIX_BYTES]
    end = safetensors_reader.header_end(head.path, prefix, head.file.bytes)
    return safetensors_reader.parse_header(head.path, head.read(end), head.file.bytes)


def read_each(listed: Listing, files: Sequence[RemoteFile], parse: Callable[[Head], T], progress: Progress) -> list[T]:
    """What `parse` makes of each file's head, several files at a time. Raises what it raises, and Cancelled."""
    stopped = threading.Event()
    progress.stage("Reading headers from the Hub", len(files), "files")
    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        found = [pool.submit(parse, Head(listed, file, stopped)) for file in files]
        left = set(found)
        while left:
            done, left = wait(left, POLL_S, FIRST_COMPLETED)
            for future in done:
                future.result()
            progress.update(len(files) - len(left))
        return [future.result() for future in found]
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)

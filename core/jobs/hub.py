"""Finding and fetching models on the Hub."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.values import Value

SortOrder = Literal["downloads", "likes", "last_modified", "created", "trending"]


class SearchJob(Value):
    """Finds models on the Hub. Answer: SearchResult.

    format: only models that have files of it. task, library: under the Hub's names (text-generation, transformers).
    least, most: parameters, 0 = any; models whose number the Hub does not know are left out by either. limit: at most
    so many. page: `next_page` of an earlier answer to the same question, "" = from the first.
    """

    kind: Literal["search"] = "search"
    query: str
    author: str = ""
    task: str = ""
    library: str = ""
    format: Literal["", "gguf", "safetensors"] = ""
    least: int = Field(default=0, ge=0)
    most: int = Field(default=0, ge=0)
    sort: SortOrder = "downloads"
    limit: int = Field(default=20, ge=1, le=1000)
    page: str = ""


class DownloadJob(Value):
    """Downloads a model from the Hub, going on where an earlier download stopped. Answer: DownloadResult.

    include: patterns of names, () = what a quantization needs. output: a folder for the files, "" = the cache that all
    programs on this computer share. limit: bytes per second, 0 = as fast as it goes.
    """

    kind: Literal["download"] = "download"
    repo: str
    revision: str = "main"
    include: tuple[str, ...] = ()
    output: str = ""
    connections: int = Field(default=4, ge=1, le=16)
    limit: int = Field(default=0, ge=0)


class HubModel(Value):
    """A model as a search finds it. parameters: None where the Hub does not say. modified: ISO date, or ''.

    base: ids of the models that it says it was made from.
    """

    repo: str
    downloads: int = 0
    likes: int = 0
    modified: str = ""
    task: str = ""
    library: str = ""
    license: str = ""
    gated: bool = False
    private: bool = False
    formats: tuple[str, ...] = ()
    parameters: int | None = None
    base: tuple[str, ...] = ()


class SearchResult(Value):
    """The models found, in the order asked for. next_page: for the job that asks for more, "" = these are all."""

    query: str
    endpoint: str
    models: tuple[HubModel, ...]
    next_page: str = ""


class DownloadedFile(Value):
    """A file that is complete and checked. fetched: bytes that came over the network for it now."""

    name: str
    bytes: int
    fetched: int


class SkippedFile(Value):
    """A file of the repository that was left there, and why."""

    name: str
    bytes: int
    reason: str


class DownloadResult(Value):
    """A downloaded model. folder: where it is, ready to be a source. fetched: bytes that came over the network.

    offline: the Hub could not be asked, and all that is needed was here.
    """

    repo: str
    revision: str
    commit: str
    folder: str
    files: tuple[DownloadedFile, ...]
    skipped: tuple[SkippedFile, ...]
    bytes: int
    fetched: int
    seconds: float
    offline: bool = False

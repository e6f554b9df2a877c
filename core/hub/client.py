"""Questions to the Hub's interface: search, and the files of a model; every failure is explained."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx2
from huggingface_hub import ModelInfo, constants, get_session, get_token
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils._http import hf_raise_for_status

from core.errors import (
    BitwrightError,
    HubAnswerInvalid,
    HubBusy,
    HubGated,
    HubNotFound,
    HubOffline,
    HubTokenRefused,
    NotAHubId,
)
from core.hub.names import is_commit, is_hash, is_repo
from core.jobs import HubModel, SearchJob, SearchResult
from core.progress import Progress

AGENT = "bitwright/0.1.0"
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
TRIES = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
TIMEOUT = httpx2.Timeout(20.0, connect=10.0)
WEIGHT_FORMATS = ("gguf", "safetensors")
_TRUE = frozenset({"1", "on", "yes", "true"})


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit. digest: SHA-256 of its content (LFS), else its git hash, a SHA-1; also its ETag."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True)
class Listing:
    """The files of one commit of a model, names unchecked."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def headers_for(url: str) -> dict[str, str]:
    """Headers of a request; the token goes to the Hub's own host, and over encrypted lines or within this computer."""
    headers = {"user-agent": AGENT, "accept-encoding": "identity"}
    token = get_token()
    if token and origin(url) == origin(endpoint()):
        headers["authorization"] = f"Bearer {token}"
    return headers


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address: what a token is meant for."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def next_place(url: str, response: httpx2.Response) -> str:
    """Where a redirect leads. Raises HubAnswerInvalid where that is nowhere, or gives up encryption."""
    place = urljoin(url, response.headers.get("location", ""))
    scheme = urlsplit(place).scheme
    if scheme not in ("http", "https") or (scheme == "http" and urlsplit(url).scheme == "https"):
        raise HubAnswerInvalid(endpoint(), "it redirects to an address that is not safe to follow")
    return place


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds to wait that the answer asks for, None where it says nothing."""
    text = response.headers.get("retry-after", "").strip()
    return min(float(text), LONGEST_WAIT_S) if text.isdigit() else None


def explained(error: HfHubHTTPError, repo: str, thing: str) -> BitwrightError:
    """What an answer of the Hub means for the user. thing: what was asked for, in words."""
    response = error.response
    status = response.status_code
    has_token = "authorization" in response.request.headers
    if isinstance(error, GatedRepoError):
        return HubGated(repo, f"{endpoint()}/{repo}", "sent" if has_token else "")
    if status == 401 and has_token:
        return HubTokenRefused(endpoint())
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403, 404):
        return HubNotFound(thing, endpoint())
    if status in PASSING:
        return HubBusy(endpoint(), f"it answered {status} ({response.reason_phrase}) to every try")
    return HubAnswerInvalid(endpoint(), f"it answered {status} ({response.reason_phrase})")


@contextmanager
def reachable() -> Iterator[None]:
    """Turns failures to reach the Hub into HubOffline, at once where this computer is set to be offline."""
    if (os.environ.get("HF_HUB_OFFLINE") or "").lower() in _TRUE:
        raise HubOffline(endpoint(), "offline mode is switched on (HF_HUB_OFFLINE)")
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubOffline(endpoint(), "offline mode is switched on (HF_HUB_OFFLINE)") from error
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise HubOffline(endpoint(), str(error) or type(error).__name__) from error


def ask(url: str, params: Mapping[str, Any], repo: str, thing: str, progress: Progress) -> httpx2.Response:
    """GET of the interface with retries where the Hub is busy. Raises the leaves of `explained` and HubOffline."""
    wait = FIRST_WAIT_S
    for _ in range(TRIES - 1):
        response = _get(url, params)
        if response.status_code not in PASSING:
            break
        pause(retry_after(response) or wait, progress)
        wait *= 2
    else:
        response = _get(url, params)
    try:
        hf_raise_for_status(response)
    except HfHubHTTPError as error:
        raise explained(error, repo, thing) from None
    return response


def pause(seconds: float, progress: Progress) -> None:
    """Waits, and can be cancelled meanwhile."""
    over = time.monotonic() + seconds
    sleeping = threading.Event()
    while (left := over - time.monotonic()) > 0:
        progress.update(0, "waiting for the Hub")
        sleeping.wait(min(left, 0.1))


def _get(url: str, params: Mapping[str, Any]) -> httpx2.Response:
    """One GET; redirects are followed here, so that the token is decided anew for each."""
    with reachable():
        for _ in range(6):
            response = get_session().get(
                url, params=params or None, headers=headers_for(url), follow_redirects=False, timeout=TIMEOUT
            )
            if not response.is_redirect:
                return response
            url, params = next_place(url, response), {}
    raise HubAnswerInvalid(endpoint(), "it redirects in a circle")


def search(job: SearchJob, progress: Progress) -> SearchResult:
    """The answer of SearchJob, page by page as the Hub links them."""
    progress.stage("Searching", job.limit, "models")
    sort = {"last_modified": "lastModified"}.get(job.sort, job.sort)
    params: dict[str, Any] = {"search": job.query, "sort": sort, "limit": job.limit, "expand": list(_EXPANDED)}
    params |= {"author": job.author} if job.author else {}
    params |= {"filter": job.format} if job.format else {}
    found: list[HubModel] = []
    url = f"{endpoint()}/api/models"
    while url and len(found) < job.limit:
        response = ask(url, params, "", "The search", progress)
        found += [_model(item) for item in _json(response, list)]
        progress.update(len(found))
        url, params = response.links.get("next", {}).get("url", ""), {}
    return SearchResult(query=job.query, endpoint=endpoint(), models=tuple(found[: job.limit]))


_EXPANDED = ("downloads", "likes", "lastModified", "pipeline_tag", "library_name", "tags", "gated", "safetensors")


def _json(response: httpx2.Response, kind: type) -> Any:
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise HubAnswerInvalid(endpoint(), "it is not what the Hub's interface answers")
    return value


# The class has no types of its own.
_info: Callable[..., Any] = ModelInfo


def _model(item: Any) -> HubModel:
    try:
        info = _info(**item)
        tags = info.tags or []
        return HubModel(
            repo=info.id,
            downloads=info.downloads or 0,
            likes=info.likes or 0,
            modified=info.last_modified.date().isoformat() if info.last_modified else "",
            task=info.pipeline_tag or "",
            library=info.library_name or "",
            license=next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), ""),
            gated=bool(info.gated),
            formats=tuple(name for name in WEIGHT_FORMATS if name in tags),
            parameters=info.safetensors.total if info.safetensors else None,
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HubAnswerInvalid(endpoint(), "an entry of the search is not that of a model") from error


def listing(repo: str, revision: str, progress: Progress) -> Listing:
    """The files of a model at a revision, with sizes and hashes.

    Raises NotAHubId, HubNotFound, HubGated, HubTokenRefused, HubBusy, HubAnswerInvalid and HubOffline.
    """
    if not is_repo(repo):
        raise NotAHubId(repo)
    url = f"{endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}"
    thing = repo if revision == "main" else f"{repo}, revision {revision},"
    data = _json(ask(url, {"blobs": True}, repo, thing, progress), dict)
    try:
        info = _info(**data)
        files = tuple(
            RemoteFile(item.rfilename, item.lfs.size, item.lfs.sha256)
            if item.lfs
            else RemoteFile(item.rfilename, item.size or 0, item.blob_id or "")
            for item in info.siblings or ()
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HubAnswerInvalid(endpoint(), f"the files of {repo} are not listed as they should be") from error
    if not is_commit(info.sha or "") or not all(is_hash(file.digest) and file.bytes >= 0 for file in files):
        raise HubAnswerInvalid(endpoint(), f"the files of {repo} are listed without their hashes")
    return Listing(repo, info.sha or "", files)

"""Questions to the Hub's interface: search, and the files of a model; every failure is explained."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx2
from huggingface_hub import DatasetInfo, ModelInfo, get_session, get_token
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
from core.hub.address import endpoint, origin
from core.hub.names import is_commit, is_hash, is_repo
from core.hub.token import environment_token, forget_what_is_known, kept_token
from core.jobs import TokenSource
from core.progress import Progress

AGENT = "bitwright/0.1.0"
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
TRIES = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
TIMEOUT = httpx2.Timeout(20.0, connect=10.0)
POLL_S = 0.05
PLACES: dict[str, str] = {"environment": "HF_TOKEN", "keyring": "the system's keyring", "login": "`hf auth login`"}
T = TypeVar("T")
_TRUE = frozenset({"1", "on", "yes", "true"})


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit. digest: SHA-256 of its content (LFS), else its git hash, a SHA-1; also its ETag."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True)
class Listing:
    """The files of one commit, names unchecked. kind: `models` or `datasets`."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    kind: str = "models"

    @property
    def page(self) -> str:
        """Where its page and its files are below the Hub's address."""
        return page_of(self.repo, self.kind)


def page_of(repo: str, kind: str) -> str:
    """Where the page of a repository is below the Hub's address."""
    return repo if kind == "models" else f"{kind}/{repo}"


def token_in_use() -> tuple[str, TokenSource]:
    """The token, and where it is from: the environment, then the keyring, then the client's own login; or two ''."""
    if token := environment_token():
        return token, "environment"
    if token := kept_token():
        return token, "keyring"
    token = get_token() or ""
    return token, "login" if token else ""


def headers_for(url: str) -> dict[str, str]:
    """Headers of a request; the token goes to the Hub's own scheme, host and port and nowhere else."""
    headers = {"user-agent": AGENT, "accept-encoding": "identity"}
    token, _ = token_in_use()
    if token and origin(url) == origin(endpoint()):
        headers["authorization"] = f"Bearer {token}"
    return headers


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
        _, source = token_in_use()
        forget_what_is_known()  # another may be in the keyring by now
        return HubTokenRefused(endpoint(), PLACES.get(source, "elsewhere"))
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
    """GET of the interface with retries where the Hub is busy. Raises the leaves of `explained`, HubOffline, Cancelled.

    It can be cancelled at any moment: an answer that is no longer wanted is not waited for.
    """
    wait = FIRST_WAIT_S
    for _ in range(TRIES - 1):
        response = awaited(lambda: _get(url, params), progress)
        if response.status_code not in PASSING:
            break
        pause(retry_after(response) or wait, progress)
        wait *= 2
    else:
        response = awaited(lambda: _get(url, params), progress)
    return checked(response, repo, thing)


def checked(response: httpx2.Response, repo: str, thing: str) -> httpx2.Response:
    """The response itself where it is a good one. Raises the leaves of `explained`."""
    try:
        hf_raise_for_status(response)
    except HfHubHTTPError as error:
        raise explained(error, repo, thing) from None
    return response


def awaited(request: Callable[[], T], progress: Progress) -> T:
    """What a request answers; it runs in a thread, which is left to itself when the job is cancelled."""
    answer: Future[T] = Future()
    threading.Thread(target=_answer, args=(request, answer), daemon=True).start()
    while True:
        with suppress(TimeoutError):
            return answer.result(timeout=POLL_S)
        progress.tick()


def _answer(request: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(request())
    except BaseException as error:  # it is raised where it is waited for
        answer.set_exception(error)


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


def as_json(response: httpx2.Response, kind: type[T]) -> T:
    """The value of an answer. Raises HubAnswerInvalid where it is none of that kind, such as a page to log in."""
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise HubAnswerInvalid(endpoint(), "it is not what the Hub's interface answers")
    return value


# The classes have no types of their own.
model_info: Callable[..., Any] = ModelInfo
_INFO: dict[str, Callable[..., Any]] = {"models": model_info, "datasets": DatasetInfo}


def described(repo: str, revision: str, progress: Progress, kind: str = "models") -> dict[str, Any]:
    """What the interface says of a repository at a revision, its files with sizes and hashes.

    Raises NotAHubId, HubNotFound, HubGated, HubTokenRefused, HubBusy, HubAnswerInvalid and HubOffline.
    """
    if not is_repo(repo):
        raise NotAHubId(repo)
    url = f"{endpoint()}/api/{kind}/{repo}/revision/{quote(revision, safe='')}"
    thing = repo if revision == "main" else f"{repo}, revision {revision},"
    found: dict[str, Any] = as_json(ask(url, {"blobs": True}, page_of(repo, kind), thing, progress), dict)
    return found


def listing(repo: str, revision: str, progress: Progress, kind: str = "models") -> Listing:
    """The files of a repository at a revision, with sizes and hashes. Raises what `described` raises."""
    return as_listing(repo, described(repo, revision, progress, kind), kind)


def as_listing(repo: str, description: dict[str, Any], kind: str = "models") -> Listing:
    """The files in a description. Raises HubAnswerInvalid."""
    try:
        info = _INFO[kind](**description)
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
    return Listing(repo, info.sha or "", files, kind)

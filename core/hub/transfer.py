"""One file of the Hub of which ranges of bytes can be read: redirects, the token, what answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx2
from huggingface_hub import get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import hf_raise_for_status

from core.errors import HubAnswerInvalid, HubNotFound
from core.hub.address import endpoint, origin
from core.hub.client import PASSING, RemoteFile, explained, headers_for, next_place, retry_after

MAX_REDIRECTS = 6


class PassingError(Exception):
    """Something that may be gone at the next try. wait: seconds the server asked for, None = it did not."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class ContentChanged(Exception):
    """The server has another content than the one that was listed."""


class RangesRefused(Exception):
    """The server sends whole files only."""


class Remote:
    """Where one file is read from. The address that the Hub redirects to is kept until it is refused."""

    def __init__(self, repo: str, commit: str, file: RemoteFile, stall_s: float) -> None:
        self.file = file
        self._repo = repo
        self._url = f"{endpoint()}/{repo}/resolve/{commit}/{quote(file.name)}"
        self._place = ""
        self._timeout = httpx2.Timeout(stall_s, connect=min(stall_s, 10.0))

    @contextmanager
    def read(self, start: int, stop: int) -> Iterator[Iterator[bytes]]:
        """The bytes from `start` up to, not including, `stop`, as they arrive.

        Raises PassingError, ContentChanged, RangesRefused, and leaves of core.errors for what no retry mends.
        """
        try:
            with self._open(start, stop) as response:
                yield response.iter_raw()  # of a given size, it would lose what came before a cut
        except httpx2.TransportError as error:
            self._place = ""
            raise PassingError(_words(error)) from error

    @contextmanager
    def _open(self, start: int, stop: int) -> Iterator[httpx2.Response]:
        url = self._place or self._url
        for _ in range(MAX_REDIRECTS):
            headers = headers_for(url) | {"range": f"bytes={start}-{stop - 1}"}
            request = get_session().stream("GET", url, headers=headers, follow_redirects=False, timeout=self._timeout)
            with request as response:
                if response.is_redirect:
                    self._check_etag(response)
                    url = next_place(url, response)
                    continue
                self._check(response, url, start)
                self._place = "" if origin(url) == origin(self._url) else url
                yield response
                return
        raise HubAnswerInvalid(endpoint(), f"it redirects {self.file.name} in a circle")

    def _check_etag(self, response: httpx2.Response) -> None:
        """The Hub's own answers name the content; those of the hosts it redirects to name what they like."""
        tag = response.headers.get("x-linked-etag") or (
            response.headers.get("etag") if not response.is_redirect else None
        )
        if tag is not None and tag.removeprefix("W/").strip('"') != self.file.digest:
            raise ContentChanged

    def _check(self, response: httpx2.Response, url: str, start: int) -> None:
        status, is_hub = response.status_code, origin(url) == origin(self._url)
        if status in PASSING:
            raise PassingError(f"the server answered {status} ({response.reason_phrase})", retry_after(response))
        if status == 416:
            raise ContentChanged
        if status >= 400 and not is_hub:
            self._place = ""  # an address that is valid for a while only: ask the Hub for a new one
            raise PassingError(f"the server that holds the file answered {status}")
        if status >= 400:
            self._refused(response)
        if is_hub:
            self._check_etag(response)
        self._check_range(response, start)

    def _refused(self, response: httpx2.Response) -> None:
        response.read()
        try:
            hf_raise_for_status(response)
        except HfHubHTTPError as error:
            if response.status_code == 404:
                raise HubNotFound(f"{self.file.name} of {self._repo}", endpoint()) from None
            raise explained(error, self._repo, self._repo) from None

    def _check_range(self, response: httpx2.Response, start: int) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise HubAnswerInvalid(endpoint(), f"{self.file.name} is sent in a form that was not asked for")
        if response.status_code == 200:
            if response.headers.get("content-length", str(self.file.bytes)) != str(self.file.bytes):
                raise ContentChanged
            if start:
                raise RangesRefused
            return
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        if response.status_code != 206 or unit != "bytes" or span.partition("-")[0] != str(start):
            raise HubAnswerInvalid(endpoint(), f"it sends another part of {self.file.name} than was asked for")
        if total not in ("*", str(self.file.bytes)):
            raise ContentChanged


def _words(error: httpx2.TransportError) -> str:
    """The failure in words that name no address: those of other hosts carry signatures."""
    if isinstance(error, httpx2.ConnectError):
        return "the server cannot be reached"
    if isinstance(error, httpx2.TimeoutException):
        return "the connection stalled"
    return "the connection broke"

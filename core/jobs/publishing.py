"""Publishing a result on the Hub, and the answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.jobs.hub import SkippedFile
from core.values import Value


class UploadJob(Value):
    """Publishes a model file or folder as a repository, going on where an earlier upload stopped. Answer: UploadResult.

    private: of a repository that is created; one that exists stays as it is. include: patterns of names in the folder,
    () = all but hidden and unfinished ones. card: the text for README.md, "" = made from what is known of the model, or
    the folder's own. base, license: for a card that is made, "" = what is known. message: of the commit. dry_run: only
    the card and the list of files.
    """

    kind: Literal["upload"] = "upload"
    source: str
    repo: str
    private: bool = True
    revision: str = "main"
    include: tuple[str, ...] = ()
    card: str = ""
    base: str = ""
    license: str = ""
    message: str = ""
    connections: int = Field(default=4, ge=1, le=16)
    dry_run: bool = False


class UploadedFile(Value):
    """A file of the repository. sent: bytes that went over the network for it now."""

    name: str
    bytes: int
    sent: int = 0


class UploadResult(Value):
    """A published model. url: for a browser. commit: "" in a dry run, and where everything was there already.

    created: the repository did not exist. card: the text of its README.md. warnings: what should be looked at first.
    """

    repo: str
    url: str
    private: bool
    created: bool
    revision: str
    commit: str
    files: tuple[UploadedFile, ...]
    skipped: tuple[SkippedFile, ...]
    card: str
    warnings: tuple[str, ...] = ()
    bytes: int
    sent: int
    seconds: float
    dry_run: bool

"""One model on the Hub: its page, whether it runs on this computer, and who the Hub takes us for."""

from __future__ import annotations

from typing import Literal

from core.estimate.values import Machine, RunOptions, Verdict
from core.jobs.hub import HubModel
from core.values import Value

TokenSource = Literal["", "environment", "login", "keyring"]


class HubPageJob(Value):
    """The page of a model: card, files, revisions, licence, access. Answer: HubPage."""

    kind: Literal["hub_page"] = "hub_page"
    repo: str
    revision: str = "main"


class FitJob(Value):
    """Whether a model on the Hub runs on this computer, and in which types it would, from headers. Answer: FitResult.

    Of a repository of GGUF files each file is judged; of a checkpoint, what it is and what quantizing would make of it.
    auto_layers: as many layers on the GPUs as fit, whatever `run` says; without a GPU, none.
    """

    kind: Literal["fit"] = "fit"
    repo: str
    revision: str = "main"
    run: RunOptions = RunOptions()
    auto_layers: bool = True


class AccountJob(Value):
    """Whose token is in use, as the Hub says. Answer: AccountResult. The token is in neither."""

    kind: Literal["account"] = "account"


class HubFile(Value):
    """A file of a repository. skipped: why a quantization does not need it, "" = it does. here: it is in the cache.

    variant: the HubVariant it belongs to, "" = every one's.
    """

    name: str
    bytes: int
    skipped: str = ""
    here: bool = False
    variant: str = ""


class HubRevision(Value):
    """A branch or a tag."""

    name: str
    kind: Literal["branch", "tag"]
    commit: str


class HubVariant(Value):
    """One GGUF model of a repository that has several. name: of its first file. include: for a DownloadJob."""

    name: str
    type: str
    bytes: int
    files: int
    include: tuple[str, ...]
    here: bool = False


class HubPage(Value):
    """What the Hub says of a model.

    url: for a browser. card: the text of README.md without the fields at its top, "" where there is none or it may not
    be read. needed_bytes: of the files that a quantization needs, of one variant where there are several, the largest.
    problem: why nothing of it can be quantized, "" = it can. access: open to all; granted or not yet granted to us.
    """

    repo: str
    url: str
    revision: str
    commit: str
    model: HubModel
    access: Literal["open", "granted", "ask"] = "open"
    card: str = ""
    files: tuple[HubFile, ...] = ()
    variants: tuple[HubVariant, ...] = ()
    revisions: tuple[HubRevision, ...] = ()
    bytes: int = 0
    needed_bytes: int = 0
    problem: str = ""


class FitForm(Value):
    """One form of a model, as it lies on the Hub or as quantizing would make it, and the verdict.

    name: the file of a GGUF model, 'as it is', or the target of a quantization. file: "" where it is no file of its
    own. estimated: its weights were computed from bits per weight. total: bytes it takes to run.
    """

    name: str
    type: str
    file: str = ""
    estimated: bool = False
    weights: int
    total: int
    verdict: Verdict
    longest_context: int
    gpu_layers: int = 0


class FitResult(Value):
    """The forms of a model, the largest first. best: the name of the first that fits, "" where none does.

    level: of that form; "not" where none fits. words: for a badge, 'Fits at Q4_K_M'. problem: why only the weights are
    known, "" where everything is.
    """

    repo: str
    revision: str
    commit: str
    context: int
    forms: tuple[FitForm, ...]
    best: str
    level: Literal["fits", "tight", "not", "unknown"]
    words: str
    problem: str = ""
    machine: Machine


class AccountResult(Value):
    """The account of the token in use. source: where the token is from, "" = there is none.

    may_write: None where the token has rights of its own for each repository. owners: under whose names it can publish.
    """

    endpoint: str
    source: TokenSource
    name: str = ""
    may_write: bool | None = None
    owners: tuple[str, ...] = ()

"""A model's page on the Hub: its card, its files and what a quantization needs of them, its revisions, our access."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from core.catalog import ALL_MIXES
from core.errors import BitwrightError, ChangedOnHub, HubGated, HubNotFound, NothingToDownload, SeveralModels
from core.hub.address import endpoint
from core.hub.cache import RepoCache, cache_root
from core.hub.client import Listing, RemoteFile, as_json, as_listing, ask, described
from core.hub.headers import gguf_models, read_each
from core.hub.search import as_model
from core.hub.selection import reason_against, select
from core.hub.transfer import ContentChanged
from core.jobs import HubFile, HubPage, HubPageJob, HubRevision, HubVariant
from core.progress import Progress

CARD = "README.md"
LONGEST_CARD = 1 << 20
_FIELDS = re.compile(r"\A\ufeff?---\s*\n.*?^---\s*$\n?", re.DOTALL | re.MULTILINE)
_TYPES = sorted({*(mix.name for mix in ALL_MIXES), "Q3_K_XL", "Q4_K_XL", "Q8_K_XL"}, key=len, reverse=True)
_TYPE = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(_TYPES)})(?![A-Za-z0-9])", re.IGNORECASE)


def page(job: HubPageJob, progress: Progress) -> HubPage:
    """The answer of HubPageJob. Raises what client.described raises, ChangedOnHub, HubUnreadable."""
    progress.stage("Asking the Hub")
    description = described(job.repo, job.revision, progress)
    listed, model = as_listing(job.repo, description), as_model(description)
    variants = _variants(listed)
    files = tuple(_files(listed, variants))
    formats = model.formats or tuple(name for name in ("gguf", "safetensors") if _has(listed, name))
    return HubPage(
        repo=job.repo,
        url=f"{endpoint()}/{job.repo}",
        revision=job.revision,
        commit=listed.commit,
        model=model.model_copy(update={"formats": formats}),
        access=_access(job.repo, model.gated, progress),
        card=_card(listed, progress),
        files=files,
        variants=variants if len(variants) > 1 else (),
        revisions=tuple(_revisions(job.repo, progress)),
        bytes=sum(file.bytes for file in files),
        needed_bytes=_needed(files, variants),
        problem=_problem(listed),
    )


def _has(listed: Listing, ending: str) -> bool:
    return any(file.name.lower().endswith(f".{ending}") for file in listed.files)


def _variants(listed: Listing) -> tuple[HubVariant, ...]:
    """The GGUF models of a repository whose weights they are, the largest first."""
    names = [file.name for file in listed.files]
    models = [parts for name, parts in gguf_models(listed).items() if not reason_against(name, names)]
    variants = [
        HubVariant(
            name=parts[0].name,
            type=type_in(parts[0].name),
            bytes=sum(part.bytes for part in parts),
            files=len(parts),
            include=tuple(_escaped(part.name) for part in parts),
            here=all(is_here(listed, part) for part in parts),
        )
        for parts in models
    ]
    return tuple(sorted(variants, key=lambda variant: -variant.bytes))


def type_in(name: str) -> str:
    """The type that a file's name tells: 'model-Q4_K_M.gguf' -> 'Q4_K_M'; '' where it tells none."""
    found = _TYPE.findall(name)
    return str(found[-1]).upper() if found else ""


def _escaped(name: str) -> str:
    """A name as a pattern that finds it alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def is_here(listed: Listing, file: RemoteFile) -> bool:
    """Whether the cache holds a file's content."""
    cache = RepoCache(cache_root(), listed.repo)
    places = (cache.blob(file.digest), cache.snapshot(listed.commit) / file.name)
    try:
        return any(path.is_file() and path.stat().st_size == file.bytes for path in places)
    except (OSError, ValueError):  # a name that no system accepts
        return False


def _files(listed: Listing, variants: Iterable[HubVariant]) -> Iterable[HubFile]:
    names = [file.name for file in listed.files]
    models = {part.name: name for name, parts in gguf_models(listed).items() for part in parts}
    shown = {variant.name for variant in variants}
    for file in listed.files:
        variant = models.get(file.name, "")
        yield HubFile(
            name=file.name,
            bytes=file.bytes,
            skipped=reason_against(file.name, names),
            here=is_here(listed, file),
            variant=variant if variant in shown and len(shown) > 1 else "",
        )


def _needed(files: Iterable[HubFile], variants: tuple[HubVariant, ...]) -> int:
    largest = variants[0].name if len(variants) > 1 else ""
    return sum(file.bytes for file in files if not file.skipped and file.variant in ("", largest))


def _problem(listed: Listing) -> str:
    try:
        select(listed.repo, [file.name for file in listed.files])
    except SeveralModels:
        return ""
    except NothingToDownload as error:
        return error.why
    return ""


def _card(listed: Listing, progress: Progress) -> str:
    """The text of the card without the fields at its top; '' where there is none or it may not be read."""
    file = next((file for file in listed.files if file.name == CARD), None)
    if file is None:
        return ""
    try:
        (data,) = read_each(listed, [file], lambda head: head.read(min(head.file.bytes, LONGEST_CARD)), progress)
    except ContentChanged as error:
        raise ChangedOnHub(CARD) from error
    except (HubGated, HubNotFound):
        return ""
    return _FIELDS.sub("", data.decode("utf-8", errors="replace"), count=1).strip()


def _access(repo: str, is_gated: bool, progress: Progress) -> Any:
    if not is_gated:
        return "open"
    try:
        ask(f"{endpoint()}/api/models/{repo}/auth-check", {}, repo, repo, progress)
    except (HubGated, HubNotFound):
        return "ask"
    return "granted"


def _revisions(repo: str, progress: Progress) -> Iterable[HubRevision]:
    """Branches, main first, then tags. A Hub that does not tell them is no reason to show no page."""
    try:
        said = as_json(ask(f"{endpoint()}/api/models/{quote(repo)}/refs", {}, repo, repo, progress), dict)
    except BitwrightError:
        return
    for key, kind in (("branches", "branch"), ("tags", "tag")):
        entries = [entry for entry in said.get(key) or [] if isinstance(entry, dict)]
        for entry in sorted(entries, key=lambda entry: (entry.get("name") != "main", str(entry.get("name")))):
            yield HubRevision.model_validate(
                {"name": str(entry.get("name")), "kind": kind, "commit": str(entry.get("targetCommit") or "")}
            )

"""The commands of the Hub: `search`, `download`, and models' ids where a command takes a source. Imports no Qt."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import get_args

from app import cli_text as text
from app.cli_options import count, part_size
from app.cli_running import run_job
from core.errors import BitwrightError, HubOffline, NotDownloaded, size
from core.estimate.values import RunOptions
from core.hub.cache import REMOTE, local_source, may_be_id, part_pattern, split_id
from core.jobs import (
    DownloadJob,
    DownloadResult,
    FitJob,
    FitResult,
    HubModel,
    HubPage,
    HubPageJob,
    SearchJob,
    SearchResult,
    SortOrder,
)

SOURCES = ("source", "other", "model", "against", "file", "models")
# Commands that can read headers on the Hub.
FROM_HEADERS = ("estimate", "inspect", "plan")
# Commands that need the files of models, and so can have them downloaded.
TAKE_MODELS = (
    "inspect", "plan", "quantize", "verify", "compare", "imatrix", "evaluate", "sensitivity", "chat"
)  # fmt: skip
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
SORTS = get_args(SortOrder)


def resolve_ids(options: argparse.Namespace) -> None:
    """Puts the path in the cache in the place of every model's id (OWNER/NAME). Raises NotDownloaded, SeveralModels.

    What is not downloaded is looked at by its headers, where that is enough; with --download it is downloaded first.
    """
    for name in SOURCES:
        given = getattr(options, name, None)
        if isinstance(given, str):
            setattr(options, name, _resolved(given, options))
        elif isinstance(given, list):
            setattr(options, name, [_resolved(one, options) for one in given])


def _resolved(source: str, options: argparse.Namespace) -> str:
    wants_download = getattr(options, "download", False)
    from_headers = options.command in FROM_HEADERS and not getattr(options, "method", "") and not wants_download
    try:
        found = local_source(source)
        if found != source or not may_be_id(source) or not (wants_download or (from_headers and _names_a_file(source))):
            return found
    except NotDownloaded:
        if not (wants_download or from_headers):
            raise
    if from_headers:
        return REMOTE + source
    run_job(_download_of(source))
    return local_source(source)


def _names_a_file(source: str) -> bool:
    """Whether an id names one GGUF file; other words with two slashes are likelier a path with a typing error."""
    return split_id(source)[1].endswith(".gguf")


def _download_of(source: str) -> DownloadJob:
    """What has to be downloaded for OWNER/NAME, or for OWNER/NAME/FILE that file, all its parts."""
    repo, file = split_id(source)
    return DownloadJob(repo=repo, include=(part_pattern(file),) if file else ())


def add_download_option(parser: argparse.ArgumentParser) -> None:
    """For the commands that take a model."""
    parser.add_argument("--download", action="store_true", help="download what is named by its id on the Hub first")


def add_search(parser: argparse.ArgumentParser) -> None:
    """The arguments of `search`."""
    add = parser.add_argument
    add("query", nargs="?", default="", metavar="QUERY", help="part of a name")
    add("--author", default="", metavar="OWNER", help="only models of this user or organization")
    add("--task", default="", metavar="NAME", help="only models for it (text-generation)")
    add("--library", default="", metavar="NAME", help="only models for this library (transformers)")
    add("--format", choices=("gguf", "safetensors"), default="", help="only models with files of this format")
    add("--least", type=parameters, default=0, metavar="N", help="only models of so many parameters or more (7B)")
    add("--most", type=parameters, default=0, metavar="N", help="only models of so many parameters or fewer (500M)")
    add("--sort", choices=SORTS, default="downloads", help="what comes first")
    add("--limit", type=count, default=20, metavar="N", help="how many at most (20)")
    add("--page", default="", metavar="PAGE", help="the next ones: what the answer before called its next page")
    add("--fit", action="store_true", help="say of each whether it runs on this computer, from its headers")
    add("--context", type=count, default=4096, metavar="N", help="with --fit: tokens; 0: all it was trained for (4096)")


def parameters(argument: str) -> int:
    """A number of parameters, 7B or 500M. Raises what argparse turns into a message."""
    units = {name: value for value, name in UNITS}
    number, unit = (argument[:-1], argument[-1:].upper()) if argument[-1:].upper() in units else (argument, "")
    try:
        found = float(number) * units.get(unit, 1)
    except ValueError:
        found = -1
    if not 0 <= found < 1e18:
        raise argparse.ArgumentTypeError(f"{argument} is no number of parameters such as 7B or 500M")
    return round(found)


def add_page(parser: argparse.ArgumentParser) -> None:
    """The arguments of `page`."""
    parser.add_argument("repo", metavar="REPO", help="a model on the Hub, OWNER/NAME")
    parser.add_argument("--revision", default="main", metavar="NAME", help="branch, tag or commit (main)")


def page_job(options: argparse.Namespace) -> HubPageJob:
    """The job of `page`."""
    return HubPageJob(repo=options.repo, revision=options.revision)


def add_download(parser: argparse.ArgumentParser) -> None:
    """The arguments of `download`."""
    add = parser.add_argument
    add("repo", metavar="REPO", help="a model on the Hub, OWNER/NAME")
    add("--revision", default="main", metavar="NAME", help="branch, tag or commit (main)")
    add("--include", action="append", default=[], metavar="PATTERN", help="files to take ('*Q8_0*'); may be repeated; "
        "without one, what a quantization needs")  # fmt: skip
    add("--out", default="", metavar="FOLDER", help="put the files there instead of into the cache of all programs")
    add("--connections", type=count, default=4, metavar="N", help="at a time, for one large file (4)")
    add("--limit-rate", type=part_size, default=0, metavar="SIZE", help="bytes per second at most (2M)")


def search_job(options: argparse.Namespace) -> SearchJob:
    """The job that the arguments of `search` ask for."""
    names = ("query", "author", "task", "library", "format", "least", "most", "sort", "limit", "page")
    return SearchJob(**{name: getattr(options, name) for name in names})


def download_job(options: argparse.Namespace) -> DownloadJob:
    """The job that the arguments of `download` ask for."""
    return DownloadJob(
        repo=options.repo,
        revision=options.revision,
        include=tuple(options.include),
        output=os.path.abspath(options.out) if options.out else "",
        connections=options.connections,
        limit=options.limit_rate,
    )


def fits(result: SearchResult, context: int) -> dict[str, FitResult | None]:
    """Whether each of the models found runs on this computer; None where its headers cannot be read."""
    found: dict[str, FitResult | None] = {}
    for model in result.models:
        try:
            answer = run_job(FitJob(repo=model.repo, run=RunOptions(context=context)))
            assert isinstance(answer, FitResult)
            found[model.repo] = answer
        except HubOffline:
            raise
        except BitwrightError:
            found[model.repo] = None
    return found


def found(result: SearchResult, judged: Mapping[str, FitResult | None] | None = None) -> str:
    """The answer of `search`."""
    if not result.models:
        return f"{result.endpoint} has no model for {result.query!r}."
    headers = ("Model", "Parameters", "Formats", "Licence", "Downloads", "Likes", "Changed", "")
    rows = [_row(model) for model in result.models]
    if judged is not None:
        headers = (*headers, "On this computer")
        rows = [(*row, _badge(judged[model.repo])) for row, model in zip(rows, result.models, strict=True)]
    more = f"\n\nThere are more: --page '{result.next_page}'" if result.next_page else ""
    return text.table(headers, rows, "-r--rr") + more


def _badge(fit: FitResult | None) -> str:
    return fit.words if fit else text.DASH


def _row(model: HubModel) -> tuple[str, ...]:
    return (
        model.repo,
        _short(model.parameters) if model.parameters else text.DASH,
        " ".join(model.formats) or text.DASH,
        model.license or text.DASH,
        _short(model.downloads),
        str(model.likes),
        model.modified or text.DASH,
        "gated" if model.gated else "",
    )


ACCESS = {
    "open": "open to all",
    "granted": "gated; your account has access",
    "ask": "gated; accept its conditions at {}",
}


def page(result: HubPage) -> str:
    """The answer of `page`."""
    model = result.model
    files = [
        (file.name, size(file.bytes), file.skipped or ("is here already" if file.here else "")) for file in result.files
    ]
    about = text.facts(
        ("Model", f"{result.repo}, {result.revision} ({result.commit[:12]})"),
        ("Page", result.url),
        ("Made from", ", ".join(model.base)),
        ("Licence", model.license or "not named"),
        ("Access", ACCESS[result.access].format(result.url)),
        ("Parameters", _short(model.parameters) if model.parameters else ""),
        ("Revisions", ", ".join(revision.name for revision in result.revisions)),
        ("Size", f"{size(result.bytes)}; a quantization needs {size(result.needed_bytes)}"),
        ("Note", result.problem),
    )
    parts = [about, text.table(("File", "Size", "Left out because"), files, "-r"), text.plain(result.card)]
    return "\n\n".join(part for part in parts if part)


def _short(number: int) -> str:
    """A count in words: 1234567 -> '1.2M'."""
    unit = next(((value, name) for value, name in UNITS if number >= value), None)
    return f"{number / unit[0]:.1f}{unit[1]}" if unit else str(number)


def downloaded(result: DownloadResult) -> str:
    """The answer of `download`."""
    files = text.table(
        ("File", "Size", "Fetched"), [(file.name, size(file.bytes), size(file.fetched)) for file in result.files], "-rr"
    )
    skipped = [(file.name, size(file.bytes), file.reason) for file in result.skipped]
    parts = [files, text.table(("Left out", "Size", "Because"), skipped, "-r") if skipped else ""]
    rate = f" ({size(result.fetched / result.seconds)}/s)" if result.fetched and result.seconds else ""
    if result.offline:
        parts.append("The Hub cannot be asked, and need not be: all of the model is on this computer.")
    parts.append(
        text.facts(
            ("Model", f"{result.repo}, {result.revision} ({result.commit[:12]})"),
            ("Folder", result.folder),
            ("Fetched", f"{size(result.fetched)} of {size(result.bytes)} in {text.duration(result.seconds)}{rate}"),
        )
    )
    return "\n\n".join(part for part in parts if part)

"""The commands of the Hub: `search`, `download`, and models' ids where a command takes a source. Imports no Qt."""

from __future__ import annotations

import argparse
import os

from app import cli_text as text
from app.cli_options import count, part_size
from core.errors import NotDownloaded, size
from core.hub.cache import REMOTE, local_source
from core.jobs import DownloadJob, DownloadResult, HubModel, SearchJob, SearchResult

SOURCES = ("source", "other", "model", "against", "file")
# Commands that can read headers on the Hub.
FROM_HEADERS = ("estimate",)
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def resolve_ids(options: argparse.Namespace) -> None:
    """Puts the path in the cache in the place of every model's id (OWNER/NAME). Raises NotDownloaded, SeveralModels.

    What is not downloaded can be estimated all the same.
    """
    for name in SOURCES:
        given = getattr(options, name, None)
        if isinstance(given, str):
            setattr(options, name, _resolved(given, options.command in FROM_HEADERS))


def _resolved(source: str, from_headers: bool) -> str:
    try:
        return local_source(source)
    except NotDownloaded:
        if not from_headers:
            raise
        return REMOTE + source


def add_search(parser: argparse.ArgumentParser) -> None:
    """The arguments of `search`."""
    add = parser.add_argument
    add("query", metavar="QUERY", help="part of a name")
    add("--author", default="", metavar="OWNER", help="only models of this user or organization")
    add("--format", choices=("gguf", "safetensors"), default="", help="only models with files of this format")
    add("--sort", choices=("downloads", "likes", "last_modified"), default="downloads", help="what comes first")
    add("--limit", type=count, default=20, metavar="N", help="how many at most (20)")


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
    return SearchJob(
        query=options.query, author=options.author, format=options.format, sort=options.sort, limit=options.limit
    )


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


def found(result: SearchResult) -> str:
    """The answer of `search`."""
    if not result.models:
        return f"{result.endpoint} has no model for {result.query!r}."
    headers = ("Model", "Parameters", "Formats", "Licence", "Downloads", "Likes", "Changed", "")
    return text.table(headers, [_row(model) for model in result.models], "-r--rr")


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
    parts.append(
        text.facts(
            ("Model", f"{result.repo}, {result.revision} ({result.commit[:12]})"),
            ("Folder", result.folder),
            ("Fetched", f"{size(result.fetched)} of {size(result.bytes)} in {text.duration(result.seconds)}{rate}"),
        )
    )
    return "\n\n".join(part for part in parts if part)

"""The commands that keep house: `upload`, `token`, `library` and `trash`. Imports no Qt."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import time

from app import cli_text as text
from app.cli_options import BadUsage, count
from app.cli_text import plain
from core.errors import size
from core.hub.cache import RepoCache, cache_root, local_source, may_be_id, split_id
from core.hub.token import forget_token, keep_token
from core.jobs import (
    AccountJob,
    AccountResult,
    CachedRepo,
    HubCacheJob,
    HubCacheResult,
    PartialDownload,
    TrashJob,
    TrashResult,
    UploadJob,
    UploadResult,
)

SOURCES = {"environment": "the environment (HF_TOKEN)", "keyring": "the system's keyring", "login": "`hf auth login`"}
LONGEST_TOKEN = 4096


def add_upload(parser: argparse.ArgumentParser) -> None:
    """The arguments of `upload`."""
    add = parser.add_argument
    add("source", metavar="PATH", help="a model file (all parts of a split one go) or a folder")
    add("repo", metavar="REPO", help="where to, OWNER/NAME; it is created where there is none")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--private", action="store_true", help="only you see a new repository (the default)")
    who.add_argument("--public", action="store_true", help="everybody sees a new repository")
    add("--revision", default="main", metavar="NAME", help="branch (main)")
    add("--include", action="append", default=[], metavar="PATTERN", help="files of the folder; may be repeated")
    add("--card", default="", metavar="FILE", help="take this README.md instead of one that is made")
    add("--base", default="", metavar="REPO", help="for the card: what the model was made from")
    add("--license", default="", metavar="NAME", help="for the card: the licence")
    add("--message", default="", metavar="TEXT", help="of the commit")
    add("--connections", type=count, default=4, metavar="N", help="files at a time (4)")
    add("--dry-run", action="store_true", help="print the card and the list of files, send nothing")


def upload_job(options: argparse.Namespace) -> UploadJob:
    """The job that the arguments of `upload` ask for. Raises BadUsage where the card cannot be read."""
    return UploadJob(
        source=os.path.abspath(options.source),
        repo=options.repo,
        private=not options.public,
        revision=options.revision,
        include=tuple(options.include),
        card=_card(options.card) if options.card else "",
        base=options.base,
        license=options.license,
        message=options.message,
        connections=options.connections,
        dry_run=options.dry_run,
    )


def _card(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path} cannot be read as a card", str(error), "Give a text file in UTF-8") from error


def uploaded(result: UploadResult) -> str:
    """The answer of `upload`."""
    files = [(file.name, size(file.bytes), size(file.sent)) for file in result.files]
    skipped = [(file.name, size(file.bytes), file.reason) for file in result.skipped]
    parts = [plain(result.card).rstrip()] if result.dry_run else []
    parts.append(text.table(("File", "Size", "Sent"), files, "-rr"))
    parts += [text.table(("Left here", "Size", "Because"), skipped, "-r")] if skipped else []
    parts += [f"note: {warning}" for warning in result.warnings]
    who = "private" if result.private else "public"
    parts.append(
        text.facts(
            ("Repository", f"{result.url} ({who}{', new' if result.created else ''})"),
            ("Commit", result.commit or ("none: a dry run" if result.dry_run else "")),
            ("Sent", "" if result.dry_run else f"{size(result.sent)} of {size(result.bytes)}"),
        )
    )
    return "\n\n".join(parts)


def add_token(parser: argparse.ArgumentParser) -> None:
    """The arguments of `token`. It is read from standard input, because others can see a command line."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--save", action="store_true", help="read a token from standard input into the system's keyring")
    what.add_argument("--forget", action="store_true", help="take it out of the keyring")


def change_token(options: argparse.Namespace) -> str:
    """What `token --save` and `token --forget` do, and what was done. Raises NotAToken, KeyringMissing."""
    if options.save:
        ask = sys.stdin.isatty()
        keep_token(getpass.getpass("Token (it is not shown): ") if ask else sys.stdin.readline(LONGEST_TOKEN + 2))
        return "The token is in the system's keyring."
    if options.forget:
        forget_token()
        return "The keyring has no token of this Hub any more."
    return ""


def account_job(options: argparse.Namespace) -> AccountJob:
    """The job of `token`."""
    return AccountJob()


def account(result: AccountResult) -> str:
    """The answer of `token`."""
    if not result.source:
        return f"There is no token for {result.endpoint}. `token --save` keeps one in the system's keyring."
    rights = {True: "may read and write", False: "may only read", None: "has rights of its own for each repository"}
    return text.facts(
        ("Hub", result.endpoint),
        ("Account", result.name),
        ("Token", f"from {SOURCES[result.source]}; it {rights[result.may_write]}"),
        ("Publishes as", ", ".join(result.owners)),
    )


def add_library(parser: argparse.ArgumentParser) -> None:
    """The arguments of `library`."""
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="also look here for unfinished downloads")


def library_job(options: argparse.Namespace) -> HubCacheJob:
    """The job of `library`."""
    return HubCacheJob(folders=tuple(os.path.abspath(folder) for folder in options.folders))


def library(result: HubCacheResult) -> str:
    """The answer of `library`."""
    rows = [row for repo in result.repos for row in _rows(repo)]
    unfinished = [_unfinished(one) for repo in result.repos for one in repo.partial] + list(
        map(_unfinished, result.loose)
    )
    headers = ("Model", "Revision", "Size", "Its own", "Read last", "Folder")
    parts = [text.table(headers, rows, "--rr")] if rows else ["No model is in the cache."]
    parts += [text.table(("Unfinished", "Here", "Of", "Path"), unfinished, "-rr")] if unfinished else []
    parts.append(text.facts(("Cache", f"{result.root}, {size(result.bytes)}"), ("Free", size(result.free))))
    return "\n\n".join(parts)


def _rows(repo: CachedRepo) -> list[tuple[str, ...]]:
    used = time.strftime("%Y-%m-%d", time.localtime(repo.used))
    return [
        (
            repo.repo,
            ", ".join(one.refs) or one.commit[:12],
            size(one.bytes),
            size(one.own_bytes),
            used,
            one.folder,
        )
        for one in repo.revisions
    ]


def _unfinished(one: PartialDownload) -> tuple[str, ...]:
    what = "/".join(part for part in (one.repo, one.name) if part) or text.DASH
    state = "" if one.ours else " (another program's)"
    running = " (running)" if one.running else state
    return what + running, size(one.done), size(one.total) if one.total else text.DASH, one.path


def add_trash(parser: argparse.ArgumentParser) -> None:
    """The arguments of `trash`."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a model file, a folder, a downloaded model's id, or what `library` lists",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, what stays and what else uses it")


def trash_job(options: argparse.Namespace) -> TrashJob:
    """The job that the arguments of `trash` ask for."""
    return TrashJob(paths=tuple(map(_place, options.paths)), dry_run=options.dry_run)


def _place(path: str) -> str:
    """A path, or that of a downloaded model (OWNER/NAME: all of it; OWNER/NAME/FILE) in the cache."""
    repo, file = split_id(path)
    if not may_be_id(path):
        return os.path.abspath(path)
    cache = RepoCache(cache_root(), repo)
    if not cache.folder.is_dir():
        return os.path.abspath(path)
    return local_source(path) if file else str(cache.folder)


def trashed(result: TrashResult) -> str:
    """The answer of `trash`."""
    rows = [
        (item.path, str(item.files), size(item.bytes), size(item.kept), "; ".join(use.name for use in item.uses))
        for item in result.items
    ]
    words = "would be freed" if result.dry_run else "are free once the trash is emptied"
    headers = ("Would go" if result.dry_run else "In the trash", "Files", "Size", "Shared, stays", "Used by")
    return f"{text.table(headers, rows, '-rrr')}\n\n{size(result.bytes)} {words}."

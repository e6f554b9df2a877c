"""What else needs a model: jobs in the queue, and results of earlier ones that are it or were made from it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.families.model_card import model_name
from core.jobs import DownloadJob, Use, Value
from core.store import JobRecord, Store

WAITING = ("queued", "running", "interrupted")
MOST = 20


def uses_of(path: Path, repo: str) -> tuple[Use, ...]:
    """The jobs that name a path or something in it, those that wait first; of a repository also its downloads.

    repo: OWNER/NAME where the path is a model in the cache, else "". A history that cannot be read has none.
    """
    with contextlib.suppress(sqlite3.Error, OSError):
        found = [use for record in Store().jobs() if (use := _use(record, path, repo))]
        return tuple(sorted(found, key=lambda use: use.kind == "result")[:MOST])
    return ()


def _use(record: JobRecord, path: Path, repo: str) -> Use | None:
    """What a job is to a path, None where it is nothing."""
    if record.state in WAITING:
        is_its = any(_is_within(text, path) for text in _texts(record.job)) or _downloads(record.job, repo)
        return Use(kind="job", name=_name(record), blocks=record.state == "running") if is_its else None
    if record.state == "done" and record.job.kind != "download":
        named = any(_is_within(text, path) for text in _texts(record.job))
        return Use(kind="result", name=_name(record)) if named else None
    return None


def _downloads(job: Value, repo: str) -> bool:
    return bool(repo) and isinstance(job, DownloadJob) and job.repo == repo and not job.output


def _texts(job: Value) -> Iterator[str]:
    """Every absolute path in a job."""
    pending: list[Any] = [job.model_dump()]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, str) and os.path.isabs(value):
            yield value


def _is_within(text: str, path: Path) -> bool:
    """Whether a job's path is `path` or below it, as it is written or where its links lead."""
    with contextlib.suppress(OSError, ValueError):
        return any(Path(place).is_relative_to(path) for place in (os.path.abspath(text), os.path.realpath(text)))
    return False


def _name(record: JobRecord) -> str:
    """A job in words: 'quantize of model.gguf'."""
    job = record.job
    of = next((str(value) for name in ("source", "model", "repo") if (value := getattr(job, name, ""))), "")
    words = f"{job.kind.replace('_', ' ')} of {model_name(Path(of))}" if of else job.kind.replace("_", " ")
    return f"{words} ({record.state})" if record.state in WAITING else words

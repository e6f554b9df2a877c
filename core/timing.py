"""How long a job will take: from what it has to do and this machine's speeds, corrected by past jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

from core.cuda import require_cuda
from core.errors import BitwrightError
from core.estimate.timing import How, Operation, correction, seconds_of
from core.jobs import Value
from core.progress import Progress
from core.speed import machine_name, time_missing
from core.store import JobRecord, Store

JOBS_LOOKED_AT = 24
JOBS_COUNTED = 8
# Many small parts are computed, each of which a busy machine can slow down much while it is timed.
FURTHEST = 20.0
Amounts = Mapping[Operation, int]
# What a past job had to do, and what it is one of; None of a job that says nothing here.
PastWork = Callable[[Value], Amounts | None]


def expected(
    amounts: Amounts, how: How, kind: str, past: PastWork, measure: Progress | None
) -> tuple[float | None, int]:
    """Seconds for these operations, and how many past jobs of `kind` corrected them; (None, 0): never timed.

    measure: what is told of it while operations are timed that never were; None: they are not. Raises
    DeviceNotAvailable.
    """
    if how.device == "cuda":
        require_cuda()
    try:
        store = Store()
        speeds = store.speeds() if measure is None else time_missing(amounts, how, store, measure)
        records = store.latest(kind, JOBS_LOOKED_AT)
    except (sqlite3.Error, OSError):
        return None, 0
    seconds = seconds_of(amounts, how, speeds)
    if seconds is None:
        return None, 0
    ratios = list(_ratios(records, past, speeds))
    return seconds * correction(ratios, FURTHEST), len(ratios)


def _ratios(records: Iterable[JobRecord], past: PastWork, speeds: Mapping[str, float]) -> Iterable[float]:
    """Measured through predicted, of the latest jobs whose sources are still there."""
    counted = 0
    for record in records:
        seconds = getattr(record.result, "seconds", 0)
        if not seconds or counted == JOBS_COUNTED:
            continue
        try:
            amounts = past(record.job)
        except (BitwrightError, OSError):
            continue
        before = seconds_of(amounts, how_of(record.job), speeds) if amounts else None
        if before:
            counted += 1
            yield seconds / before


def how_of(job: Value) -> How:
    """With what a job computes."""
    fit = getattr(getattr(job, "options", None), "fit", "fast")
    return How(machine_name(), getattr(job, "device", "cpu"), getattr(job, "threads", 0), fit)

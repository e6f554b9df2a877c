"""The preflight of a checkpoint: what stands in its way and what it needs, before anything starts."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from core import errors
from core.checkpoints.decide import Decided, decide, packed
from core.checkpoints.gguf_files import planned_file
from core.checkpoints.settings import Settings, settled
from core.checkpoints.solve import SOLVERS
from core.checkpoints.source import CheckpointSource
from core.checks import architecture, check_of, folder_problem, licences, memory, room
from core.errors import BitwrightError
from core.estimate.timing import START_S, How, Operation
from core.jobs import (
    Check,
    CheckpointJob,
    CheckpointPreflightJob,
    CheckpointResult,
    MethodOptions,
    PreflightResult,
    TensorPlan,
    TensorResult,
    Value,
)
from core.methods.table import EXPORT, GGUF_FORM, LOOKING, METHOD
from core.progress import Progress
from core.speed import machine_name, time_operation
from core.store import JobRecord, Store
from core.texts import USUAL_LENGTH
from core.timing import expected

# Past jobs of the same method that say how long one takes.
JOBS_LOOKED_AT = 24
JOBS_COUNTED = 4
# On what a method is timed that none of them tells of.
TIMED_SHAPE, TIMED_SEED = (256, 2048), 7


def preflight(job: CheckpointPreflightJob, progress: Progress) -> PreflightResult:
    """All checks of a checkpoint, and what it needs. Raises nothing but Cancelled for what the job would raise."""
    progress.stage("Checking")
    try:
        if job.options.export in GGUF_FORM:
            return _of_file(job)
        settings = settled(job.options)
        with CheckpointSource(Path(job.source)) as source:
            decided = decide(source, settings)
            checks = tuple(_checks(job, source, decided))
        seconds, basis = _expected(job, decided, progress) if decided.is_calibrated else _time(decided)
        if seconds is None and job.measure:
            progress.stage("Timing this machine")
            seconds = _measured(decided)
        return PreflightResult(
            checks=checks,
            bytes=decided.plan.bytes,
            memory_bytes=decided.plan.memory_bytes,
            seconds=seconds,
            seconds_basis=basis,
        )
    except BitwrightError as error:
        return PreflightResult(checks=(check_of(error),))


def _of_file(job: CheckpointPreflightJob) -> PreflightResult:
    """Of a GGUF file beside a folder, whose own preflight says the rest."""
    form = job.options.export
    folder = packed(job.source, job.options)
    made = planned_file(folder, form)
    with CheckpointSource(Path(job.source)) as source:
        needed = _bytes_of_all(source, folder, job.options)
    runs = f"Made for {' and '.join(GGUF_FORM[form].runs_in)}, from the folder beside it."
    checks = (
        Check(step="choice", level="fine", cause=f"{form} holds the integers of this solution."),
        folder_problem(job.output) or room(job.output, *needed),
        memory(made),
        Check(step="running", level="fine", cause=runs),
    )
    return PreflightResult(checks=checks, bytes=made.bytes, memory_bytes=made.memory_bytes)


def _checks(job: CheckpointPreflightJob, source: CheckpointSource, decided: Decided) -> Iterator[Check]:
    """One check or several for each step, in order."""
    yield _choice(decided)
    yield Check(step="files", level="fine", cause="All files are complete.")
    yield architecture(source.architecture)
    yield from _disk(job, source, decided)
    yield memory(decided.plan)
    yield from licences(source.path, source.license)
    yield _running(decided.settings)


def _choice(decided: Decided) -> Check:
    for note in decided.plan.warnings:
        if any(METHOD[own.choice.method].trained for own in decided.settings.every):
            fix = "Use it for models of this form only, or fine-tune the result"
            return Check(step="choice", level="risk", cause=note, fix=fix)
    return Check(step="choice", level="fine", cause=f"{decided.plan.target} can be made of this model.")


def _disk(job: CheckpointPreflightJob, source: CheckpointSource, decided: Decided) -> Iterator[Check]:
    problem = folder_problem(job.output)
    target = Path(os.path.abspath(job.output))
    if problem is not None:
        yield problem
    elif target.exists() and target.samefile(source.path):
        yield check_of(errors.OutputIsSource(job.output))
    elif target.is_file() or (target.is_dir() and any(target.iterdir())):
        reason = "a file of that name exists" if target.is_file() else "a folder of that name exists and is not empty"
        yield check_of(errors.OutputNotWritable(job.output, reason))
    else:
        yield room(job.output, *_bytes_of_all(source, decided, job.options))


def _bytes_of_all(source: CheckpointSource, folder: Decided, options: MethodOptions) -> tuple[int, int]:
    """What all forms of one job take together, and how many they are. folder: as one of those that are folders."""
    forms, sizes = (options.export, *options.beside), []
    for form in forms:
        if form in GGUF_FORM:
            sizes.append(planned_file(folder, form).bytes)
        elif form == folder.settings.choice.export:
            sizes.append(folder.plan.bytes)
        else:
            own = options.model_copy(update={"export": form, "beside": tuple(f for f in forms if f != form)})
            sizes.append(decide(source, settled(own)).plan.bytes)
    return sum(sizes), len(sizes)


def _running(settings: Settings) -> Check:
    """Which programs run the result: chat here is no one of them."""
    programs = " and ".join(EXPORT[settings.choice.export].runs_in)
    return Check(step="running", level="fine", cause=f"Made for {programs}; nothing here runs it.")


# ---------------------------------------------------------------- time


def _expected(job: CheckpointPreflightJob, decided: Decided, progress: Progress) -> tuple[float | None, int]:
    """Of a job that takes a text through the model; where nothing was timed here, what past jobs alone say."""
    from core.walk_work import of_checkpoint, work_of

    def past(other: Value) -> Mapping[Operation, int] | None:
        is_alike = isinstance(other, CheckpointJob) and other.options.method == job.options.method
        return work_of(other) if is_alike else None

    how = How(machine_name(), job.device, job.threads, "fast")
    found = expected(of_checkpoint(job.source, job), how, "checkpoint", past, progress if job.measure else None)
    return found if found[0] is not None else _time(decided)


def _time(decided: Decided) -> tuple[float | None, int]:
    """Seconds the job will take after past ones of the same method, and how many say so; (None, 0) where none does."""
    try:
        records = Store().latest("checkpoint", JOBS_LOOKED_AT)
    except (sqlite3.Error, OSError):
        return None, 0
    settings = decided.settings
    rates = [rate for record in records if (rate := _rate(record, settings)) is not None][:JOBS_COUNTED]
    if not rates:
        return None, 0
    work = _work(decided.plan.tensors) * (settings.tokens if settings.is_calibrated else 1)
    return work * sum(rates) / len(rates), len(rates)


def _rate(record: JobRecord, settings: Settings) -> float | None:
    """Seconds for a weight (and a token, of a calibrated method) of a finished job; None of another method."""
    job, result = record.job, record.result
    if not isinstance(job, CheckpointJob) or not isinstance(result, CheckpointResult):
        return None
    if (
        job.options.method != settings.choice.method
        or (job.options.bits or settings.choice.bits) != settings.choice.bits
    ):
        return None
    samples = min(job.options.samples, LOOKING.get(job.options.method, job.options.samples))
    tokens = samples * (job.options.length or USUAL_LENGTH) if settings.is_calibrated else 1
    return result.seconds / max(1, _work(result.tensors) * tokens)


def _measured(decided: Decided) -> float | None:
    """Seconds from a short measurement of a method that looks at no text, and of the disk; None of another."""
    settings = decided.settings
    method = settings.choice.method
    if settings.is_calibrated or method not in SOLVERS:
        return None
    w = np.random.default_rng(TIMED_SEED).standard_normal(TIMED_SHAPE, np.float32)
    taken = []
    for _ in range(2):  # the first call may compile
        began = time.perf_counter()
        SOLVERS[method](w, settings, "F16", None)
        taken.append(time.perf_counter() - began)
    rows = decided.plan.tensors
    weights = _work([row for row in rows if row.target_type != row.source_type])
    how = How(machine_name(), "cpu", 0, "fast")
    return START_S + weights * min(taken) / w.size + decided.plan.bytes * time_operation(Operation("disk"), how)


def _work(tensors: Sequence[TensorPlan] | Sequence[TensorResult]) -> int:
    return sum(tensor.elements for tensor in tensors)

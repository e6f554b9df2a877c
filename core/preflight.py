"""The preflight of a quantization: a ladder of checks, each with its cause and the nearest fix, before anything starts.

Errors are those the job itself would raise, found earlier; risks are left to the user. The order is that of a ladder:
choice, files, architecture, disk, memory, types of tensors, licence, and whether this computer can run the result.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core import errors
from core.checks import architecture, check_of, folder_problem, gated, licence, licences, memory, room
from core.errors import BitwrightError, size
from core.estimate.fitting import verdict
from core.estimate.machine import read_machine
from core.estimate.overhead import correction as overhead_correction
from core.estimate.running import estimate_run
from core.estimate.timing import How, Work, correction, operations, predicted_seconds
from core.estimate.values import RunOptions
from core.estimating import facts_of_plan
from core.hub.names import REMOTE
from core.jobs import (
    Check,
    HubPage,
    HubPageJob,
    Plan,
    PlanJob,
    PreflightJob,
    PreflightResult,
    QuantizeJob,
    QuantizeOptions,
    QuantizeResult,
)
from core.parts import path_of
from core.plan import Prepared, make_plan, plan, prepare, quantized_types
from core.progress import Progress
from core.sources import Source, open_source
from core.sources.converter import CONVERTIBLE
from core.sources.pruned import without_layers
from core.speed import machine_name, time_missing
from core.store import JobRecord, Store
from core.timing import expected

USUAL_CONTEXT = 4096
# Results of one pass end together.
SAME_PASS_S = 2.0


TO_CONVERT = Check(
    step="architecture",
    level="fine",
    cause="llama.cpp's converter makes a 16-bit file of it first; what quantizing that needs is known then.",
)


def preflight(job: PreflightJob, progress: Progress) -> PreflightResult:
    """All checks of a quantization, and what it needs. Raises nothing but Cancelled for what a job would raise."""
    progress.stage("Checking")
    try:
        if job.source.startswith(REMOTE):
            return _on_the_hub(job, progress)
        with open_source(job.source) as whole:
            source = without_layers(whole, job.options.prune_layers)
            prepared = prepare(source, job.options)
            checks = [*_checks(job, source, prepared)]
            seconds, basis = _time(job, source, prepared.plan, progress)
            made = prepared.plan
            return PreflightResult(
                checks=tuple(checks),
                bytes=made.bytes,
                memory_bytes=made.memory_bytes,
                seconds=seconds,
                seconds_basis=basis,
            )
    except BitwrightError as error:
        if isinstance(error, CONVERTIBLE) and job.options.converter:
            return PreflightResult(checks=(TO_CONVERT,))
        return PreflightResult(checks=(check_of(error),))


def _on_the_hub(job: PreflightJob, progress: Progress) -> PreflightResult:
    """Of a model that is not downloaded: what the Hub says of it, and whether there is room for it and the output."""
    from core.hub.page import page  # the Hub's client takes a while to import

    found = page(HubPageJob(repo="/".join(job.source.removeprefix(REMOTE).split("/")[:2])), progress)
    plans = [plan(PlanJob(source=job.source, options=each), progress) for each in _every_options(job)]
    made = plans[0]
    words = f"It is on the Hub: {size(found.needed_bytes)} are to be downloaded first."
    checks = [
        Check(step="choice", level="fine", cause=f"{made.target} can be made of this model."),
        Check(step="files", level="fine", cause=words),
        architecture(made.architecture),
        folder_problem(job.output)
        or room(job.output, found.needed_bytes + sum(each.bytes for each in plans), len(plans)),
        memory(made),
        _tensors(made),
        licence(found.model.license),
        *_access(found),
    ]
    return PreflightResult(checks=tuple(checks), bytes=made.bytes, memory_bytes=made.memory_bytes)


def _every_options(job: PreflightJob) -> list[QuantizeOptions]:
    """Those of its own target, and those of the targets beside it."""
    return [job.options, *(job.options.model_copy(update={"target": target}) for target in job.beside)]


def _access(found: HubPage) -> Iterator[Check]:
    """Whether a gated model can be downloaded."""
    if found.access == "granted":
        yield gated(found.repo)
    elif found.access == "ask":
        from core.hub.client import token_in_use

        yield check_of(errors.HubGated(found.repo, found.url, token_in_use()[0]))


def _checks(job: PreflightJob, source: Source, prepared: Prepared) -> Iterator[Check]:
    """One check or several for each step, in order."""
    yield _choice(job, source, prepared.plan)
    yield Check(
        step="files",
        level="fine",
        cause=f"All {len(source.files)} files are complete." if len(source.files) > 1 else "The file is complete.",
    )
    yield architecture(source.architecture)
    yield from _disk(job, source, prepared)
    yield memory(prepared.plan)
    yield _tensors(prepared.plan)
    yield from licences(source.path, source.license)
    yield _running(source, prepared.plan)


def _choice(job: PreflightJob, source: Source, made: Plan) -> Check:
    again = {row.source_type for row in made.tensors if row.target_type != row.source_type}
    types = sorted(again.intersection(quantized_types(source)))
    if not types:
        return Check(step="choice", level="fine", cause=f"{made.target} can be made of this model.")
    if not job.options.allow_requantize:
        return check_of(errors.AlreadyQuantized(str(source.path), types))
    return Check(
        step="choice",
        level="risk",
        cause=f"The source is stored as {', '.join(types)} already; quantizing again adds to the loss.",
        fix="Start from the F16 or BF16 original where there is one",
    )


def _disk(job: PreflightJob, source: Source, prepared: Prepared) -> Iterator[Check]:
    problem = folder_problem(job.output)
    if problem is not None:
        yield problem
        return
    count = len(prepared.parts)
    paths = [path_of(Path(job.output), number, count) for number in range(count)]
    if any(path.exists() and os.path.samefile(path, file) for path in paths for file in source.files):
        yield check_of(errors.OutputIsSource(job.output))
        return
    beside = [make_plan(source, options).bytes for options in _every_options(job)[1:]]
    yield room(job.output, prepared.plan.bytes + sum(beside), 1 + len(beside))
    replaced = [path.name for path in paths if path.exists()]
    if replaced:
        yield Check(
            step="disk", level="risk", cause=f"Replaces {', '.join(replaced)}.", fix="Choose another name to keep it"
        )


def _tensors(made: Plan) -> Check:
    fallen = [row for row in made.tensors if row.fallback]
    if not fallen:
        return Check(step="tensors", level="fine", cause="Every tensor can hold the type meant for it.")
    return Check(
        step="tensors",
        level="risk",
        cause=f"{len(fallen)} of {len(made.tensors)} tensors do not fit the type meant for them and get a larger one.",
        fix="Choose a type with blocks of 32, such as Q8_0, Q5_0 or IQ4_NL, where the size matters",
    )


def _running(source: Source, made: Plan) -> Check:
    """Whether llama.cpp could run the result here."""
    facts = facts_of_plan(source, made)
    options = RunOptions(context=min(facts.context_length or USUAL_CONTEXT, USUAL_CONTEXT))
    found = verdict(estimate_run(facts, options, _learned()), read_machine())
    words = f"{found.words}, to run it at {options.context} tokens of context."
    if found.level != "not":
        return Check(step="running", level="fine", cause=words)
    return Check(
        step="running", level="risk", cause=words, fix="Choose a type with fewer bits to run it on this computer"
    )


def _learned() -> int:
    with contextlib.suppress(sqlite3.Error, OSError):
        return overhead_correction(Store().loads(), "cpu")
    return 0


# ---------------------------------------------------------------- time


class _Pass(NamedTuple):
    """Results that were made together: their jobs' settings, the types of their tensors, and how long it took."""

    how: How
    outputs: list[list[Work]]
    seconds: float


def _time(job: PreflightJob, source: Source, made: Plan, progress: Progress) -> tuple[float | None, int]:
    """Seconds the job will take, and how many past jobs say so; (None, 0) where a type was never timed."""
    how = How(machine_name(), job.device, job.threads, job.options.fit)
    if job.options.gptq is not None:
        from core.walk_work import file_operations, work_of

        amounts = file_operations(source, made, job.options.gptq, job.options.fit)
        return expected(amounts, how, "quantize", work_of, progress if job.measure else None)
    outputs = [[Work(row.source_type, row.target_type, row.weighted, row.elements, row.bytes) for row in made.tensors]]
    try:
        store = Store()
        speeds = time_missing(operations(outputs), how, store, progress) if job.measure else store.speeds()
        passes = past_passes(store.latest("quantize", JOBS_LOOKED_AT))
    except (sqlite3.Error, OSError):
        return None, 0
    seconds = predicted_seconds(outputs, how, speeds)
    if seconds is None:
        return None, 0
    ratios = [
        done.seconds / before for done in passes if (before := predicted_seconds(done.outputs, done.how, speeds))
    ][:JOBS_COUNTED]
    return seconds * correction(ratios), len(ratios)


JOBS_LOOKED_AT = 24
JOBS_COUNTED = 8


def past_passes(records: Sequence[JobRecord]) -> list[_Pass]:
    """Finished quantizations, the newest first; those of one pass over a source together.

    Of several outputs made in one pass, each says the seconds of the whole pass.
    """
    found: list[tuple[str, float, _Pass]] = []
    for record in records:
        job, result = record.job, record.result
        if not isinstance(job, QuantizeJob) or not isinstance(result, QuantizeResult) or record.finished is None:
            continue
        if job.options.gptq is not None:  # most of its time is not the pipeline's
            continue
        weighted = bool(job.options.imatrix)
        works = [
            Work(row.source_type, row.type, weighted and row.source_type != row.type, row.elements, row.bytes)
            for row in result.tensors
        ]
        if found and found[-1][0] == job.source and abs(found[-1][1] - record.finished) < SAME_PASS_S:
            found[-1][2].outputs.append(works)
            continue
        how = How(machine_name(), job.device, job.threads, job.options.fit)
        found.append((job.source, record.finished, _Pass(how, [works], result.seconds)))
    return [done for _, _, done in found]

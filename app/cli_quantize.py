"""`plan` and `quantize`: their arguments, the jobs they make, and what is checked beforehand. Imports no Qt."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from app import cli_estimate
from app.cli_importance import COMPUTE, compute_where_asked
from app.cli_methods import add_method_options, forms_of, method_options
from app.cli_options import (
    BadUsage,
    add_choice_options,
    add_converter_option,
    add_importance_options,
    add_source,
    add_split_options,
    add_type_options,
    chosen_targets,
    count,
    quantize_options,
)
from app.cli_report import add_report_option
from app.cli_running import run_job
from core.catalog import output_name
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    CheckpointPlanJob,
    CheckpointPreflightJob,
    MethodOptions,
    Plan,
    PlanJob,
    PreflightJob,
    PreflightResult,
    QuantizeJob,
    QuantizeManyJob,
)


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The arguments of `plan`."""
    add_source(parser)
    add_choice_options(parser)
    add_type_options(parser)
    add_importance_options(parser)
    add_split_options(parser)
    add_converter_option(parser)
    add_method_options(parser)


def add_quantize(parser: argparse.ArgumentParser) -> None:
    """The arguments of `quantize`."""
    add_plan(parser)
    parser.add_argument("--out", metavar="PATH", help="the output file, or an existing folder for it (or for several)")
    add_report_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where an interrupted run of the same command stopped, and keep what is done when interrupted",
    )
    parser.add_argument("--threads", type=count, default=0, metavar="N", help="0, the default, uses all cores")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (cpu)")


def asked_quantization(options: argparse.Namespace) -> QuantizeJob | QuantizeManyJob:
    """The job that the arguments of `quantize` ask for; several types are one pass. Raises BadUsage."""
    targets = chosen_targets(options)
    if options.out is None:
        raise BadUsage("The following arguments are required: --out", remedy="See `main.py quantize --help`")
    if len(targets) > 1 and not Path(options.out).is_dir():
        raise BadUsage(
            f"{options.out} is no folder", "several types make several files", "Give an existing folder as --out"
        )
    source = os.path.abspath(options.source)
    outputs = tuple(output_path(options.source, options.out, target) for target in targets)
    common = {
        "options": quantize_options(options, targets[0]),
        "threads": options.threads,
        "device": options.device,
        "resume": options.resume,
        "keep_unfinished": options.resume,
    }
    if len(targets) > 1:
        return QuantizeManyJob(source=source, targets=targets, outputs=outputs, **common)
    return QuantizeJob(source=source, output=outputs[0], **common)


def output_path(source: str, out: str, target: str) -> str:
    """The output's absolute path: `out` itself, or `<model>-<TYPE>.gguf` in it where it is a folder."""
    path = Path(out)
    if path.is_dir():
        path = path / output_name(Path(os.path.abspath(source)), target)
    return os.path.abspath(path)


def asked_checkpoint(options: argparse.Namespace) -> CheckpointJob | CheckpointManyJob:
    """The job that the arguments of `quantize --method` ask for; several forms are one job. Raises BadUsage."""
    if options.out is None:
        raise BadUsage("The following arguments are required: --out", remedy="See `main.py quantize --help`")
    return checkpoint_job(options, options.out)


def compute_for_checkpoint(options: argparse.Namespace) -> None:
    """An importance matrix where one is asked for, after what cannot be made has been refused.

    Raises what planning and compute_where_asked raise.
    """
    if options.imatrix == COMPUTE:
        without = argparse.Namespace(**{**vars(options), "imatrix": None})
        job = checkpoint_job(without, "checkpoint")
        for wanted in options_of_forms(job):
            run_job(CheckpointPlanJob(source=job.source, options=wanted))
    compute_where_asked(options)


def options_of_forms(job: CheckpointJob | CheckpointManyJob) -> list[MethodOptions]:
    """What is to be planned of a job: of each form."""
    return [job.options_of(form) for form in job.exports] if isinstance(job, CheckpointManyJob) else [job.options]


def checkpoint_job(options: argparse.Namespace, output: str) -> CheckpointJob | CheckpointManyJob:
    """The same with this output."""
    common = {
        "source": os.path.abspath(options.source),
        "output": os.path.abspath(output),
        "options": method_options(options),
        "device": getattr(options, "device", "cpu"),
        "threads": getattr(options, "threads", 0),
        "keep_unfinished": getattr(options, "resume", False),
    }
    forms = forms_of(options)
    return CheckpointManyJob(exports=forms, **common) if len(forms) > 1 else CheckpointJob(**common)


def checked_plan(options: argparse.Namespace, target: str, targets: Sequence[str], measure: bool) -> Plan:
    """A plan that carries its preflight, which is that of a job of all targets. Raises what planning raises."""
    made = run_job(PlanJob(source=options.source, options=quantize_options(options, target)))
    assert isinstance(made, Plan)
    check = PreflightJob(
        source=options.source,
        output=output_path(options.source, getattr(options, "out", None) or os.curdir, target),
        options=quantize_options(options, target),
        beside=tuple(other for other in targets if other != target),
        threads=getattr(options, "threads", 0),
        device=getattr(options, "device", "cpu"),
        measure=measure,
    )
    return made.model_copy(update={"preflight": run_job(check)})


def checked_checkpoint(options: argparse.Namespace, wanted: MethodOptions, output: str, measure: bool) -> Plan:
    """The plan of one form that carries its preflight. Raises what planning raises."""
    made = run_job(CheckpointPlanJob(source=options.source, options=wanted))
    assert isinstance(made, Plan)
    with_what = {"threads": getattr(options, "threads", 0), "device": getattr(options, "device", "cpu")}
    check = CheckpointPreflightJob(source=options.source, output=output, options=wanted, measure=measure, **with_what)
    return made.model_copy(update={"preflight": run_job(check)})


def risks_of(jobs: Sequence[QuantizeJob]) -> list[str]:
    """A line for every risk; what is an error, the job itself will say."""
    said: dict[str, None] = {}
    for job in jobs:
        beside = tuple(other.options.target for other in jobs if other is not job)
        own = {"source": job.source, "output": job.output, "options": job.options, "device": job.device}
        result = run_job(PreflightJob.model_validate(own | {"beside": beside}))
        assert isinstance(result, PreflightResult)
        said |= dict.fromkeys(cli_estimate.risks(result) if result.worst == "risk" else [])
    return list(said)

"""The command line: subcommands that make a job, run it in this process and print its answer. Imports no Qt.

Exit codes: 0, 2 for bad usage or bad input, 1 for a failed job, 130 when interrupted. With `--json`, standard output
carries one JSON object and nothing else; progress, notes and errors go to standard error.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from pydantic import ValidationError

from app import cli_chat, cli_estimate, cli_evaluate, cli_hub, cli_imatrix, cli_publish, cli_quantize, cli_sensitivity
from app import cli_text as text
from app.cli_gptq import is_solved_gguf
from app.cli_importance import compute_where_asked
from app.cli_methods import check_kind
from app.cli_options import (
    BadUsage,
    add_choice_options,
    add_converter_option,
    add_importance_options,
    add_source,
    add_split_options,
    add_type_options,
    chosen_targets,
    converter_of,
    quantize_options,
)
from app.cli_report import add_runs, check_report, history, save_report, write_runs
from app.cli_running import Recorder, Recorders, run_job
from app.cli_values import refused
from core.errors import BAD_INPUT, INTERRUPTED, BitwrightError, Cancelled, ErrorReport
from core.jobs import (
    CheckpointManyJob,
    CompareJob,
    EstimateJob,
    EvaluateJob,
    ImatrixJob,
    InspectJob,
    Job,
    MeasurePreflightJob,
    Plan,
    PreflightResult,
    QuantizeJob,
    QuantizeManyJob,
    SearchResult,
    SensitivityJob,
    SensitivityResult,
    VerifyJob,
)
from core.store import JobRecord

VERSION = "0.1.0"


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line like every other error."""

    def error(self, message: str) -> NoReturn:
        """Raises BadUsage instead of printing the usage."""
        raise BadUsage(message[:1].upper() + message[1:], remedy=f"See `{self.prog} --help`")


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; every failure becomes one line on standard error."""
    debug = "--debug" in arguments
    _make_printable("--json" in arguments)
    try:
        options = make_parser().parse_args(arguments)
        cli_hub.resolve_ids(options)
        return int(options.run(options))
    except BitwrightError as error:
        return _report(error, error.line, error.exit_code, debug)
    except ValidationError as error:
        return _report(error, refused(error), BAD_INPUT, debug)
    except (Cancelled, KeyboardInterrupt) as error:
        keeps = "--resume" in arguments or arguments[:1] in (["download"], ["upload"])
        words = "What is done is kept: the same command goes on" if keeps else "Nothing was left behind"
        return _report(error, f"Interrupted. {words}.", INTERRUPTED, debug)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        report = ErrorReport.of(error)
        hint = report.remedy if debug or report.kind != "Bug" else "Run it again with --debug to see where"
        return _report(error, BitwrightError(report.what, report.why, hint).line, 1, debug)


def _make_printable(as_json: bool) -> None:
    """A terminal's encoding may lack '×' or a letter of a name: JSON is UTF-8 anyway, other text gets a '?'."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if as_json and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _report(error: BaseException, line: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"error: {line}", file=sys.stderr)
    return code


# ---------------------------------------------------------------- the commands


def run_inspect(options: argparse.Namespace) -> int:
    """`inspect SRC`."""
    return answer(InspectJob(source=options.source, converter=converter_of(options)), options, text.model)


def run_plan(options: argparse.Namespace) -> int:
    """`plan SRC --to TYPE[,TYPE…]`, or `--recipe NAME`, or `--method METHOD --export FORM`."""
    check_kind(options)
    if options.method and not is_solved_gguf(options):
        cli_quantize.compute_for_checkpoint(options)
        return _plan_checkpoint(options, measure=False)
    compute_where_asked(options)
    return _dry_run(options, chosen_targets(options), measure=False)


def run_quantize(options: argparse.Namespace) -> int:
    """`quantize SRC --to TYPE[,TYPE…] --out PATH`; recorded in the job history. With --dry-run, plans only.

    With --method and --export, a checkpoint in a new folder PATH.
    """
    check_kind(options)
    if options.method and not is_solved_gguf(options):
        return _quantize_checkpoint(options)
    targets = chosen_targets(options)
    compute_where_asked(options)
    if options.dry_run:
        return _dry_run(options, targets, measure=True)
    job = cli_quantize.asked_quantization(options)
    if isinstance(job, QuantizeManyJob):
        _say_risks(job.jobs)
        with Recorders(job.jobs) as recorders:
            return answer(job, options, text.quantized_many, recorders)
    _say_risks([job])
    with Recorder(job) as recorder:
        return answer(job, options, text.quantized, recorder)


def _plan_checkpoint(options: argparse.Namespace, *, measure: bool) -> int:
    """The plan of a checkpoint with its preflight."""
    output = getattr(options, "out", None) or os.path.join(os.curdir, "checkpoint")
    job = cli_quantize.checkpoint_job(options, output)
    forms = cli_quantize.options_of_forms(job)
    plans = [cli_quantize.checked_checkpoint(options, wanted, output, measure) for wanted in forms]
    if options.json:
        return _print_plans(plans)
    print("\n\n".join(cli_estimate.planned(made, text.checkpoint_plan) for made in plans), flush=True)
    return 0


def _print_plans(plans: Sequence[Plan]) -> int:
    """As JSON: one object, or {"plans": [...]} where there are several."""
    values = [made.model_dump(mode="json", by_alias=True) for made in plans]
    print(json.dumps(values[0] if len(values) == 1 else {"plans": values}, ensure_ascii=False), flush=True)
    return 0


def _quantize_checkpoint(options: argparse.Namespace) -> int:
    """A checkpoint; recorded in the job history."""
    cli_quantize.compute_for_checkpoint(options)
    if options.dry_run:
        return _plan_checkpoint(options, measure=True)
    job = cli_quantize.asked_checkpoint(options)
    if isinstance(job, CheckpointManyJob):
        with Recorders(job.jobs) as recorders:
            return answer(job, options, text.checkpoints, recorders)
    with Recorder(job) as recorder:
        return answer(job, options, text.checkpoint, recorder)


def _dry_run(options: argparse.Namespace, targets: tuple[str, ...], *, measure: bool) -> int:
    """The plan of every target with its preflight; as JSON one object, or {"plans": [...]} where there are several."""
    plans = [cli_quantize.checked_plan(options, target, targets, measure) for target in targets]
    if options.json:
        return _print_plans(plans)
    print("\n\n".join(cli_estimate.planned(made) for made in plans))
    return 0


def _say_risks(jobs: Sequence[QuantizeJob]) -> None:
    for line in cli_quantize.risks_of(jobs):
        print(f"note: {line}", file=sys.stderr)


def run_estimate(options: argparse.Namespace) -> int:
    """`estimate SRC [--to TYPE]`."""
    wanted = quantize_options(options, chosen_targets(options)[0]) if options.to or options.recipe else None
    auto = options.gpu_layers is None and options.runtime in (None, "llama.cpp") and options.backend in (None, "cuda")
    run = cli_estimate.run_options(options)
    return answer(
        EstimateJob(source=options.source, run=run, options=wanted, auto_layers=auto), options, cli_estimate.estimated
    )


def run_verify(options: argparse.Namespace) -> int:
    """`verify FILE`."""
    return answer(VerifyJob(path=options.file), options, text.verified)


def run_compare(options: argparse.Namespace) -> int:
    """`compare A B`."""
    return answer(CompareJob(source=options.source, other=options.other), options, text.compared)


def run_imatrix(options: argparse.Namespace) -> int:
    """`imatrix SRC --out PATH`; recorded in the job history. With --dry-run, says what it needs."""
    if options.dry_run:
        return _looked_before(cli_imatrix.asked_imatrix(options), options)
    job = cli_imatrix.asked_imatrix(options)
    with Recorder(job) as recorder:
        return answer(job, options, text.importance, recorder)


def run_evaluate(options: argparse.Namespace) -> int:
    """`evaluate MODEL... --against SRC`; recorded in the job history, so that the window shows it.

    With --dry-run, says what it needs.
    """
    job = cli_evaluate.asked_evaluation(options)
    if options.dry_run:
        return _looked_before(job, options)
    with Recorder(job) as recorder:
        return answer(job, options, cli_evaluate.evaluated, recorder)


def run_sensitivity(options: argparse.Namespace) -> int:
    """`sensitivity SRC --to TYPE`; recorded in the job history, so that the window shows it.

    With --dry-run, says what it needs.
    """
    check_report(options)
    compute_where_asked(options)
    job = cli_sensitivity.asked_sensitivity(options)
    if options.dry_run:
        return _looked_before(job, options)
    with Recorder(job) as recorder:
        result = run_job(job, recorder)
    save_report(result, options)
    assert isinstance(result, SensitivityResult)
    cli_sensitivity.save_recipe(result, options, job.options)
    words = cli_sensitivity.ranked(result, options.keep_type, options.grow)
    print(result.model_dump_json(by_alias=True) if options.json else words, flush=True)
    return 0


def _looked_before(job: ImatrixJob | EvaluateJob | SensitivityJob, options: argparse.Namespace) -> int:
    """The preflight of a job that takes a text through a model."""
    result = run_job(MeasurePreflightJob(job=job, measure=True))
    assert isinstance(result, PreflightResult)
    print(result.model_dump_json(by_alias=True) if options.json else cli_estimate.looked(result), flush=True)
    return 0


def run_chat(options: argparse.Namespace) -> int:
    """`chat MODEL --prompt TEXT`."""
    return answer(cli_chat.asked_chat(options), options, text.chatted)


def run_search(options: argparse.Namespace) -> int:
    """`search QUERY`; with --fit every model's headers are looked at, too."""
    if not options.fit:
        return answer(cli_hub.search_job(options), options, cli_hub.found)
    result = run_job(cli_hub.search_job(options))
    assert isinstance(result, SearchResult)
    judged = cli_hub.fits(result, options.context)
    if options.json:
        fits = {repo: fit.model_dump(mode="json", by_alias=True) if fit else None for repo, fit in judged.items()}
        print(json.dumps(result.model_dump(mode="json", by_alias=True) | {"fits": fits}, ensure_ascii=False))
    else:
        print(cli_hub.found(result, judged))
    return 0


def run_page(options: argparse.Namespace) -> int:
    """`page REPO`."""
    return answer(cli_hub.page_job(options), options, cli_hub.page)


def run_download(options: argparse.Namespace) -> int:
    """`download REPO`; whatever has arrived is kept when it is interrupted."""
    return answer(cli_hub.download_job(options), options, cli_hub.downloaded)


def run_upload(options: argparse.Namespace) -> int:
    """`upload PATH REPO`."""
    return answer(cli_publish.upload_job(options), options, cli_publish.uploaded)


def run_token(options: argparse.Namespace) -> int:
    """`token`: whose it is and where it is kept; never what it is."""
    if done := cli_publish.change_token(options):
        print(f"note: {done}", file=sys.stderr)
    return answer(cli_publish.account_job(options), options, cli_publish.account)


def run_library(options: argparse.Namespace) -> int:
    """`library`: what downloads have left on this computer."""
    return answer(cli_publish.library_job(options), options, cli_publish.library)


def run_trash(options: argparse.Namespace) -> int:
    """`trash PATH...`."""
    return answer(cli_publish.trash_job(options), options, cli_publish.trashed)


def run_jobs(options: argparse.Namespace) -> int:
    """`jobs`: the queue and the history, the latest last."""
    records = history()
    if options.json:
        print(json.dumps({"jobs": [_as_json(record) for record in records]}, ensure_ascii=False))
    else:
        print(text.jobs(records))
    return 0


def run_report(options: argparse.Namespace) -> int:
    """`report [RUN...] --out FILE`: what finished jobs found, as an HTML page."""
    ids = write_runs(options.runs, options.out)
    if options.json:
        print(json.dumps({"output": os.path.abspath(options.out), "runs": ids}, ensure_ascii=False))
    else:
        print(f"Wrote {len(ids)} {'result' if len(ids) == 1 else 'results'} to {options.out}")
    return 0


def _as_json(record: JobRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.job.kind,
        "state": record.state,
        "created": record.created,
        "started": record.started,
        "finished": record.finished,
        "job": record.job.model_dump(mode="json", by_alias=True),
        "progress": record.progress.model_dump(mode="json") if record.progress else None,
        "error": asdict(record.error) if record.error else None,
    }


def answer(
    job: Job, options: argparse.Namespace, show: Callable[[Any], str], recorder: Recorder | Recorders | None = None
) -> int:
    """Runs a job and prints its answer, as JSON or for people. Raises what the job raises."""
    check_report(options)
    result = run_job(job, recorder)
    save_report(result, options)
    print(result.model_dump_json(by_alias=True) if options.json else show(result), flush=True)
    return 0


# ---------------------------------------------------------------- arguments


def make_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="main.py",
        description="Shrink language models on your own computer, and see what it cost. "
        "Without a command, the window opens (--reset-settings: with its settings forgotten).",
    )
    parser.add_argument("--version", action="version", version=f"Bitwright {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, help_text, add_arguments, run in COMMANDS:
        command = commands.add_parser(name, help=help_text, description=help_text)
        add_arguments(command)
        if name in cli_hub.TAKE_MODELS:
            cli_hub.add_download_option(command)
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=run)
    return parser


def _inspect(parser: Parser) -> None:
    add_source(parser)
    add_converter_option(parser)


def _estimate(parser: Parser) -> None:
    add_source(parser)
    add_choice_options(parser)
    add_type_options(parser)
    add_importance_options(parser)
    add_split_options(parser)
    cli_estimate.add_run_options(parser)


def _verify(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .gguf file")


def _compare(parser: Parser) -> None:
    add_source(parser)
    parser.add_argument("other", metavar="OTHER", help="the model whose error is measured against SRC")


def _nothing(parser: Parser) -> None:
    """A command without arguments of its own."""


COMMANDS: tuple[
    tuple[str, str, Callable[[Parser], None], Callable[[argparse.Namespace], int]],
    ...,
] = (
    ("inspect", "architecture, parameters, tensors, metadata", _inspect, run_inspect),
    (
        "plan",
        "per-tensor plan, sizes, memory, fallbacks, reasons; writes nothing",
        cli_quantize.add_plan,
        run_plan,
    ),
    (
        "quantize",
        "quantize a model into GGUF files, one for each type, or into a checkpoint",
        cli_quantize.add_quantize,
        run_quantize,
    ),
    ("estimate", "memory to run a model, as it is and quantized, and what fits this computer", _estimate, run_estimate),
    ("verify", "re-open an output and check it", _verify, run_verify),
    ("compare", "per-tensor error between two models, in any two formats", _compare, run_compare),
    (
        "imatrix",
        "importance matrix: how much every column of the weights matters, from text",
        cli_imatrix.add_imatrix,
        run_imatrix,
    ),
    (
        "evaluate",
        "perplexity, KL divergence and agreement of models with their original on a text",
        cli_evaluate.add_evaluate_options,
        run_evaluate,
    ),
    (
        "sensitivity",
        "which parts of a model suffer most from a quantization, and what to keep in higher precision",
        cli_sensitivity.add_sensitivity_options,
        run_sensitivity,
    ),
    ("chat", "ask a model, or two, the same question", cli_chat.add_chat, run_chat),
    ("search", "find models on the Hugging Face Hub", cli_hub.add_search, run_search),
    ("page", "what the Hub says of a model: files, licence, revisions, card", cli_hub.add_page, run_page),
    ("download", "download a model from the Hub, or go on with it", cli_hub.add_download, run_download),
    ("upload", "publish a model on the Hub, with a card of how it was made", cli_publish.add_upload, run_upload),
    ("token", "whose token of the Hub is in use; keep or forget one", cli_publish.add_token, run_token),
    ("library", "what is in the Hub's cache, and what is unfinished", cli_publish.add_library, run_library),
    ("trash", "move models to the trash, with what else uses them named", cli_publish.add_trash, run_trash),
    ("jobs", "the queue and the history", _nothing, run_jobs),
    ("report", "what finished jobs found, as one HTML page with plots", add_runs, run_report),
)

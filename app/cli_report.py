"""Reports as HTML pages: `--report FILE` beside an answer, and `report` of runs in the history. Imports no Qt."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from app.cli_options import BadUsage
from core.errors import BitwrightError
from core.jobs import Value
from core.report.report import has_report, report, reports, write_page, write_report
from core.store import JobRecord, Store


def add_report_option(parser: argparse.ArgumentParser) -> None:
    """The option."""
    parser.add_argument(
        "--report", default="", metavar="FILE", help="writes the result as an HTML page with plots, too"
    )


def check_report(options: argparse.Namespace) -> None:
    """Raises BadUsage where the page could not be written, before any work."""
    if path := getattr(options, "report", ""):
        _check("--report", path)


def _check(option: str, path: str) -> None:
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise BadUsage(f"{option} {path} is no file in an existing folder", remedy="Name a file, such as report.html")


def save_report(result: Value, options: argparse.Namespace) -> None:
    """Writes the page where one was asked for. Raises OutputNotWritable."""
    if getattr(options, "report", ""):
        write_report(result, Path(options.report))


# ---------------------------------------------------------------- over the history


def add_runs(parser: argparse.ArgumentParser) -> None:
    """The arguments of `report`."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="the id of a finished job (see `jobs`); none: all of them"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the HTML page to write")


def write_runs(runs: Sequence[str], out: str) -> list[str]:
    """Writes the page of these finished jobs, () = of all; returns their ids. Raises BadUsage, OutputNotWritable."""
    _check("--out", out)
    records = history()
    chosen = [_found(run, records) for run in runs] or [each for each in records if has_report(each.result)]
    results = [each.result for each in chosen if each.result is not None]
    if not results:
        raise BadUsage("No finished job has a report", remedy="Quantize or measure something first")
    write_page(report(results[0]) if len(results) == 1 else reports(results, f"{len(results)} results"), Path(out))
    return [each.id for each in chosen]


def history() -> list[JobRecord]:
    """The queue and the history. Raises BitwrightError where it cannot be read."""
    try:
        return Store().jobs()
    except (sqlite3.Error, OSError) as error:
        raise BitwrightError("The job history cannot be read", str(error), "Check the data folder") from error


def _found(run: str, records: Sequence[JobRecord]) -> JobRecord:
    """The job of an id. Raises BadUsage where there is none, or none with a report."""
    found = next((each for each in records if each.id == run), None)
    if found is None:
        raise BadUsage(f"There is no job {run}", remedy="`jobs` lists them with their ids")
    if not has_report(found.result):
        why = "it has not ended well" if found.result is None else f"{found.job.kind} finds nothing to report"
        raise BadUsage(f"The job {run} has no report", why, "Name a finished quantization, evaluation or ranking")
    return found

"""`--report FILE`: the answer as an HTML page beside what is printed. Imports no Qt."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.cli_options import BadUsage
from core.jobs import Value
from core.report.report import write_report


def add_report_option(parser: argparse.ArgumentParser) -> None:
    """The option."""
    parser.add_argument(
        "--report", default="", metavar="FILE", help="writes the result as an HTML page with plots, too"
    )


def check_report(options: argparse.Namespace) -> None:
    """Raises BadUsage where the page could not be written, before any work."""
    path = getattr(options, "report", "")
    if path and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
        raise BadUsage(f"--report {path} is no file in an existing folder", remedy="Name a file, such as report.html")


def save_report(result: Value, options: argparse.Namespace) -> None:
    """Writes the page where one was asked for. Raises OutputNotWritable."""
    if getattr(options, "report", ""):
        write_report(result, Path(options.report))

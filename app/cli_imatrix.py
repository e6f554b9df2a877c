"""`imatrix`: its arguments, and the job they make. Imports no Qt."""

from __future__ import annotations

import argparse
import os

from app.cli_options import add_source, count
from core.jobs import ImatrixJob


def add_imatrix(parser: argparse.ArgumentParser) -> None:
    """The arguments of `imatrix`."""
    add_source(parser)
    add = parser.add_argument
    add("--out", required=True, metavar="PATH", help="the output file, or an existing folder for it")
    add("--text", action="append", default=[], metavar="FILE", help="a text in UTF-8, JSONL, or a dataset "
        "(dataset:OWNER/NAME); may be repeated; without one, "
        "the program's own texts are read: prose, code, chats and many languages")  # fmt: skip
    add("--context", type=count, default=512, metavar="N", help="length of a window in tokens (512)")
    add("--chunks", type=count, default=0, metavar="N", help="how many windows at most; 0, the default, takes all")
    add("--process-output", action="store_true", help="compute it for the output layer, too")
    add("--dry-run", action="store_true", help="say what it needs and how long it takes, and write nothing")
    add("--threads", type=count, default=0, metavar="N", help="0, the default, uses all cores")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (cpu)")


def asked_imatrix(options: argparse.Namespace) -> ImatrixJob:
    """The job that the arguments of `imatrix` ask for."""
    return ImatrixJob(
        source=os.path.abspath(options.source),
        output=os.path.abspath(options.out),
        text=tuple(options.text),
        context=options.context,
        chunks=options.chunks,
        process_output=options.process_output,
        threads=options.threads,
        device=options.device,
    )

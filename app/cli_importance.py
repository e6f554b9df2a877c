"""`--imatrix compute`: an importance matrix from the program's own texts, computed once for each state of a model."""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

from app.cli_running import run_job
from core.errors import OutputNotWritable
from core.jobs import ImatrixJob, ImatrixResult
from core.store import data_dir

COMPUTE = "compute"
TEXTS = Path(__file__).parents[1] / "resources" / "calibration"


def compute_where_asked(options: argparse.Namespace) -> None:
    """Puts the path of a computed matrix in the place of `compute`; computes it unless that was done before.

    Raises what an ImatrixJob raises, OutputNotWritable, and Cancelled.
    """
    if options.imatrix != COMPUTE:
        return
    source = os.path.abspath(options.source)
    path = data_dir() / "imatrix" / f"{Path(source).stem}-{state_of(Path(source))}.gguf"
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputNotWritable(str(path.parent), error.strerror or str(error)) from error
        job = ImatrixJob(
            source=source,
            output=str(path),
            threads=getattr(options, "threads", 0),
            device=getattr(options, "device", "cpu"),
        )
        assert isinstance(run_job(job), ImatrixResult)
    options.imatrix = str(path)


def state_of(source: Path) -> str:
    """A digest of what a matrix depends on: names, sizes and times of the model's files, and the texts."""
    digest = hashlib.sha256()
    files = sorted(source.iterdir()) if source.is_dir() else [source] if source.is_file() else []
    for file in files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    for text in sorted(TEXTS.iterdir()):
        digest.update(text.read_bytes())
    return digest.hexdigest()[:16]

"""What the window knows of each kind of job in the queue: its name, its command line, what comes of its answer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from PySide6.QtCore import QCoreApplication

from app import command_words as words
from core.hub.cache import repo_in
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    DownloadJob,
    EvaluateJob,
    ImatrixJob,
    Job,
    MethodOptions,
    QuantizeJob,
    QuantizeManyJob,
    SensitivityJob,
    UploadJob,
)

# Jobs of one lane run one after another, and lanes beside each other: what computes, and what waits for the network.
LaneName = Literal["compute", "network"]
LANES: tuple[LaneName, ...] = get_args(LaneName)


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job. title: a job in a few words. words: the command line for it, without the program.

    made: the paths, or one, that an answer tells of. models: they are models, which belong into the library. page: the
    key of the page that shows the answer, "" = none. goes_on: what it has done stays when it is stopped in any way, and
    the same job goes on there.
    """

    title: Callable[[Any], str]
    words: Callable[[Any], list[str]]
    made: Callable[[Any], tuple[str, ...]] = lambda answer: ()
    models: bool = False
    page: str = ""
    lane: LaneName = "compute"
    goes_on: bool = False


def title(job: Job) -> str:
    """A job in a few words: 'SmolLM2-135M → Q4_K_M'."""
    return KINDS[job.kind].title(job) if job.kind in KINDS else job.kind


def command(job: Job) -> str:
    """The command line that runs the same job. Raises KeyError for a kind that is never queued."""
    return shlex.join([sys.executable, str(Path(__file__).parents[1] / "main.py"), *KINDS[job.kind].words(job)])


def short(path: str) -> str:
    """A model's path as a name; a folder in the Hub's cache, named after a commit, has that of its model."""
    if path.endswith((".gguf", ".safetensors")):
        return Path(path).stem
    return repo_in(path).partition("/")[2] or Path(path).name


# ---------------------------------------------------------------- titles


def _quantize_title(job: QuantizeJob) -> str:
    return f"{short(job.source)} → {job.options.target}"


def _many_title(job: QuantizeManyJob) -> str:
    return f"{short(job.source)} → {', '.join(job.targets)}"


def _imatrix_title(job: ImatrixJob) -> str:
    return _tr("{0} → importance matrix").format(short(job.source))


def _checkpoint_title(job: CheckpointJob) -> str:
    return _method_title(job.source, job.options, (job.options.export,))


def _forms_title(job: CheckpointManyJob) -> str:
    return _method_title(job.source, job.options, job.exports)


def _method_title(source: str, options: MethodOptions, exports: tuple[str, ...]) -> str:
    words = [options.method, _tr("{0} bits").format(options.bits)] if options.bits else [options.method]
    forms = [] if exports == (options.method,) else exports
    return f"{short(source)} → {', '.join([*words, *forms])}"


def _evaluate_title(job: EvaluateJob) -> str:
    return _tr("{0} measured against {1}").format(", ".join(map(short, job.models)), short(job.source))


def _sensitivity_title(job: SensitivityJob) -> str:
    return _tr("Sensitivity of {0} to {1}").format(short(job.source), job.options.target)


def _download_title(job: DownloadJob) -> str:
    what = f"{job.repo}: {job.include[0]}" if len(job.include) == 1 else job.repo
    return _tr("Download {0}").format(what)


def _upload_title(job: UploadJob) -> str:
    return _tr("Publish {0} as {1}").format(short(job.source), job.repo)


def _tr(words: str) -> str:
    return QCoreApplication.translate("JobKinds", words)


KINDS: dict[str, JobKind] = {
    "quantize": JobKind(_quantize_title, words.quantize, lambda answer: (answer.output,), models=True, page="results"),
    "quantize_many": JobKind(
        _many_title,
        words.quantize_many,
        lambda answer: tuple(result.output for result in answer.results),
        models=True,
        page="results",
    ),
    "checkpoint": JobKind(
        _checkpoint_title, words.checkpoint, lambda answer: (answer.output,), models=True, page="results"
    ),
    "checkpoint_many": JobKind(
        _forms_title,
        words.checkpoint_many,
        lambda answer: tuple(result.output for result in answer.results),
        models=True,
        page="results",
    ),
    "imatrix": JobKind(_imatrix_title, words.imatrix, lambda answer: (answer.output,)),
    "evaluate": JobKind(_evaluate_title, words.evaluate, page="results"),
    "sensitivity": JobKind(_sensitivity_title, words.sensitivity, page="results"),
    "download": JobKind(
        _download_title,
        words.download,
        lambda answer: (answer.folder,),
        models=True,
        lane="network",
        goes_on=True,
    ),
    "upload": JobKind(_upload_title, words.upload, lane="network"),
}

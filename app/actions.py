"""What a user can ask for, as functions that return a runnable job or the words for one; no widgets, no processes."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QCoreApplication

from app.settings import Settings
from core.catalog import output_name
from core.jobs import ImatrixJob, Job, QuantizeJob, QuantizeManyJob, QuantizeOptions
from core.recipe_file import part_words
from core.store import data_dir


def imatrix_path(source: str, text: tuple[str, ...]) -> Path:
    """Where the importance matrix of a model is kept that is computed from these texts, () = the program's own.

    Another model, or another text, has another file: both are known by path, size and time of change.
    """
    told = []
    for path in map(Path, (source, *text)):
        facts = path.stat() if path.exists() else None
        told.append(f"{path.absolute()} {facts and (facts.st_size, facts.st_mtime_ns)}")
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()[:10]
    return data_dir() / "imatrix" / f"{_short(source)}-{digest}.gguf"


def imatrix_job(source: str, text: tuple[str, ...], settings: Settings) -> ImatrixJob:
    """Computes the importance matrix of a model into the place where it is kept."""
    output = str(imatrix_path(source, text))
    return ImatrixJob(source=source, output=output, text=text, threads=settings.value("threads"))


def quantize_job(
    source: str, outputs: dict[str, str], options: QuantizeOptions, settings: Settings
) -> QuantizeJob | QuantizeManyJob:
    """A quantization with the threads of the settings; outputs: the path for each target. Several are one pass."""
    threads = settings.value("threads")
    if len(outputs) > 1:
        targets, paths = tuple(outputs), tuple(outputs.values())
        return QuantizeManyJob(source=source, targets=targets, outputs=paths, options=options, threads=threads)
    (output,) = outputs.values()
    return QuantizeJob(source=source, output=output, options=options, threads=threads)


def proposed_output(source: str, target: str, settings: Settings, is_taken: Callable[[str], bool]) -> str:
    """Where the result goes unless the user says otherwise: NAME-TARGET.gguf, never an existing file.

    Nor one that `is_taken` says a job in the queue will write.
    """
    first = candidate = output_folder(source, settings) / output_name(Path(source), target)
    number = 2
    while candidate.exists() or is_taken(str(candidate)):
        candidate = first.with_name(f"{first.stem}-{number}.gguf")
        number += 1
    return str(candidate)


def output_folder(source: str, settings: Settings) -> Path:
    """The folder of the settings, else the source's, else (where that cannot be written) the home folder."""
    chosen = settings.value("output_folder")
    folder = Path(chosen) if chosen else Path(source).parent
    return folder if chosen or _is_writable(folder) else Path.home()


def _is_writable(folder: Path) -> bool:
    """Whether a user's file belongs there; installed packages are not a place for them, even where root may write."""
    return folder.is_dir() and os.access(folder, os.W_OK) and "site-packages" not in folder.parts


def title(job: Job) -> str:
    """A job in a few words: 'SmolLM2-135M → Q4_K_M'."""
    if isinstance(job, QuantizeJob):
        return f"{_short(job.source)} → {job.options.target}"
    if isinstance(job, QuantizeManyJob):
        return f"{_short(job.source)} → {', '.join(job.targets)}"
    if isinstance(job, ImatrixJob):
        return QCoreApplication.translate("Actions", "{0} → importance matrix").format(_short(job.source))
    return job.kind


def _short(path: str) -> str:
    return Path(path).stem if path.endswith((".gguf", ".safetensors")) else Path(path).name


def command(job: Job) -> str:
    """The command line that runs the same job. Raises ValueError for a kind that has no command."""
    if isinstance(job, ImatrixJob):
        words = _imatrix_words(job)
    elif isinstance(job, QuantizeJob | QuantizeManyJob):
        words = _quantize_words(job)
    else:
        raise ValueError(f"a {job.kind} job has no command")
    return shlex.join([sys.executable, str(Path(__file__).parents[1] / "main.py"), *words])


def _imatrix_words(job: ImatrixJob) -> list[str]:
    words = ["imatrix", job.source, "--out", job.output]
    for path in job.text:
        words += ["--text", path]
    return words + (["--threads", str(job.threads)] if job.threads else [])


def _quantize_words(job: QuantizeJob | QuantizeManyJob) -> list[str]:
    targets, out = (job.options.target, job.output) if isinstance(job, QuantizeJob) else _several(job)
    words = ["quantize", job.source, "--to", targets, "--out", out]
    words += _option_words(job.options)
    words += ["--threads", str(job.threads)] if job.threads else []
    words += ["--device", job.device] if job.device != "cpu" else []
    return words


def _several(job: QuantizeManyJob) -> tuple[str, str]:
    """The types, and the folder in which every file is named after its type (output_name)."""
    return ",".join(job.targets), str(Path(job.outputs[0]).parent)


def _option_words(options: QuantizeOptions) -> list[str]:
    words: list[str] = []
    for override in options.overrides:
        words += ["--tensor-type", f"{override.tensor}={override.type}"]
    for entry in options.override_kv:
        words += ["--override-kv", f"{entry.key}={entry.type}:{entry.value}"]
    for name in ("output_tensor_type", "token_embedding_type", "imatrix", "converter"):
        words += [_option(name), getattr(options, name)] if getattr(options, name) else []
    for name in ("include_weights", "exclude_weights"):
        for part in getattr(options, name):
            words += [_option(name), part]
    if options.prune_layers:
        words += ["--prune-layers", ",".join(map(str, options.prune_layers))]
    words += ["--fit", options.fit] if options.fit != "fast" else []
    if options.split_max_bytes:
        words += ["--split-max-size", part_words(options.split_max_bytes)]
    flags = ("leave_output_tensor", "pure", "strict", "allow_requantize", "keep_split")
    return words + [_option(name) for name in flags if getattr(options, name)]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"

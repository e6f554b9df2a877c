"""What a user can ask for, as functions that return a job that can run; no widgets, no processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from app.computing import Computing, Fields
from app.job_kinds import short
from app.settings import Settings
from core.catalog import output_name
from core.hub.cache import repo_in
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    ImatrixJob,
    MethodOptions,
    QuantizeJob,
    QuantizeManyJob,
    QuantizeOptions,
)
from core.methods.table import METHOD, Choice, label
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
    return data_dir() / "imatrix" / f"{short(source)}-{digest}.gguf"


def imatrix_job(source: str, text: tuple[str, ...], computing: Computing) -> ImatrixJob:
    """Computes the importance matrix of a model into the place where it is kept."""
    return ImatrixJob(source=source, output=str(imatrix_path(source, text)), text=text, **computing.for_layers)


def quantize_job(
    source: str, outputs: dict[str, str], options: QuantizeOptions, computed: Fields
) -> QuantizeJob | QuantizeManyJob:
    """A quantization; outputs: the path for each target, several are one pass. computed: with what."""
    if len(outputs) > 1:
        targets, paths = tuple(outputs), tuple(outputs.values())
        return QuantizeManyJob(source=source, targets=targets, outputs=paths, options=options, **computed)
    (output,) = outputs.values()
    return QuantizeJob(source=source, output=output, options=options, **computed)


def checkpoint_job(
    source: str, output: str, options: MethodOptions, computed: Fields
) -> CheckpointJob | CheckpointManyJob:
    """A checkpoint; several forms are one job, and `output` the folder of all. computed: with what."""
    if not options.beside:
        return CheckpointJob(source=source, output=output, options=options, **computed)
    exports, first = (options.export, *options.beside), options.model_copy(update={"beside": ()})
    return CheckpointManyJob(source=source, output=output, exports=exports, options=first, **computed)


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


def proposed_checkpoint(
    source: str, choice: Choice, forms: Sequence[str], settings: Settings, is_taken: Callable[[str], bool]
) -> str:
    """The same for a checkpoint, a folder: NAME-METHOD, with the form where it is a single one, not the usual."""
    said = [] if len(forms) > 1 or choice.export == METHOD[choice.method].exports[0] else [choice.export]
    name = "-".join([Path(source).name, *label(choice).replace(",", "").split(), *said])
    first = candidate = output_folder(source, settings) / name
    number = 2
    while candidate.exists() or is_taken(str(candidate)):
        candidate = first.with_name(f"{name}-{number}")
        number += 1
    return str(candidate)


def output_folder(source: str, settings: Settings) -> Path:
    """The folder of the settings, else the source's, else (where that cannot be written) the home folder."""
    chosen = settings.value("output_folder")
    folder = Path(chosen) if chosen else Path(source).parent
    is_place = _is_writable(folder) and not repo_in(source)  # the cache is for what comes from the Hub
    return folder if chosen or is_place else Path.home()


def _is_writable(folder: Path) -> bool:
    """Whether a user's file belongs there; installed packages are not a place for them, even where root may write."""
    return folder.is_dir() and os.access(folder, os.W_OK) and "site-packages" not in folder.parts

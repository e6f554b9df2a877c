"""What is known of a model on this computer for its card: the jobs that made and measured it, its origin, its form."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BitwrightError
from core.families.model_card import front_matter
from core.formats.json_file import read_json_object
from core.hub.cache import cache_root, cached_repos
from core.jobs import CheckpointJob, EvaluateResult, Job, ModelEvaluation, QuantizeJob, QuantizeManyJob, QuantizeResult
from core.methods.table import EXPORT
from core.sources import open_source
from core.store import JobRecord, Store

# What config.json calls the forms that core.methods.table calls otherwise.
_METHODS = {"compressed-tensors": "compressed-tensors", "gptq": "gptq", "awq": "awq", "bitsandbytes": "bitsandbytes",
            "bitnet": "bitnet"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """A model. type: of its weights. base: the Hub's id of what it was made from, "" where that is not known.

    export: a name of core.methods.table for a checkpoint, "" for GGUF. job, result: that made it; evaluation and what
    it was measured on: the latest; None where none is known. options of `job` say how.
    """

    path: Path
    form: str
    type: str
    name: str
    license: str
    base: str
    export: str = ""
    job: Job | None = None
    result: QuantizeResult | None = None
    evaluation: ModelEvaluation | None = None
    measured: EvaluateResult | None = None


def known_of(path: Path) -> Known:
    """Raises what open_source raises for a file; of a folder of a family that is not read here less is known."""
    records = _records()
    job, result = _made(records, path)
    evaluation, measured = _evaluated(records, path)
    name, model_license, type_name = _described(path)
    form = "gguf" if path.is_file() else "safetensors"
    return Known(
        path=path,
        form=form,
        type=result.target if result and form == "gguf" else type_name,
        name=name,
        license=model_license or (_license_of(result.source) if result else ""),
        base=hub_id_of(Path(result.source)) if result else "",
        export=_export(path) if path.is_dir() else "",
        job=job,
        result=result,
        evaluation=evaluation,
        measured=measured,
    )


def results_by_hash() -> dict[str, QuantizeResult]:
    """The results of the history by the SHA-256 of what they made."""
    return {result.sha256: result for record in _records() for result in _results(record) if result.sha256}


def hub_id_of(path: Path) -> str:
    """The id of the model in the Hub's cache that a path belongs to, or ''."""
    for cache in cached_repos(cache_root()):
        if path.is_relative_to(cache.folder):
            return cache.repo
    return ""


def _records() -> list[JobRecord]:
    """Finished jobs, the latest first."""
    with contextlib.suppress(sqlite3.Error, OSError):
        return list(reversed(Store().jobs("done")))
    return []


def _results(record: JobRecord) -> Iterable[QuantizeResult]:
    if isinstance(record.result, QuantizeResult):
        yield record.result
    else:
        yield from getattr(record.result, "results", ())


def _made(records: list[JobRecord], path: Path) -> tuple[Job | None, QuantizeResult | None]:
    """The job whose output a path is, as long as it is of the size that the job left."""
    for record in records:
        for result in _results(record):
            if os.path.realpath(result.output) == os.path.realpath(path) and _bytes(path) in (None, result.bytes):
                return record.job, result
    return None, None


def _bytes(path: Path) -> int | None:
    """A file's size; None for a folder and for one part of several, whose sizes the result has together."""
    return None if path.is_dir() or "-of-" in path.name else path.stat().st_size


def _evaluated(records: list[JobRecord], path: Path) -> tuple[ModelEvaluation | None, EvaluateResult | None]:
    for record in records:
        if isinstance(record.result, EvaluateResult):
            for model in record.result.models:
                if os.path.realpath(model.model) == os.path.realpath(path):
                    return model, record.result
    return None, None


def _described(path: Path) -> tuple[str, str, str]:
    """Name, licence and type, as the files say."""
    from core.inspection import type_of  # takes a while to import

    try:
        with open_source(path) as source:
            return source.name, source.license, type_of(source)
    except BitwrightError:
        if path.is_file():
            raise
        return path.name, _license_of(str(path)), ""


def _license_of(source: str) -> str:
    folder = Path(source)
    return front_matter(folder if folder.is_dir() else folder.parent).get("license", "")


def _export(folder: Path) -> str:
    """The form of a checkpoint under the name of core.methods.table, or ''."""
    config: dict[str, Any] = {}
    with contextlib.suppress(BitwrightError):
        config = read_json_object(folder / "config.json")
    quantization = config.get("quantization_config")
    name = _METHODS.get(str(quantization.get("quant_method")), "") if isinstance(quantization, dict) else ""
    return name if name in EXPORT else ""


def settings_of(job: Job | None) -> list[tuple[str, str]]:
    """How a job quantized, as rows for people."""
    if isinstance(job, CheckpointJob) or not isinstance(job, QuantizeJob | QuantizeManyJob):
        return []
    options = job.options
    rows = [
        (
            "Codes searched",
            {"fast": "as ggml does", "reference": "ggml's own bytes", "best": "farther than ggml does"}[options.fit],
        )
    ]
    rows += [("Importance matrix", Path(options.imatrix).name)] if options.imatrix else []
    for words, value in (("Output layer", options.output_tensor_type), ("Embedding", options.token_embedding_type)):
        rows += [(words, value)] if value else []
    rows += (
        [("Own types", ", ".join(f"`{one.tensor}`: {one.type}" for one in options.overrides))]
        if options.overrides
        else []
    )
    rows += [("Dropped layers", ", ".join(map(str, options.prune_layers)))] if options.prune_layers else []
    rows += [("One type for all", "yes")] if options.pure else []
    return rows

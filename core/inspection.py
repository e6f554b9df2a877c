"""What a model is, from its headers alone, and which models lie in a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from core.catalog import ALL_MIXES, SAMPLE_NAME, sample_path
from core.errors import BitwrightError
from core.formats.gguf_layout import PackedArray
from core.formats.torch_reader import is_torch_weights
from core.hub.hollow import headers_at
from core.hub.names import REMOTE
from core.jobs import (
    InspectJob,
    MetadataRow,
    ModelSummary,
    ScanJob,
    ScanProblem,
    ScanResult,
    TensorInfo,
)
from core.progress import Progress
from core.sources import KeyValue, Source, open_source
from core.sources.converter import open_or_convert

if TYPE_CHECKING:
    pass

MAX_TEXT = 300
MAX_ITEMS = 8
MAX_DEPTH = 8
MAX_FOLDERS = 20_000
# general.type of GGUF files that are no models to run or quantize.
OTHER_CONTENTS = frozenset({"imatrix", "adapter", "mmproj"})

FILE_TYPES: dict[int, str] = {mix.file_type: mix.name for mix in ALL_MIXES}

# Architectures in words; one that is not listed is shown under its GGUF name.
LABELS: dict[str, str] = {
    "llama": "Llama",
    "llama4": "Llama 4",
    "qwen2": "Qwen 2",
    "qwen2moe": "Qwen 2 MoE",
    "qwen3": "Qwen 3",
    "qwen3moe": "Qwen 3 MoE",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3",
    "phi2": "Phi 2",
    "phi3": "Phi 3",
    "gpt2": "GPT-2",
    "gptneox": "GPT-NeoX",
    "falcon": "Falcon",
    "bloom": "BLOOM",
    "mamba": "Mamba",
    "deepseek2": "DeepSeek 2",
    "granite": "Granite",
    "bitnet": "BitNet",
    "smollm3": "SmolLM 3",
    "starcoder2": "StarCoder 2",
    "olmo2": "OLMo 2",
}


def inspect(job: InspectJob, progress: Progress) -> ModelSummary:
    """Everything the headers of a model say, here or on the Hub. Raises what headers_at and open_or_convert raise."""
    progress.stage("Reading headers")
    with (
        headers_at(job.source, progress) as path,
        open_or_convert(path, job.converter, Path(gettempdir()), progress) as source,
    ):
        summary = summarize(source)
        if job.source.startswith(REMOTE):
            summary = summary.model_copy(update={"path": job.source})
        tensors = tuple(
            TensorInfo(name=t.name, shape=t.shape, type=t.stored_type, elements=t.elements, bytes=t.stored_bytes)
            for t in source.tensors
        )
        rows = tuple(MetadataRow(key=row.key, type=row.type, value=as_text(row.value)) for row in source.header_rows)
        return summary.model_copy(update={"tensors": tensors, "metadata": rows})


def summarize(source: Source) -> ModelSummary:
    """The summary of an opened model, without its tensors and metadata."""
    parameters = sum(tensor.elements for tensor in source.tensors)
    weight_bytes = sum(tensor.stored_bytes for tensor in source.tensors)
    sample = sample_path()
    is_sample = sample is not None and os.path.realpath(source.path) == os.path.realpath(sample)
    hyper = source.hyper
    return ModelSummary(
        path=str(source.path),
        format=source.format,
        name=SAMPLE_NAME if is_sample else source.name,
        architecture=source.architecture,
        label=label_of(source),
        type=type_of(source),
        parameters=parameters,
        bytes=source.file_bytes,
        bits_per_weight=8 * weight_bytes / parameters if parameters else 0.0,
        layers=hyper.layers,
        context_length=hyper.context_length,
        embedding_length=hyper.embedding_length,
        heads=hyper.heads,
        kv_heads=hyper.kv_heads,
        vocabulary=hyper.vocabulary,
        license=source.license,
        has_chat_template=source.has_chat_template,
        is_sample=is_sample,
    )


def label_of(source: Source) -> str:
    """The architecture in words: 'Llama, 30 layers', 'Llama, 32 layers, 8 experts'."""
    parts = [LABELS.get(source.architecture, source.architecture or "Unknown architecture")]
    if source.hyper.layers:
        parts.append(f"{source.hyper.layers} layers")
    if source.hyper.experts:
        parts.append(f"{source.hyper.experts} experts")
    return ", ".join(parts)


def type_of(source: Source) -> str:
    """The mix the file says it is, or how another program quantized it, else the type of most of its weights."""
    if source.quantization:
        return source.quantization
    said = next((row.value for row in source.header_rows if row.key == "general.file_type"), None)
    if isinstance(said, int) and said in FILE_TYPES:
        return FILE_TYPES[said]
    weights: Counter[str] = Counter()
    for tensor in source.tensors:
        weights[tensor.type] += tensor.elements
    return weights.most_common(1)[0][0] if weights else ""


def as_text(value: Any) -> str:
    """A metadata value as text; long lists and long texts are cut with an ellipsis."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        first = value.head(MAX_ITEMS) if isinstance(value, PackedArray) else value[:MAX_ITEMS]
        text = ", ".join(str(item) for item in first)
        return f"[{len(value)}] {_cut(text)}{', …' if len(value) > MAX_ITEMS else ''}"
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


# ---------------------------------------------------------------- scanning folders


def scan(job: ScanJob, progress: Progress) -> ScanResult:
    """The models below some folders, and those that look like one and cannot be read. Never raises for one file."""
    progress.stage("Looking for models", unit="models")
    models: list[ModelSummary] = []
    problems: list[ScanProblem] = []
    for count, path in enumerate(_without_repeats(job.paths)):
        progress.update(count, path.name)
        try:
            with open_source(path) as source:
                if _general_type(source.header_rows) not in OTHER_CONTENTS:
                    models.append(summarize(source))
        except BitwrightError as error:
            problems.append(ScanProblem(path=str(path), problem=error.why or error.what))
    return ScanResult(models=tuple(models), problems=tuple(problems))


def _without_repeats(paths: Sequence[str]) -> Iterator[Path]:
    seen: set[str] = set()
    for text in paths:
        for candidate in candidates(Path(text)):
            real = os.path.realpath(candidate)
            if real not in seen:
                seen.add(real)
                yield candidate


def candidates(path: Path) -> Iterator[Path]:
    """What looks like a model at or below a path: .gguf files (the first part of a split one) and model folders.

    Follows links to folders, each folder once, to a bounded depth and number of folders; hidden ones are left out.
    """
    if not path.is_dir():
        yield path
        return
    visited: set[str] = set()
    pending = [(path, 0)]
    while pending and len(visited) < MAX_FOLDERS:
        folder, depth = pending.pop()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        files, folders = _entries(folder)
        if "config.json" in files and any(name.endswith(".safetensors") or is_torch_weights(name) for name in files):
            yield folder
        yield from (folder / name for name in files if name.lower().endswith(".gguf") and is_first_part(name))
        if depth < MAX_DEPTH:
            pending += [(folder / name, depth + 1) for name in reversed(folders)]


def is_first_part(name: str) -> bool:
    """Whether a file name is not that of a later part of a split model ('…-00002-of-00003.gguf')."""
    parts = name.rsplit(".", 1)[0].rsplit("-", 3)
    later = len(parts) == 4 and parts[2] == "of" and parts[1].isdigit() and parts[3].isdigit() and int(parts[1]) > 1
    return not later


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """The names of files and of folders in a folder, sorted; nothing where it may not be read."""
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError:
        return [], []
    return sorted(files), sorted(folders)


def _general_type(rows: Sequence[KeyValue]) -> str:
    return next((str(row.value) for row in rows if row.key == "general.type"), "model")

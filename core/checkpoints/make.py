"""Makes checkpoints: reads, quantizes, measures and writes one tensor after another, verifies, then names the folder.

Nothing is decided here; core.checkpoints.decide did. Memory holds one matrix, whatever the size of the model.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from core import memory
from core.checkpoints import card
from core.checkpoints.beforehand import Beforehand, beforehand, solved
from core.checkpoints.decide import FLOATS, RUN_BYTES, Decided, Item, decide, index_of
from core.checkpoints.experts import coverage
from core.checkpoints.figures import clipping
from core.checkpoints.findings import Findings
from core.checkpoints.folds import FoldedSource
from core.checkpoints.gguf_files import planned_file, write_file
from core.checkpoints.layouts import LAYOUTS, input_arrays, stored_floats
from core.checkpoints.settings import check_together, settled
from core.checkpoints.source import CheckpointSource, carried_files
from core.cuda import require_cuda
from core.errors import (
    IllegalMethod,
    InvalidHeader,
    NonFiniteWeights,
    OutputIsSource,
    ReadFailed,
    TruncatedFile,
    ValuesTooLarge,
    VerificationFailed,
)
from core.formats.atomic_folder import AtomicFolder, Folder
from core.formats.file_rows import RangeReader
from core.formats.safetensors_reader import StoredTensor, read_header
from core.formats.safetensors_writer import SafetensorsWriter, Slot
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    CheckpointManyResult,
    CheckpointResult,
    ClippingFigures,
    LayerFigures,
    QuantizeJob,
    QuantizeResult,
)
from core.leftovers import layers_folder
from core.metrics import figures, tensor_result
from core.progress import Progress
from kernels import dispatch
from kernels.measure import ErrorSums

ROOM_FOR_SMALL_FILES = 64 << 20
HASH_BYTES = 4 << 20
Sums = dict[str, ErrorSums]


def quantize(job: CheckpointJob, progress: Progress) -> CheckpointResult:
    """Makes a checkpoint; the folder appears under its name only when everything in it is verified.

    Raises what CheckpointSource, settled, decide and AtomicFolder raise, OutputIsSource, NonFiniteWeights,
    ValuesTooLarge, VerificationFailed, Cancelled.
    """
    (made,) = _made(job.output, (job,), progress, _itself)
    assert isinstance(made, CheckpointResult)
    return made


def quantize_many(job: CheckpointManyJob, progress: Progress) -> CheckpointManyResult:
    """Makes a folder of checkpoints that hold the same numbers in several forms. Raises what quantize raises."""
    check_together(job.exports)
    return CheckpointManyResult(results=_made(job.output, job.jobs, progress, _inside))


def _itself(folder: AtomicFolder, job: CheckpointJob) -> Folder:
    return folder


def _inside(folder: AtomicFolder, job: CheckpointJob) -> Folder:
    return folder.folder(job.options.export)


def _made(
    output: str,
    all_jobs: Sequence[CheckpointJob | QuantizeJob],
    progress: Progress,
    place: Callable[[AtomicFolder, CheckpointJob], Folder],
) -> tuple[QuantizeResult, ...]:
    """The checkpoints of jobs that differ in their form: layers are solved once, each form is written and verified.

    output: the folder of all. place: what of it is a job's own. Those that make GGUF files of the folders come last.
    """
    began = time.monotonic()
    memory.reset_peak()
    progress.stage("Planning")
    jobs = [job for job in all_jobs if isinstance(job, CheckpointJob)]
    files = [job for job in all_jobs if isinstance(job, QuantizeJob)]
    settings = [settled(job.options) for job in jobs]
    target, first = Path(os.path.abspath(output)), jobs[0]
    if first.threads:
        torch.set_num_threads(first.threads)
    with CheckpointSource(Path(first.source)) as source:
        forms = [decide(source, own) for own in settings]
        _check_device(first, forms[0])
        if target.exists() and target.samefile(source.path):
            raise OutputIsSource(str(target))
        needed = sum(form.plan.bytes for form in forms) + sum(
            planned_file(forms[0], job.options.target).bytes for job in files
        )
        layers = layers_folder(target)
        room = needed + ROOM_FOR_SMALL_FILES * len(all_jobs)
        with AtomicFolder(target, room) as folder:
            solutions = solved(first, source, forms[0], layers, progress)
            with nullcontext() if solutions is None else solutions.until_stopped(keep=first.keep_unfinished):
                written = [
                    _write(source, form, beforehand(form, solutions), place(folder, job), progress)
                    for job, form in zip(jobs, forms, strict=True)
                ]
                seconds = time.monotonic() - began
                found: dict[str, QuantizeResult] = {
                    job.output: _result(job, form, *parts, seconds)
                    for job, form, parts in zip(jobs, forms, written, strict=True)
                }
                found |= {job.output: write_file(job, folder, progress) for job in files}
            folder.commit()
        shutil.rmtree(layers, ignore_errors=True)
        return tuple(found[job.output] for job in all_jobs)


def _write(
    source: CheckpointSource, decided: Decided, before: Beforehand, folder: Folder, progress: Progress
) -> tuple[_Measures, str]:
    """One checkpoint into its folder: what was measured, and the SHA-256 of its weights."""
    work = _Work(FoldedSource(source, before.changes), decided, before)
    measures, checksums = _write_weights(work, folder, progress)
    _write_rest(source, decided, folder, measures)
    return measures, _verify(decided, folder.path, checksums, progress)


def _check_device(job: CheckpointJob, decided: Decided) -> None:
    """Raises DeviceNotAvailable, and IllegalMethod for a device that would have nothing to do."""
    if job.device == "cuda":
        if not decided.is_calibrated:
            method = decided.settings.choice.method
            raise IllegalMethod(f"{method} is computed on the processor", "it needs no text", "Leave --device out")
        require_cuda()


@dataclass(slots=True)
class _Measures:
    """What is known of a job's tensors: error sums by their names, ranges of matrices, what was found beforehand."""

    found: tuple[Findings, ...]
    sums: Sums = field(default_factory=dict)
    clipping: list[ClippingFigures] = field(default_factory=list)

    @property
    def layers(self) -> tuple[LayerFigures, ...]:
        """What became of every matrix that was solved."""
        return tuple(figures for layer in self.found for figures in layer.layers)

    def take(self, item: Item, sums: ErrorSums, clipping: ClippingFigures | None) -> None:
        """Of one tensor."""
        self.sums[item.entry.name] = sums
        if clipping is not None:
            self.clipping.append(clipping)


@dataclass(frozen=True, slots=True)
class _Work:
    """What tensors are made from: their numbers after folding, what becomes of each, and what is known of it."""

    source: FoldedSource
    decided: Decided
    before: Beforehand


def _write_weights(work: _Work, folder: Folder, progress: Progress) -> tuple[_Measures, dict[str, int]]:
    """Every tensor in the order of the source's files: what was measured, and CRC-32 by output name."""
    decided = work.decided
    stage = "Packing" if decided.is_calibrated else "Quantizing"
    progress.stage(stage, sum(item.entry.stored.bytes for item in decided.items))
    measures = _Measures(work.before.found)
    checksums: dict[str, int] = {}
    done = 0
    for number, name in enumerate(decided.files):
        with folder.file(name) as out:
            writer = SafetensorsWriter(out, decided.slots_of(number))
            for item in (item for item in decided.items if item.entry.file == number):
                progress.update(done, item.entry.name)
                measures.take(item, *_write_item(work, item, writer))
                done += item.entry.stored.bytes
            writer.finish()
            checksums |= writer.checksums
    progress.update(done)
    return measures, checksums


def _write_item(work: _Work, item: Item, writer: SafetensorsWriter) -> tuple[ErrorSums, ClippingFigures | None]:
    if item.matrix is not None:
        return _write_matrix(work, item, writer)
    source, slot, stored = work.source, item.slots[0], item.entry.stored
    if stored.dtype not in FLOATS:
        writer.append_parts(slot.name, source.runs_of(item.entry, RUN_BYTES))
        return ErrorSums(n=item.row.elements), None
    measured: list[ErrorSums] = []

    def written() -> Iterator[np.ndarray[Any, Any]]:
        for raw in source.runs_of(item.entry, RUN_BYTES):
            x = dispatch.decode(stored.dtype, raw, stored.shape[-1] if stored.shape else 1)
            data = raw if slot.dtype == stored.dtype else stored_floats(x, slot.dtype)
            measured.append(dispatch.measure(x, dispatch.decode(slot.dtype, data, x.shape[1])))
            yield data

    writer.append_parts(slot.name, written())
    return sum(measured, ErrorSums()), None


def _write_matrix(work: _Work, item: Item, writer: SafetensorsWriter) -> tuple[ErrorSums, ClippingFigures | None]:
    """Quantizes one matrix. Raises NonFiniteWeights, ValuesTooLarge."""
    assert item.matrix is not None
    assert item.settings is not None
    settings, path = item.settings, str(work.source.path)
    w = work.source.numbers(item.entry)
    if not np.isfinite(w).all():
        raise NonFiniteWeights(path, item.entry.name)
    layout = LAYOUTS[settings.choice.export]
    made = layout.held(item.matrix, work.before.maker(item, w))
    sums = dispatch.measure(w, made.values())
    if not math.isfinite(sums.squared_y):
        raise ValuesTooLarge(path, item.entry.name, settings.choice.export)
    arrays = layout.arrays(settings, item.matrix, made)
    if settings.is_static:
        arrays += input_arrays(settings, item.matrix, work.before.input_ranges[item.entry.name])
    for slot, array in zip(item.slots, arrays, strict=True):
        writer.append(slot.name, array)
    return sums, clipping(item, w, made)


def _write_rest(source: CheckpointSource, decided: Decided, folder: Folder, measures: _Measures) -> None:
    """config.json with the quantization, the index of the files, the model card, and what is carried over."""
    choice = decided.settings.choice
    config = dict(source.config)
    quantization = LAYOUTS[choice.export].config(decided.contents)
    if quantization:
        config["quantization_config"] = quantization
    else:
        config.pop("torch_dtype", None)
        config["dtype"] = "bfloat16"
    for path in carried_files(source.path):
        with folder.explained():
            (folder.path / path).parent.mkdir(exist_ok=True)
            shutil.copyfile(source.path / path, folder.path / path)
    words = card.model_card(source, decided, figures(_sum(measures.sums)), measures.layers)
    texts = {"config.json": _json(config), card.NAME: words}
    if choice.export == "gptq":
        texts["quantize_config.json"] = _json(quantization)
    index = index_of(decided)
    if index is not None:
        texts[index[0]] = _json(index[1])
    for name, text in texts.items():
        with folder.file(name) as out:
            out.write(text.encode())


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _verify(decided: Decided, folder: Path, checksums: Mapping[str, int], progress: Progress) -> str:
    """Re-opens every file of weights with the safetensors library and compares it; the SHA-256 of all of them.

    Raises VerificationFailed.
    """
    progress.stage("Verifying", sum((folder / name).stat().st_size for name in decided.files))
    done, digest = 0, hashlib.sha256()
    for number, name in enumerate(decided.files):
        path = folder / name
        _compare(path, {slot.name: slot for slot in decided.slots_of(number)}, checksums, progress, done)
        with path.open("rb") as file:
            while data := file.read(HASH_BYTES):
                digest.update(data)
                done += len(data)
                progress.update(done, name)
    return digest.hexdigest()


def _compare(
    path: Path, slots: Mapping[str, Slot], checksums: Mapping[str, int], progress: Progress, done: int
) -> None:
    """What tensors the file holds, the library says; their data are read run by run, not mapped as a whole."""
    try:
        with safe_open(path, framework="np") as file:
            if set(file.keys()) != set(slots):
                raise VerificationFailed(str(path), "it does not hold the tensors that were written")
            for name, slot in slots.items():
                found = file.get_slice(name)
                if (tuple(found.get_shape()), found.get_dtype()) != (slot.shape, slot.dtype):
                    raise VerificationFailed(str(path), f"{name} is not what was written")
        with closing(RangeReader(path)) as reader:
            for stored in read_header(path).tensors:
                progress.update(done, stored.name)
                if _checksum(reader, stored) != checksums[stored.name]:
                    raise VerificationFailed(str(path), f"{stored.name} is not what was written")
    except (SafetensorError, OSError, ReadFailed, TruncatedFile, InvalidHeader) as error:
        raise VerificationFailed(str(path), str(error)) from error


def _checksum(reader: RangeReader, stored: StoredTensor) -> int:
    checksum = 0
    for first in range(0, stored.bytes, HASH_BYTES):
        data = reader.read(stored.offset + first, min(HASH_BYTES, stored.bytes - first))
        checksum = zlib.crc32(data.data, checksum)
    return checksum


def _sum(sums: Sums) -> ErrorSums:
    return sum(sums.values(), ErrorSums())


def _result(job: CheckpointJob, decided: Decided, measures: _Measures, digest: str, seconds: float) -> CheckpointResult:
    plan, sums = decided.plan, measures.sums
    elements = sum(row.elements for row in plan.tensors)
    return CheckpointResult(
        source=plan.source,
        output=os.path.abspath(job.output),
        target=plan.target,
        architecture=plan.architecture,
        source_bytes=plan.source_bytes,
        bytes=plan.bytes,
        bpw_before=8 * sum(row.source_bytes for row in plan.tensors) / elements,
        bpw=plan.bits_per_weight,
        seconds=seconds,
        peak_memory_bytes=memory.peak_bytes(),
        sha256=digest,
        warnings=plan.warnings,
        total=figures(_sum(sums)),
        tensors=tuple(tensor_result(item.row, sums[item.entry.name]) for item in decided.items),
        activations=tuple(figures for layer in measures.found for figures in layer.activations),
        layers=measures.layers,
        experts=coverage(decided.experts, measures.layers),
        clipping=tuple(sorted(measures.clipping, key=lambda figures: figures.layer)),
    )

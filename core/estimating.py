"""Answers what a model takes to run, as it is and as a quantization would make it, on this machine."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import nullcontext
from pathlib import Path

from core.errors import SourceNotFound
from core.estimate.config import facts_of_config
from core.estimate.fitting import MARGIN, layers_that_fit, longest_context, verdict
from core.estimate.machine import read_machine
from core.estimate.metadata import Stored, facts_of_gguf
from core.estimate.overhead import correction
from core.estimate.running import estimate_run
from core.estimate.values import Machine, ModelFacts, RunOptions
from core.families.model_card import model_name
from core.formats.json_file import read_json_object
from core.formats.safetensors_reader import read_checkpoint
from core.formats.torch_reader import has_torch_checkpoint, read_torch_checkpoint
from core.hub.hollow import headers_at
from core.hub.names import REMOTE
from core.jobs import EstimateJob, EstimateResult, FitJob, FormEstimate, Plan, QuantizeOptions
from core.plan import make_plan
from core.progress import Progress
from core.sources import Source, open_source
from core.sources.gguf_source import GGUFSource
from core.sources.pruned import without_layers
from core.store import Store


def estimate(job: EstimateJob, progress: Progress) -> EstimateResult:
    """The model as it is and, where options are given, as they would make it. Reads headers only, here or on the Hub.

    Raises what reading a header raises; with options what without_layers and make_plan raise.
    """
    progress.stage("Reading headers")
    machine = read_machine()
    corrected_by = overhead_correction(job.run)
    # Without options the facts are read where they are; to be planned with, headers are put into a folder.
    with headers_at(job.source, progress) if job.options is not None else nullcontext(job.source) as path:
        now = read_facts(path, progress).model_copy(update={"source": job.source})
        after = facts_after(path, job.options) if job.options is not None else None
    return EstimateResult(
        source=job.source,
        now=form_of(now, job, machine, corrected_by),
        after=form_of(after, job, machine, corrected_by) if after is not None else None,
        machine=machine,
        overhead_correction=corrected_by,
    )


def facts_after(path: str, options: QuantizeOptions) -> ModelFacts:
    """The facts of what the options would make. Raises what open_source, without_layers and make_plan raise."""
    with open_source(path) as whole:
        source = without_layers(whole, options.prune_layers)
        # Whether weights lie on a lattice already changes no size; looking at them is left to the plans that are shown.
        return facts_of_plan(source, make_plan(source, options.model_copy(update={"fit": "reference"})))


def read_facts(path: str, progress: Progress) -> ModelFacts:
    """The facts of a model from its headers, here or on the Hub; of a checkpoint also of families not converted here.

    Raises what open_source, the readers of headers and, for hub:OWNER/NAME, remote_facts raise.
    """
    if path.startswith(REMOTE):
        from core.hub.headers import remote_facts  # takes a while to import

        return remote_facts(path, progress)
    place = Path(path)
    folder = place.parent if place.suffix == ".safetensors" else place
    if not folder.is_dir():
        with open_source(path) as source:
            return facts_of_source(source)
    if not place.exists():
        raise SourceNotFound(path)
    values = read_json_object(folder / "config.json")
    is_torch = not any(folder.glob("*.safetensors*")) and has_torch_checkpoint(folder)
    files = read_torch_checkpoint(folder) if is_torch else read_checkpoint(folder)
    tensors = [(tensor.name, tensor.bytes) for file in files for tensor in file.tensors]
    return facts_of_config(path, model_name(folder), values, tensors)


def facts_of_source(source: Source) -> ModelFacts:
    """The facts of an opened GGUF file, from its own tensors."""
    assert isinstance(source, GGUFSource)
    values = {entry.key: entry.value for entry in source.metadata}
    tensors = [Stored(tensor.name, tensor.type, tensor.shape, tensor.bytes) for tensor in source.tensors]
    return facts_of_gguf(str(source.path), source.name, values, tensors)


def facts_of_plan(source: Source, made: Plan) -> ModelFacts:
    """The facts of the GGUF file that a plan would make."""
    values = {entry.key: entry.value for entry in source.metadata}
    tensors = [Stored(row.name, row.target_type, row.shape, row.bytes) for row in made.tensors]
    return facts_of_gguf(str(source.path), source.name, values, tensors)


def overhead_correction(options: RunOptions) -> int:
    """What real loads on this machine took beside the table of overheads; 0 where their history cannot be read."""
    with contextlib.suppress(sqlite3.Error, OSError):
        return correction(Store().loads(), options.backend)
    return 0


def form_of(facts: ModelFacts, job: EstimateJob | FitJob, machine: Machine, corrected_by: int) -> FormEstimate:
    """One form of a model, and what of it fits the machine, run as the job says."""
    options = job.run
    if job.auto_layers and machine.gpus:
        split = tuple(float(max(gpu.free - MARGIN, 0)) for gpu in machine.gpus)
        options = options.model_copy(update={"backend": "cuda", "split": split if any(split) else (1.0,)})
        fitting = layers_that_fit(facts, options, machine, corrected_by=corrected_by)
        options = options.model_copy(update={"gpu_layers": fitting})
    memory = estimate_run(facts, options, corrected_by)
    return FormEstimate(
        facts=facts,
        memory=memory,
        verdict=verdict(memory, machine),
        gpu_layers=min(options.gpu_layers, len(facts.layers) + 1),
        longest_context=longest_context(facts, options, machine, corrected_by=corrected_by),
    )

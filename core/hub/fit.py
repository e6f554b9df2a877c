"""Whether a model on the Hub runs on this computer, and quantized to which types it would, from headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.catalog import MIXES
from core.errors import ChangedOnHub
from core.estimate.machine import read_machine
from core.estimate.values import Layer, Machine, ModelFacts
from core.estimating import form_of, overhead_correction
from core.formats.safetensors_reader import DTYPE_BYTES, StoredTensor
from core.hub import client
from core.hub.client import Listing, RemoteFile
from core.hub.headers import checkpoint_facts, facts_of_listing, gguf_models, model_files, read_checkpoint
from core.hub.page import type_in
from core.hub.transfer import ContentChanged
from core.jobs import FitForm, FitJob, FitResult
from core.progress import Progress

AS_IT_IS = "as it is"
PLAIN = frozenset({"F64", "F32", "F16", "BF16"})
# What makes up a model's weights, of which a quantization makes less.
SIZES = ("embedding_bytes", "output_bytes", "output_repacked_bytes", "other_bytes", "largest_matrix")
LAYER_SIZES = ("bytes", "expert_bytes", "repacked_bytes")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A form that is to be judged. file: of the Hub, "" where it is none."""

    name: str
    type: str
    facts: ModelFacts
    file: str = ""
    estimated: bool = False


def fit(job: FitJob, progress: Progress) -> FitResult:
    """The answer of FitJob. Raises what client.listing and the readers of headers raise, NotAModel, ChangedOnHub."""
    progress.stage("Asking the Hub")
    listed = client.listing(job.repo, job.revision, progress)
    try:
        candidates = _candidates(listed, progress)
    except ContentChanged as error:
        raise ChangedOnHub(listed.repo) from error
    machine, corrected_by = read_machine(), overhead_correction(job.run)
    forms = sorted((_judged(one, job, machine, corrected_by) for one in candidates), key=lambda form: -form.weights)
    best = next((form for form in forms if form.verdict.level != "not"), None)
    return FitResult(
        repo=job.repo,
        revision=job.revision,
        commit=listed.commit,
        context=job.run.context or candidates[0].facts.context_length,
        forms=tuple(forms),
        best=best.name if best else "",
        level=best.verdict.level if best else "not",
        words=_words(best),
        problem=candidates[0].facts.problem,
        machine=machine,
    )


def _candidates(listed: Listing, progress: Progress) -> list[_Candidate]:
    ggufs = gguf_models(listed)
    names = {file.name for file in listed.files}
    if ggufs and not ("config.json" in names and any(name.endswith(".safetensors") for name in names)):
        return _gguf_candidates(listed, ggufs, progress)
    files = model_files(listed, "", progress)
    if files[0].name.lower().endswith(".gguf"):
        return _gguf_candidates(listed, ggufs, progress)
    return _checkpoint_candidates(listed, *read_checkpoint(listed, files, progress))


def _gguf_candidates(listed: Listing, ggufs: dict[str, tuple[RemoteFile, ...]], progress: Progress) -> list[_Candidate]:
    """One header is read, that of the smallest; the others differ in the bytes of their weights, which the sizes tell.

    A header holds the vocabulary, some megabytes: that of every file would be a download of its own.
    """
    sizes = {name: sum(part.bytes for part in parts) for name, parts in ggufs.items()}
    smallest = min(sizes, key=lambda name: sizes[name])
    facts = facts_of_listing(listed, smallest, progress)
    header = sizes[smallest] - facts.weight_bytes
    return [
        _Candidate(
            name=name,
            type=type_in(name),
            facts=facts if name == smallest else scaled(facts, max(size - header, 0) / max(facts.weight_bytes, 1)),
            file=name,
            estimated=name != smallest,
        )
        for name, size in sizes.items()
    ]


def _checkpoint_candidates(
    listed: Listing, values: dict[str, Any], tensors: Sequence[StoredTensor]
) -> list[_Candidate]:
    """The checkpoint, and where its weights are plain numbers what the usual types would make of it."""
    facts = checkpoint_facts(listed, values, tensors)
    dtypes = Counter[str]()
    for tensor in tensors:
        dtypes[tensor.dtype] += tensor.bytes
    usual = dtypes.most_common(1)[0][0] if dtypes else ""
    found = [_Candidate(AS_IT_IS, usual, facts)]
    if "quantization_config" in values or usual not in PLAIN:
        return found
    as_gguf = facts.model_copy(update={"form": "gguf"})
    bits = 8 * DTYPE_BYTES[usual]
    smaller = [mix for mix in MIXES if mix.common and mix.bits < bits and mix.name not in PLAIN]
    return found + [_Candidate(mix.name, mix.name, scaled(as_gguf, mix.bits / bits), estimated=True) for mix in smaller]


def scaled(facts: ModelFacts, factor: float) -> ModelFacts:
    """The same model with weights of another size."""
    sizes = {name: round(getattr(facts, name) * factor) for name in SIZES}
    return facts.model_copy(update={**sizes, "layers": tuple(_scaled(layer, factor) for layer in facts.layers)})


def _scaled(layer: Layer, factor: float) -> Layer:
    return layer.model_copy(update={name: round(getattr(layer, name) * factor) for name in LAYER_SIZES})


def _judged(candidate: _Candidate, job: FitJob, machine: Machine, corrected_by: int) -> FitForm:
    form = form_of(candidate.facts, job, machine, corrected_by)
    return FitForm(
        name=candidate.name,
        type=candidate.type,
        file=candidate.file,
        estimated=candidate.estimated,
        weights=candidate.facts.weight_bytes,
        total=form.memory.total,
        verdict=form.verdict,
        longest_context=form.longest_context,
        gpu_layers=form.gpu_layers,
    )


def _words(best: FitForm | None) -> str:
    """For a badge."""
    if best is None:
        return "Does not fit"
    how = {"fits": "Fits", "tight": "Just fits", "unknown": "Weights fit"}[best.verdict.level]
    return how if best.name == AS_IT_IS else f"{how} at {best.type or best.name}"

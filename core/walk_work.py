"""What jobs that take a text through a model have to do, from headers and sizes of texts: operations and amounts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from core.checkpoints.decide import Decided, decide
from core.checkpoints.settings import settled
from core.checkpoints.source import CheckpointSource
from core.estimate.timing import Operation, Work, operations
from core.estimate.walking import Amounts, Matrix, Walk, evaluating, importance, joined, ranking, solving
from core.evaluation.pieces import cut
from core.hub.names import DATASET, ENOUGH_BYTES
from core.jobs import CheckpointJob, EvaluateJob, GptqOptions, ImatrixJob, Plan, QuantizeJob, SensitivityJob, Value
from core.methods.table import METHOD
from core.plan import is_solved, prepare
from core.sources import Source, SourceTensor, open_source
from core.sources.pruned import without_layers
from core.texts import own_texts, window_length

LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
# Of a text in UTF-8, for a vocabulary of some 50,000 tokens.
BYTES_PER_TOKEN = 3.5
Made = Callable[[SourceTensor], Mapping[str, str]]


def work_of(job: Value) -> Amounts | None:
    """What a job has to do, None of one that takes no text through a model.

    Raises what opening its source and deciding raise.
    """
    if isinstance(job, CheckpointJob):
        return of_checkpoint(job.source, job)
    if isinstance(job, QuantizeJob):
        return _of_file(job)
    function = _FUNCTIONS.get(job.kind) if isinstance(job, ImatrixJob | EvaluateJob | SensitivityJob) else None
    return function(job) if function else None


# ---------------------------------------------------------------- texts


def tokens_in(texts: Sequence[str], purpose: str, length: int, most: int, categories: Sequence[str] = ()) -> int:
    """Tokens of all whole windows that texts give, about; at most `most` windows, 0 = all."""
    if texts:
        sizes = [ENOUGH_BYTES if name.startswith(DATASET) else _size(Path(name)) for name in texts]
    else:
        own = [text for text in own_texts(purpose) if not categories or text.name in categories]
        sizes = [_size(text.path) for text in own]
    windows = sum(int(size / BYTES_PER_TOKEN) // length for size in sizes)
    return max(1, min(windows, most) if most else windows) * length


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


# ---------------------------------------------------------------- models


def walk_of(source: Source, tokens: int, length: int, made: Made = lambda tensor: {}) -> Walk:
    """An open model under its GGUF names. made: of a matrix, how it is solved or rounded, fields of Matrix."""
    layers: dict[int, list[Matrix]] = {}
    experts = max(1, source.hyper.experts_used or 1)
    for tensor in source.tensors:
        match = LAYER.fullmatch(tensor.name)
        if match and len(tensor.shape) > 1:
            copies = tensor.shape[0] if len(tensor.shape) > 2 else 1
            matrix = Matrix(
                match[2], tensor.shape[-2], tensor.shape[-1], tensor.type, copies, min(copies, experts), **made(tensor)
            )
            layers.setdefault(int(match[1]), []).append(matrix)
    names = {tensor.name: tensor for tensor in source.tensors}
    head = names.get("output.weight") or source.tensor("token_embd.weight")
    hyper = source.hyper
    query = next(
        (m.rows for layer in layers.values() for m in layer if m.part == "attn_q"), hyper.embedding_length or 0
    )
    return Walk(
        tuple(tuple(layers[number]) for number in sorted(layers)),
        tokens,
        length,
        hyper.embedding_length or head.shape[-1],
        query,
        hyper.heads or 1,
        (head.rows, head.row_length),
        head.type,
    )


# ---------------------------------------------------------------- checkpoints


def of_checkpoint(path: str, job: Any) -> Amounts:
    """A checkpoint's job, or its preflight. Raises what CheckpointSource, settled and decide raise."""
    with CheckpointSource(Path(path)) as source:
        decided = decide(source, settled(job.options))
    return joined([_solving(path, decided, job.options.text), _written(decided)])


def _solving(path: str, decided: Decided, text: Sequence[str]) -> Amounts:
    settings = decided.settings
    if not decided.is_calibrated:
        return Counter()
    own = {item.entry.gguf: item.settings for item in decided.items if item.settings is not None}

    def made(tensor: SourceTensor) -> Mapping[str, str]:
        chosen = own.get(tensor.name)
        if chosen is None:
            return {}
        return {"setup" if chosen.choice.method == "gptq" else "rounded": chosen.words}

    tokens = tokens_in(text, "calibration", settings.length, settings.samples)
    with open_source(path) as source:
        walk = walk_of(source, tokens, settings.length, made)
    return solving(walk, prestep=settings.prestep, target=bool(settings.calibration.target), watched=True)


def _written(decided: Decided) -> Amounts:
    """Reading everything again, making what is not made yet, packing, and the disk."""
    amounts: Amounts = Counter({Operation("disk"): decided.plan.bytes})
    for item in decided.items:
        elements = item.row.elements
        amounts[Operation("decode", item.row.source_type)] += elements
        if item.settings is None:
            amounts[Operation("measure")] += elements
            continue
        words = item.settings.words
        amounts[Operation("pack", words)] += elements
        method = METHOD[item.settings.choice.method]
        known = decided.is_calibrated and bool(method.groups) and (method.name == "gptq" or decided.settings.prestep)
        if not known:
            amounts[Operation("round", words)] += elements
    return amounts


# ---------------------------------------------------------------- GGUF files


def of_file(source: Source, plan: Plan, options: GptqOptions, fit: str) -> Amounts:
    """What GPTQ adds to a quantization into a GGUF file: solving, less the searches that it takes the place of."""
    rows = {row.name: row for row in plan.tensors if row.target_type != row.source_type}

    def made(tensor: SourceTensor) -> Mapping[str, str]:
        row = rows.get(tensor.name)
        return {"setup": f"block {row.target_type} {fit} {options.act_order}"} if row and is_solved(row) else {}

    length = window_length(str(source.path), options.length, source.hyper.context_length)
    tokens = tokens_in(options.text, "calibration", length, options.samples)
    walk = walk_of(source, tokens, length, made)
    return solving(walk, prestep="", target=bool(options.target), watched=False)


def file_operations(source: Source, plan: Plan, options: GptqOptions | None, fit: str) -> Amounts:
    """All that a quantization into one GGUF file does."""
    works = [Work(r.source_type, r.target_type, r.weighted, r.elements, r.bytes) for r in plan.tensors]
    amounts = operations([works])
    if options is None:
        return amounts
    for row in plan.tensors:
        if is_solved(row):
            encode = Operation("encode", row.target_type, row.weighted)
            amounts[encode] -= row.elements
            amounts[Operation("measure")] += row.elements
            amounts[Operation("decode", row.target_type)] += row.elements
    return joined([+amounts, of_file(source, plan, options, fit)])


def _of_file(job: QuantizeJob) -> Amounts | None:
    if job.options.gptq is None:
        return None
    with open_source(job.source) as whole:
        source = without_layers(whole, job.options.prune_layers)
        return file_operations(source, prepare(source, job.options).plan, job.options.gptq, job.options.fit)


# ---------------------------------------------------------------- measuring


def _of_imatrix(job: ImatrixJob) -> Amounts:
    with open_source(job.source) as source:
        return importance(walk_of(source, tokens_in(job.text, "calibration", job.context, job.chunks), job.context))


def _of_evaluation(job: EvaluateJob) -> Amounts:
    tokens = tokens_in(job.text, "evaluation", job.context, job.chunks, job.categories)
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(path)) for path in (job.source, *job.models)]
        return evaluating([walk_of(source, tokens, job.context) for source in sources])


def _of_sensitivity(job: SensitivityJob) -> Amounts:
    tokens = tokens_in(job.text, "evaluation", job.context, job.chunks, job.categories)
    with open_source(job.source) as source:
        plan = prepare(source, job.options.model_copy(update={"allow_requantize": True})).plan
        walk = walk_of(source, tokens, job.context)
    pieces = cut(plan.tensors, job.by)
    encoded: Amounts = Counter()
    for row in (row for piece in pieces for row in piece.rows):
        encoded[Operation("encode", row.target_type, row.weighted)] += row.elements
        encoded[Operation("decode", row.target_type)] += row.elements
    count = len(walk.layers)
    births = [count if p.layer is None else p.layer for p in pieces]
    births = [-1 if "token_embd.weight" in p.names else birth for p, birth in zip(pieces, births, strict=True)]
    return ranking(walk, births, encoded)


_FUNCTIONS: dict[str, Callable[[Any], Amounts]] = {
    "imatrix": _of_imatrix,
    "evaluate": _of_evaluation,
    "sensitivity": _of_sensitivity,
}

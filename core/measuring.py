"""The preflight of jobs that take a text through models: importance matrices, evaluations, rankings of sensitivity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from core import errors
from core.checks import check_of, folder_problem, free_memory, licences, room
from core.errors import BitwrightError
from core.estimate.timing import How
from core.hub.names import DATASET
from core.jobs import Check, EvaluateJob, ImatrixJob, MeasurePreflightJob, PreflightResult
from core.methods.calibration import BATCH_TOKENS, STATES_BYTES
from core.network.rows import ROWS, row_of
from core.progress import Progress
from core.sources import Source, open_source
from core.speed import machine_name
from core.timing import expected
from core.walk_work import LAYER, tokens_in, work_of

# Python with torch, transformers and llama.cpp's tokenizer, and the activations of the windows computed together.
BASE_BYTES = 700 << 20
# What the C library keeps of buffers that a layer has freed, until its end, measured on Linux.
HEAP_BYTES = 100 << 20
# Numbers of the vocabulary's tiles, of every model, with what is computed from them.
TILE_BYTES = 4 * 4 * BATCH_TOKENS * 1024
# The file of an importance matrix: a number for each column and expert.
MATRIX_BYTES = 4


def preflight(job: MeasurePreflightJob, progress: Progress) -> PreflightResult:
    """All checks, and what it needs. Raises nothing but Cancelled for what the job would raise."""
    progress.stage("Checking")
    own = job.job
    try:
        with ExitStack() as stack:
            paths = [own.source, *(own.models if isinstance(own, EvaluateJob) else ())]
            sources = [stack.enter_context(open_source(path)) for path in paths]
            purpose = "calibration" if isinstance(own, ImatrixJob) else "evaluation"
            tokens = tokens_in(own.text, purpose, own.context, own.chunks, getattr(own, "categories", ()))
            needed = _memory(sources, tokens) + (HEAP_BYTES if isinstance(own, ImatrixJob) else 0)
            written = _matrix_bytes(sources[0]) if isinstance(own, ImatrixJob) else 0
            checks = tuple(_checks(job, sources, tokens, (needed, written)))
        amounts = work_of(own)
        assert amounts is not None
        how = How(machine_name(), own.device, own.threads, "fast")
        seconds, basis = expected(amounts, how, own.kind, work_of, progress if job.measure else None)
        return PreflightResult(checks=checks, bytes=written, memory_bytes=needed, seconds=seconds, seconds_basis=basis)
    except BitwrightError as error:
        return PreflightResult(checks=(check_of(error),))


def _checks(
    job: MeasurePreflightJob, sources: Sequence[Source], tokens: int, needs: tuple[int, int]
) -> Iterator[Check]:
    """One check or several for each step, in order."""
    own = job.job
    yield _text(job, tokens)
    yield Check(step="files", level="fine", cause="All files are complete.")
    found = [check for source in sources for check in _computable(source, own.context)]
    yield from dict.fromkeys(found)
    if isinstance(own, ImatrixJob):
        yield folder_problem(own.output) or room(own.output, needs[1])
    yield free_memory(needs[0])
    yield from _same_vocabulary(sources)
    yield from licences(sources[0].path, sources[0].license)


def _text(job: MeasurePreflightJob, tokens: int) -> Check:
    own = job.job
    missing = next((name for name in own.text if not name.startswith(DATASET) and not Path(name).is_file()), None)
    if missing is not None:
        return check_of(errors.SourceNotFound(missing))
    windows = tokens // own.context
    cause = f"About {windows:,} windows of {own.context} tokens are read."
    return Check(step="choice", level="fine", cause=cause)


def _computable(source: Source, context: int) -> Iterator[Check]:
    """Whether the model can be computed here, with windows of this length."""
    experts, keys = bool(source.hyper.experts), {entry.key for entry in source.metadata}
    trained = source.hyper.context_length
    if row_of(source.architecture, experts, keys) is None:
        known = ", ".join(sorted({row.family.name for row in ROWS}))
        problem = f"its architecture {source.architecture!r} is not one of {known}"
        yield Check(
            step="architecture",
            level="error",
            cause=f"{source.path.name} cannot be computed here: {problem}",
            fix="Choose a model of one of these families",
        )
    elif trained and context > trained:
        yield Check(
            step="choice",
            level="error",
            cause=f"Windows of {context} tokens are longer than the {trained} that {source.path.name} was trained for",
            fix=f"Use --context {trained}",
        )
    else:
        yield Check(step="architecture", level="fine", cause=f"{source.path.name} can be computed here.")


def _same_vocabulary(sources: Sequence[Source]) -> Iterator[Check]:
    """The number of tokens; which they are is compared when the job begins."""
    count = sources[0].tensor("token_embd.weight").rows
    for other in sources[1:]:
        own = other.tensor("token_embd.weight").rows
        if own != count:
            paths = (str(sources[0].path), str(other.path))
            yield check_of(errors.VocabulariesDiffer(*paths, f"one has {count} tokens, the other {own}"))


def _memory(sources: Sequence[Source], tokens: int) -> int:
    """A layer in float32 of the model that has the largest, hidden states, and tiles of logits."""
    layer = max(_largest_layer(source) for source in sources)
    states = sum(min(4 * tokens * (source.hyper.embedding_length or 0), STATES_BYTES) for source in sources)
    return BASE_BYTES + 4 * layer + states + len(sources) * TILE_BYTES


def _largest_layer(source: Source) -> int:
    weights: dict[str, int] = {}
    for tensor in source.tensors:
        if match := LAYER.fullmatch(tensor.name):
            weights[match[1]] = weights.get(match[1], 0) + tensor.elements
    return max(weights.values(), default=0)


def _matrix_bytes(source: Source) -> int:
    columns = sum(
        tensor.row_length * (tensor.shape[0] if len(tensor.shape) > 2 else 1)
        for tensor in source.tensors
        if LAYER.fullmatch(tensor.name) and len(tensor.shape) > 1
    )
    return MATRIX_BYTES * columns

"""What the command line prints for people: aligned tables and a few lines of figures; plain strings, no Qt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from core.errors import size
from core.jobs import (
    ChatResult,
    CheckpointManyResult,
    CheckpointResult,
    CompareResult,
    ErrorFigures,
    ImatrixResult,
    ModelSummary,
    Plan,
    QuantizeJob,
    QuantizeManyResult,
    QuantizeResult,
    TensorResult,
    VerifyResult,
    output_errors,
)
from core.progress import Snapshot
from core.store import JobRecord

DASH = "–"
Row = Sequence[str]


def table(headers: Row, rows: Sequence[Row], right: str = "") -> str:
    """Columns of text aligned under their headers; `right` has an 'r' at each column that is right-aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]

    def line(cells: Row) -> str:
        aligned = [
            cell.rjust(width) if right[index : index + 1] == "r" else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, rows)])


def facts(*pairs: tuple[str, object]) -> str:
    """Labels and values under one another; what is unknown ('' or None) is left out."""
    known = [(label, str(value)) for label, value in pairs if value not in ("", None)]
    width = max(len(label) for label, _ in known)
    return "\n".join(f"{label.ljust(width)}  {value}" for label, value in known)


def plain(card: str) -> str:
    """A card for a terminal: what could move its cursor or change its colours is left out."""
    return "".join(letter for letter in card if letter.isprintable() or letter in "\n\t")


def shape(dimensions: Sequence[int]) -> str:
    """A tensor's shape: '49152 × 576'."""
    return " × ".join(map(str, dimensions))


def duration(seconds: float) -> str:
    """A time: '0.4 s', '1 min 20 s', '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio; none at all reads 'exact'."""
    return "exact" if value is None else f"{value:.1f} dB"


# ---------------------------------------------------------------- one function per answer


def model(summary: ModelSummary) -> str:
    """The answer of `inspect`."""
    head = facts(
        ("Name", summary.name),
        ("Path", summary.path),
        ("Architecture", summary.label),
        ("Parameters", f"{summary.parameters / 1e6:,.1f} million"),
        ("Type", f"{summary.type} ({summary.bits_per_weight:.2f} bits per weight)"),
        ("Size", size(summary.bytes)),
        ("Context", summary.context_length),
        ("Width", summary.embedding_length),
        ("Heads", f"{summary.heads}, {summary.kv_heads} for keys and values" if summary.heads else ""),
        ("Vocabulary", summary.vocabulary),
        ("License", summary.license),
        ("Chat template", "yes" if summary.has_chat_template else "no"),
    )
    metadata = table(("key", "type", "value"), [(r.key, r.type, _cut(r.value, 80)) for r in summary.metadata])
    tensors = table(
        ("tensor", "shape", "type", "size"),
        [(t.name, shape(t.shape), t.type, size(t.bytes)) for t in summary.tensors],
        " r r",
    )
    return f"{head}\n\nMetadata\n{metadata}\n\nTensors ({len(summary.tensors)})\n{tensors}"


# What the levels of search do, in words.
SEARCHES = {
    "reference": "reference: ggml's, step for step",
    "fast": "fast: ggml's by faster arithmetic",
    "best": "best: farther than ggml's, in more time",
}


def plan(made: Plan) -> str:
    """The answer of `plan`."""
    fallbacks = f"{sum(t.fallback for t in made.tensors)} of {len(made.tensors)} tensors"
    return _plan(made, ("Search", SEARCHES[made.fit]), ("Fallbacks", fallbacks))


def checkpoint_plan(made: Plan) -> str:
    """The answer of `plan` with --method, where no type stands in for another."""
    return _plan(made)


def _plan(made: Plan, *more: tuple[str, object]) -> str:
    rows = [
        (t.name, shape(t.shape), t.source_type, t.target_type, f"{t.bpw:.2f}", size(t.bytes), t.reason)
        for t in made.tensors
    ]
    tensors = table(("tensor", "shape", "from", "to", "bits", "size", "reason"), rows, " r  rr")
    total = facts(
        ("Target", made.target),
        ("Size", f"{size(made.source_bytes)} -> {size(made.bytes)} ({made.bits_per_weight:.2f} bits per weight)"),
        ("Memory", f"about {size(made.memory_bytes)} to quantize (estimate)"),
        *more,
    )
    return "\n\n".join([tensors, total, *(f"Note: {warning}" for warning in made.warnings)])


def quantized(result: QuantizeResult) -> str:
    """The answer of `quantize`."""
    total = facts(
        ("Output", result.output),
        ("Size", f"{size(result.source_bytes)} -> {size(result.bytes)}"),
        ("Bits per weight", f"{result.bpw_before:.2f} -> {result.bpw:.2f}"),
        ("Error", _errors(result.total)),
        *([("Outputs' error", output_errors(result.layers))] if result.layers else []),
        ("Time", f"{duration(result.seconds)}, at most {size(result.peak_memory_bytes)} of memory"),
        ("SHA-256", result.sha256),
    )
    return "\n\n".join([_by_type(result.tensors), total, *(f"Note: {warning}" for warning in result.warnings)])


def checkpoint(result: CheckpointResult) -> str:
    """The answer of `quantize --method`: of a mixture, also how many tokens met its experts."""
    rows = [
        (
            str(layer.layer + 1),
            str(len(layer.tokens)),
            f"{min(layer.tokens):,}",
            f"{max(layer.tokens):,}",
            str(layer.rare),
            str(layer.unused),
        )
        for layer in result.experts
    ]
    head = ("Layer", "Experts", "Fewest tokens", "Most", "Rare", "Unused")
    return (f"{table(head, rows, 'rrrrrr')}\n\n" if rows else "") + quantized(result)


def checkpoints(result: CheckpointManyResult) -> str:
    """The answer of `quantize --method` with several forms."""
    return "\n\n".join(
        checkpoint(one) if isinstance(one, CheckpointResult) else quantized(one) for one in result.results
    )


def quantized_many(result: QuantizeManyResult) -> str:
    """The answer of `quantize` with several types."""
    return "\n\n".join(quantized(one) for one in result.results)


def compared(result: CompareResult) -> str:
    """The answer of `compare`."""
    rows = [
        (
            t.name,
            t.source_type,
            t.type,
            f"{t.bpw:.2f}",
            f"{t.rmse:.3e}",
            decibels(t.snr_db),
            f"{t.max_error:.3e}",
            DASH if t.cosine is None else f"{t.cosine:.6f}",
        )
        for t in result.tensors
    ]
    tensors = table(("tensor", "from", "type", "bits", "RMSE", "SNR", "largest", "cosine"), rows, "   rrrrr")
    missing = f"\n\nOnly in one of the two: {', '.join(result.missing)}" if result.missing else ""
    return f"{tensors}\n\nAll tensors together: {_errors(result.total)}{missing}"


def importance(result: ImatrixResult) -> str:
    """The answer of `imatrix`: the experts' coverage where there are any, and what was read and written."""
    mixtures = [tensor for tensor in result.tensors if tensor.shape[0] > 1]
    rows = [
        (
            tensor.name,
            str(tensor.shape[0]),
            f"{tensor.fewest:,}",
            f"{tensor.most:,}",
            str(tensor.rare),
            str(tensor.unused),
        )
        for tensor in mixtures
    ]
    experts = table(("Tensor", "Experts", "Fewest tokens", "Most", "Rare", "Unused"), rows, " rrrrr") if rows else ""
    head = facts(
        ("Importance matrix", result.output),
        ("Entries", len(result.tensors)),
        ("Text", ", ".join(result.datasets)),
        ("Read", f"{result.chunks:,} windows of {result.context} tokens"),
        ("Time", duration(result.seconds)),
        ("Peak memory", size(result.peak_memory_bytes)),
    )
    notes = "\n".join(f"note: {warning}." for warning in result.warnings)
    return "\n\n".join(filter(None, (experts, head, notes)))


def verified(result: VerifyResult) -> str:
    """The answer of `verify`."""
    types = ", ".join(f"{count} {name}" for name, count in result.types.items())
    return facts(
        ("File", result.path),
        ("Verdict", "in order: two readers agree, and every byte could be read"),
        ("Tensors", f"{result.tensors} ({types})"),
        ("Parameters", f"{result.parameters / 1e6:,.1f} million"),
        ("Size", size(result.bytes)),
        ("SHA-256", result.sha256),
    )


def chatted(result: ChatResult) -> str:
    """The answer of `chat`."""
    turns = []
    for turn in result.turns:
        speed = f"{turn.tokens} tokens at {turn.tokens_per_second:.1f} per second, {size(turn.memory_bytes)} of memory"
        speed += f", {size(turn.predicted_bytes)} predicted" if turn.predicted_bytes else ""
        turns.append(f"{turn.model} ({speed})\n{turn.text}" + (f"\nNote: {turn.note}" if turn.note else ""))
    return "\n\n".join(turns)


def jobs(records: Sequence[JobRecord]) -> str:
    """The answer of `jobs`."""
    if not records:
        return "No jobs yet."
    rows = [(record.id, record.state, _when(record), _took(record), _about(record)) for record in records]
    return table(("id", "state", "created", "took", "job"), rows, "   r")


def progress_line(snapshot: Snapshot) -> str:
    """One line for a terminal: 'Quantizing 42 %  12.1 MiB/s  8.2 s left  blk.3.attn_q.weight'."""
    parts = [snapshot.stage]
    if snapshot.total:
        parts.append(f"{snapshot.fraction:.0%}")
    if snapshot.rate:
        rate = size(snapshot.rate) if snapshot.unit == "bytes" else f"{snapshot.rate:,.0f} {snapshot.unit}"
        parts.append(f"{rate}/s")
    if snapshot.eta_s is not None and snapshot.total:
        parts.append(f"{duration(snapshot.eta_s)} left")
    return "  ".join([*parts, snapshot.note]).rstrip()


# ---------------------------------------------------------------- pieces


def _by_type(tensors: Sequence[TensorResult]) -> str:
    """One row for each pair of types: how many tensors, their size, and their worst error."""
    groups: dict[tuple[str, str], list[TensorResult]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.source_type, tensor.type), []).append(tensor)
    rows = [
        (before, after, str(len(group)), size(sum(t.bytes for t in group)), *_worst(group))
        for (before, after), group in groups.items()
    ]
    return table(("from", "to", "tensors", "size", "worst SNR", "in tensor"), rows, "  rrr")


def _worst(group: Sequence[TensorResult]) -> tuple[str, str]:
    ratios = [(tensor.snr_db, tensor.name) for tensor in group if tensor.snr_db is not None]
    if not ratios:
        return "exact", ""
    ratio, name = min(ratios)
    return decibels(ratio), name


def _errors(figures: ErrorFigures) -> str:
    cosine = "" if figures.cosine is None else f", cosine {figures.cosine:.6f}"
    return f"SNR {decibels(figures.snr_db)}, RMSE {figures.rmse:.3e}, largest {figures.max_error:.3e}{cosine}"


def _when(record: JobRecord) -> str:
    return datetime.fromtimestamp(record.created).strftime("%Y-%m-%d %H:%M")


def _took(record: JobRecord) -> str:
    if record.started is None:
        return DASH
    return duration((record.finished or time.time()) - record.started)


def _about(record: JobRecord) -> str:
    job = record.job
    what = f"{job.source} -> {job.output} ({job.options.target})" if isinstance(job, QuantizeJob) else job.kind
    return f"{what}: {record.error.what}" if record.error else what


def _cut(text: str, width: int) -> str:
    line = text.replace("\n", " ")
    return line if len(line) <= width else line[: width - 1] + "…"

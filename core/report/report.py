"""What a report says of a finished quantization, a comparison of models, or a ranking of sensitivity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import starmap
from pathlib import Path
from typing import Any

from core.errors import OutputNotWritable, size
from core.jobs import (
    AS_RUN,
    Disagreement,
    EvaluateResult,
    ModelEvaluation,
    QuantizeManyResult,
    QuantizeResult,
    SensitivityResult,
    TensorResult,
    Value,
)
from core.keeping import keep, summed
from core.report.front import pareto
from core.report.page import chapter, contents, facts, figure, page, section, sentence, table
from core.report.svg import Dot, bars, scatter

MIB = 2**20
# A divergence of so many nats and more has the full colour.
DEEPEST_KLD = 4.0
# What a ranking proposes to keep, and for how much more.
KEEP_TYPE, KEEP_PERCENT = "Q8_0", 5.0


# A title in plain words, and HTML.
Report = tuple[str, list[str]]


def has_report(result: Value | None) -> bool:
    """Whether there is a report of such a result."""
    return isinstance(result, tuple(REPORTS))


def report(result: Value) -> str:
    """The HTML file. Raises KeyError for a result without a report."""
    return page(*_report(result))


def reports(results: Sequence[Value], title: str) -> str:
    """One HTML file with the reports of several, a list of them first. Raises KeyError for one without a report."""
    made = [_report(result) for result in results]
    return page(title, [contents([name for name, _ in made]), *starmap(chapter, enumerate(made, start=1))])


def write_report(result: Value, path: Path) -> None:
    """Writes the report of a result. Raises OutputNotWritable."""
    write_page(report(result), path)


def write_page(words: str, path: Path) -> None:
    """Writes an HTML file. Raises OutputNotWritable."""
    try:
        path.write_text(words, encoding="utf-8")
    except OSError as error:
        raise OutputNotWritable(str(path), error.strerror or str(error)) from error


def _report(result: Value) -> Report:
    """That of the result's type, or of one it is a kind of. Raises KeyError where there is none."""
    kinds = [kind for kind in type(result).__mro__ if kind in REPORTS]
    if not kinds:
        raise KeyError(type(result))
    return REPORTS[kinds[0]](result)


def _name(path: str) -> str:
    place = Path(path)
    return place.stem if place.suffix.lower() in (".gguf", ".safetensors") else place.name


# ---------------------------------------------------------------- a quantization


def _quantization(result: QuantizeResult) -> Report:
    return _name(result.output), _quantization_parts(result)


def _many(result: QuantizeManyResult) -> Report:
    names = ", ".join(each.target for each in result.results)
    title = f"{_name(result.results[0].source)} quantized to {names}"
    return title, [section(_name(each.output), *_quantization_parts(each)) for each in result.results]


def _quantization_parts(result: QuantizeResult) -> list[str]:
    total = result.total
    snr = "lossless" if total.snr_db is None else f"{total.snr_db:.2f} dB"
    head = facts(
        (
            ("Source", f"{result.source} ({size(result.source_bytes)})"),
            ("Output", f"{result.output} ({size(result.bytes)})"),
            ("Type", result.target),
            ("Architecture", result.architecture),
            ("Bits per weight", f"{result.bpw_before:.2f} before, {result.bpw:.2f} after"),
            (
                "Error of all weights",
                f"relative RMSE {total.relative_rmse:.4g}, SNR {snr}, cosine {total.cosine or 0:.6f}",
            ),
            ("Time", f"{result.seconds:.1f} s"),
            ("Peak memory", size(result.peak_memory_bytes)),
            ("SHA-256", result.sha256),
        )
    )
    dots = [
        Dot(at, row.relative_rmse, series=_series(row.name), title=f"{row.name}, {row.type}: {row.relative_rmse:.4g}")
        for at, row in enumerate(result.tensors)
        if row.relative_rmse
    ]
    plot = scatter(dots, "Tensors in the order of the file", "Relative RMSE")
    return [
        head,
        section("Error of every tensor", figure(plot, "Tensors copied without loss have no place on this axis.")),
        section("Tensors", _tensors(result.tensors)),
    ]


SERIES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def _series(name: str) -> int:
    return next((number for number, part in enumerate(SERIES) if part in name), len(SERIES))


def _tensors(tensors: Sequence[TensorResult]) -> str:
    headers = (
        "Tensor",
        "Shape",
        "From",
        "Type",
        "Relative RMSE",
        "SNR, dB",
        "RMSE",
        "Max error",
        "Bits",
        "Size",
        "Reason",
    )
    rows = [
        (
            row.name,
            " × ".join(map(str, row.shape)),
            row.source_type,
            row.type,
            f"{row.relative_rmse:.4g}",
            "lossless" if row.snr_db is None else f"{row.snr_db:.2f}",
            f"{row.rmse:.4g}",
            f"{row.max_error:.4g}",
            f"{row.bpw:.2f}",
            size(row.bytes),
            row.reason,
        )
        for row in tensors
    ]
    return table(headers, rows, words=4)


# ---------------------------------------------------------------- a comparison

# title, how it is shown: the figures of llama-perplexity.
FIGURES: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("Mean KLD", lambda m: f"{m.mean_kld:.6f} ± {m.mean_kld_error:.6f}"),
    ("± by windows", lambda m: f"± {m.mean_kld_window_error:.6f}"),
    ("99.9 %", lambda m: f"{m.kld_99_9:.4f}"),
    ("99 %", lambda m: f"{m.kld_99:.4f}"),
    ("95 %", lambda m: f"{m.kld_95:.4f}"),
    ("90 %", lambda m: f"{m.kld_90:.4f}"),
    ("Median", lambda m: f"{m.median_kld:.6f}"),
    ("Min", lambda m: f"{m.min_kld:.6f}"),
    ("Max", lambda m: f"{m.max_kld:.4f}"),
    ("Perplexity", lambda m: f"{m.ppl:.4f} ± {m.ppl_error:.4f}"),
    ("ln ratio", lambda m: f"{m.ln_ratio:.6f} ± {m.ln_ratio_error:.6f}"),
    ("Mean Δp, %", lambda m: f"{m.mean_dp:.3f} ± {m.mean_dp_error:.3f}"),
    ("RMS Δp, %", lambda m: f"{m.rms_dp:.3f} ± {m.rms_dp_error:.3f}"),
    ("1 % Δp", lambda m: f"{m.dp_1:.3f}"),
    ("99 % Δp", lambda m: f"{m.dp_99:.3f}"),
    ("Same top, %", lambda m: f"{m.same_top_p:.2f} ± {m.same_top_p_error:.2f}"),
)


def _comparison(result: EvaluateResult) -> Report:
    models = sorted(result.models, key=lambda model: model.bytes)
    first = models[0]
    head = facts(
        (
            ("Original", f"{result.source} ({size(result.source_bytes)})"),
            ("Its perplexity", f"{first.ppl_base:.4f} ± {first.ppl_base_error:.4f}"),
            *([("Activations", AS_RUN)] if result.as_run else []),
            ("Text", ", ".join(result.datasets)),
            ("Scored", f"{result.tokens:,} tokens in {result.chunks:,} windows of {result.context}"),
            ("Time", f"{result.seconds:.0f} s"),
            ("Peak memory", size(result.peak_memory_bytes)),
        )
    )
    headers = ("Model", "Size", *(title for title, _ in FIGURES))
    rows = [(_name(model.model), size(model.bytes), *(shown(model) for _, shown in FIGURES)) for model in models]
    note = (
        "Figures have llama-perplexity's names and formulas; ± is one standard error. Divergence is in nats per token."
    )
    return (
        f"Models made from {_name(result.source)}",
        [
            head,
            *(sentence(f"Note: {words}.") for words in result.warnings),
            section("Size and quality", figure(_sizes(models), "Dashed: the Pareto front. Bars: one standard error.")),
            section("Figures", table(headers, rows), f'<p class="muted">{escape(note)}</p>'),
            section("Kinds of text", _kinds(models)),
            *(_disagreements(model) for model in models),
        ],
    )


def _sizes(models: Sequence[ModelEvaluation]) -> str:
    dots = [
        Dot(
            model.bytes / MIB,
            model.mean_kld,
            model.mean_kld_window_error,
            label=_name(model.model),
            title=f"{_name(model.model)}: {size(model.bytes)}, mean KLD {model.mean_kld:.6f}",
        )
        for model in models
    ]
    front = [dots[at] for at in pareto([(dot.x, dot.y) for dot in dots])]
    return scatter(dots, "Size of the files, MiB", "Mean KLD, nats", line=front)


def _kinds(models: Sequence[ModelEvaluation]) -> str:
    categories = list(dict.fromkeys(part.category for model in models for part in model.categories))
    if len(categories) < 2:
        return ""
    parts = {(model.model, part.category): part for model in models for part in model.categories}
    shown = [model for model in models if all((model.model, category) in parts for category in categories)]
    values = [
        [(parts[model.model, c].mean_kld, parts[model.model, c].mean_kld_window_error) for model in shown]
        for c in categories
    ]
    names = [_name(model.model) for model in shown]
    headers = ("Kind of text", "Model", "Tokens", *(title for title, _ in FIGURES))
    rows = [
        (category, _name(model.model), f"{parts[model.model, category].tokens:,}",
         *(show(parts[model.model, category]) for _, show in FIGURES))
        for category in categories
        for model in shown
    ]  # fmt: skip
    plot = bars([_name(category) for category in categories], names, values, "Mean KLD, nats")
    return figure(plot, "Mean KLD by kind of text, with standard errors.") + table(headers, rows, words=2)


def _disagreements(model: ModelEvaluation) -> str:
    return section(f"Where {_name(model.model)} disagrees most", *map(_token, model.disagreements))


def _token(found: Disagreement) -> str:
    share = 15 + 45 * min(found.kld / DEEPEST_KLD, 1.0)
    words = (
        f"{found.kld:.3f} nats, {found.category}: came with {found.p:.2%} instead of {found.p_base:.2%}; likeliest "
        f"“{_line(found.top)}” instead of “{_line(found.top_base)}”"
    )
    ground = f"background: color-mix(in srgb, var(--bad) {share:.0f}%, transparent)"
    return (
        f'<p class="token">…{escape(_line(found.before))}<mark style="{ground}">{escape(_line(found.token))}</mark>'
        f'<span class="muted">{escape(_line(found.after))}…<br>{escape(words)}</span></p>'
    )


def _line(words: str) -> str:
    return "".join("⏎" if letter == "\n" else letter if letter.isprintable() else "·" for letter in words)


# ---------------------------------------------------------------- a ranking


def _ranking(result: SensitivityResult) -> Report:
    together = result.together
    head = facts(
        (
            ("Original", f"{result.source} ({size(result.source_bytes)})"),
            ("Quantization", f"{result.target} ({size(result.bytes)})"),
            ("All together", f"{together.mean_kld:.6f} ± {together.mean_kld_error:.6f} nats"),
            ("Sum of the pieces", f"{summed(result.pieces):.6f} nats"),
            ("Text", ", ".join(result.datasets)),
            ("Scored", f"{result.tokens:,} tokens in {result.chunks:,} windows of {result.context}"),
            ("Time", f"{result.seconds:.0f} s"),
            ("Peak memory", size(result.peak_memory_bytes)),
        )
    )
    dots = [
        Dot(at, piece.mean_kld, piece.mean_kld_error, label=piece.name if at <= 3 else "",
            series=0 if ".attn" in piece.name else 5 if ".ffn" in piece.name else 7,
            title=f"{at}. {piece.name}: {piece.mean_kld:.6f} ± {piece.mean_kld_error:.6f}")
        for at, piece in enumerate(result.pieces, start=1)
    ]  # fmt: skip
    kept = keep(result, KEEP_TYPE, KEEP_PERCENT)
    rules = [(rule.tensor, rule.type) for rule in kept.overrides]
    words = f"{kept.share:.0%} of the summed divergence, for a file {100 * kept.bytes / result.bytes:.1f} % larger."
    headers = ("Piece", "Types", "Size", "Mean KLD", "Share, %", "Median", "99 %", "ln ratio", "Same top, %")
    rows = [
        (
            piece.name,
            ", ".join(dict.fromkeys(tensor.type for tensor in piece.tensors)),
            size(piece.bytes),
            f"{piece.mean_kld:.6f} ± {piece.mean_kld_error:.6f}",
            f"{piece.share:.2f} ± {piece.share_error:.2f}",
            f"{piece.median_kld:.6f}",
            f"{piece.kld_99:.4f}",
            f"{piece.ln_ratio:.5f} ± {piece.ln_ratio_error:.5f}",
            f"{piece.same_top_p:.2f} ± {piece.same_top_p_error:.2f}",
        )
        for piece in result.pieces
    ]
    plot = scatter(dots, "Rank", "Mean KLD, nats")
    return (
        f"Sensitivity of {_name(result.source)} to {result.target}",
        [
            head,
            section("Ranking", figure(plot, "Each piece quantized alone; bars: one standard error.")),
            section(
                f"Worth keeping in {KEEP_TYPE}", *([sentence(words), table(("Rule", "Type"), rules)] if rules else ())
            ),
            section("Pieces", table(headers, rows, words=2)),
        ],
    )


REPORTS: dict[type[Value], Callable[[Any], Report]] = {
    QuantizeResult: _quantization,
    QuantizeManyResult: _many,
    EvaluateResult: _comparison,
    SensitivityResult: _ranking,
}

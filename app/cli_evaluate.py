"""`evaluate`: its arguments, the job they make, and its answer for people. Imports no Qt."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from app.cli_options import BadUsage, count
from app.cli_report import add_report_option
from app.cli_text import duration, facts, table
from core.errors import size
from core.jobs import (
    AS_RUN,
    QUICK_CHUNKS,
    Category,
    Disagreement,
    EvaluateJob,
    EvaluateResult,
    ModelEvaluation,
    SensitivityResult,
)

# Of how many tokens each model's disagreement is printed; --json has more of them.
PRINTED = 6


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """The arguments of `evaluate`."""
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="a model made from SRC, in any format that can be read")
    add("--against", required=True, metavar="SRC", help="the original: a .gguf file or a Hugging Face folder")
    add("--text", action="append", default=[], metavar="FILE", help="a text in UTF-8, JSONL, or a dataset "
        "(dataset:OWNER/NAME); may be repeated; without one, "
        "the program's own texts are read: prose, code, chats and many languages")  # fmt: skip
    add("--category", action="append", default=[], choices=get_args(Category), help="only this kind of the program's "
        "own texts; may be repeated")  # fmt: skip
    add("--context", type=count, default=512, metavar="N", help="length of a window in tokens (512)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--chunks", type=count, default=0, metavar="N", help="how many windows at most; 0, the "
        "default, takes all")  # fmt: skip
    length.add_argument("--quick", action="store_const", dest="chunks", const=QUICK_CHUNKS, help="a few windows, one "
        "of each kind of text")  # fmt: skip
    add("--dry-run", action="store_true", help="say what it needs and how long it takes, and compute nothing")
    add("--as-run", action="store_true", help="GGUF files as llama.cpp runs them: activations rounded to 8 bits where "
        "they meet a quantized matrix")  # fmt: skip
    add_report_option(parser)
    add("--threads", type=count, default=0, metavar="N", help="0, the default, uses all cores")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (cpu)")


def asked_evaluation(options: argparse.Namespace) -> EvaluateJob:
    """The job that the arguments ask for. Raises BadUsage."""
    if options.text and options.category:
        raise BadUsage("--category chooses among the program's own texts", remedy="Leave out --text or --category")
    return EvaluateJob(
        source=os.path.abspath(options.against),
        models=tuple(map(os.path.abspath, options.models)),
        text=tuple(options.text),
        categories=tuple(dict.fromkeys(options.category)),
        context=options.context,
        chunks=options.chunks,
        as_run=options.as_run,
        threads=options.threads,
        device=options.device,
    )


def evaluated(result: EvaluateResult) -> str:
    """The answer: the figures of every model, its divergence by category, and where it disagrees most."""
    parts = [_figures(result.models)]
    if len(result.models[0].categories) > 1:
        parts.append(_by_category(result.models))
    parts += [_disagreements(model) for model in result.models if model.disagreements]
    first = result.models[0]
    parts.append(
        facts(
            ("Original", f"{result.source} ({size(result.source_bytes)})"),
            ("Its perplexity", with_error(first.ppl_base, first.ppl_base_error, 3)),
            *([("Activations", AS_RUN)] if result.as_run else []),
            *measured(result),
        )
    )
    parts += [f"note: {warning}." for warning in result.warnings]
    return "\n\n".join(parts)


def measured(result: EvaluateResult | SensitivityResult) -> tuple[tuple[str, str], ...]:
    """What was read, and what that took."""
    return (
        ("Text", ", ".join(result.datasets)),
        ("Scored", f"{result.tokens:,} tokens in {result.chunks:,} windows of {result.context}"),
        ("Time", duration(result.seconds)),
        ("Peak memory", size(result.peak_memory_bytes)),
    )


def _figures(models: Sequence[ModelEvaluation]) -> str:
    headers = (
        "Model",
        "Size",
        "Perplexity",
        "ln ratio",
        "Mean KLD",
        "± windows",
        "Median",
        "99% KLD",
        "RMS Δp %",
        "Same top %",
    )
    rows = [
        (
            Path(model.model).name,
            size(model.bytes),
            with_error(model.ppl, model.ppl_error, 3),
            with_error(model.ln_ratio, model.ln_ratio_error, 4),
            with_error(model.mean_kld, model.mean_kld_error, 5),
            f"± {model.mean_kld_window_error:.5f}",
            f"{model.median_kld:.5f}",
            f"{model.kld_99:.4f}",
            with_error(model.rms_dp, model.rms_dp_error, 2),
            with_error(model.same_top_p, model.same_top_p_error, 2),
        )
        for model in models
    ]
    return table(headers, rows, " rrrrrrrrr")


def _by_category(models: Sequence[ModelEvaluation]) -> str:
    headers = ("Mean KLD of", *(found.category for found in models[0].categories))
    rows = [
        (
            Path(model.model).name,
            *(with_error(part.mean_kld, part.mean_kld_window_error, 5) for part in model.categories),
        )
        for model in models
    ]
    return table(headers, rows, " " + "r" * (len(headers) - 1))


def _disagreements(model: ModelEvaluation) -> str:
    headers = (
        f"Where {Path(model.model).name} disagrees most",
        "came",
        "p",
        "original",
        "likeliest",
        "original",
        "KLD",
    )
    rows = [_row(found) for found in model.disagreements[:PRINTED]]
    return table(headers, rows, "  rr  r")


def _row(found: Disagreement) -> tuple[str, ...]:
    words = (found.token, found.top, found.top_base)
    token, top, top_base = (_quoted(word) for word in words)
    before = "…" + _line(found.before)[-40:]
    return before, token, f"{found.p:.2%}", f"{found.p_base:.2%}", top, top_base, f"{found.kld:.3f}"


def _quoted(token: str) -> str:
    return f"'{_line(token)}'"


def _line(words: str) -> str:
    """On one line, with what would move the cursor shown instead."""
    return "".join("⏎" if letter == "\n" else letter if letter.isprintable() else "·" for letter in words)


def with_error(value: float, error: float, digits: int) -> str:
    """'0.0123 ± 0.0004'."""
    return f"{value:.{digits}f} ± {error:.{digits}f}"

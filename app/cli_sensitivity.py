"""`sensitivity`: its arguments, the job they make, its answer for people, and the recipe it saves. Imports no Qt."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

from app.cli_evaluate import measured, with_error
from app.cli_options import BadUsage, count, target_names
from app.cli_report import add_report_option
from app.cli_text import facts, table
from core.catalog import TARGETS
from core.errors import OutputNotWritable, size
from core.jobs import (
    RANKING_CHUNKS,
    RANKING_CONTEXT,
    Category,
    Fit,
    Grain,
    Piece,
    QuantizeOptions,
    SensitivityJob,
    SensitivityResult,
)
from core.keeping import Keeping, added_bytes, keep, recipe, summed
from core.recipe_file import to_toml
from kernels.blocks import FORMATS

# How many pieces are printed; --json has all.
PRINTED = 20


def add_sensitivity_options(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sensitivity`."""
    add = parser.add_argument
    add("source", metavar="SRC", help="a .gguf file or a Hugging Face folder")
    add("--to", required=True, metavar="TYPE", help=f"the quantization: one of {', '.join(TARGETS)}")
    add("--by", choices=get_args(Grain), default="group", help="what is quantized alone: a tensor, the attention or "
        "the feed-forward part of a layer, or a layer (group)")  # fmt: skip
    add("--pure", action="store_true", help="one type for every weight matrix")
    add("--fit", choices=get_args(Fit), default="fast", help="how hard the codes are searched for (fast)")
    add("--imatrix", default="", metavar="FILE", help="an importance matrix, or compute")
    add("--text", action="append", default=[], metavar="FILE", help="a text in UTF-8, JSONL, or a dataset "
        "(dataset:OWNER/NAME); may be repeated; without one, "
        "the program's own texts are read")  # fmt: skip
    add("--category", action="append", default=[], choices=get_args(Category), help="only this kind of the program's "
        "own texts; may be repeated")  # fmt: skip
    add("--context", type=count, default=RANKING_CONTEXT, metavar="N", help=f"length of a window in tokens "
        f"({RANKING_CONTEXT})")  # fmt: skip
    add("--chunks", type=count, default=RANKING_CHUNKS, metavar="N", help="how many windows at most "
        f"({RANKING_CHUNKS}); 0: all")  # fmt: skip
    add("--keep-type", type=_type, default="Q8_0", metavar="TYPE", help="what the most sensitive pieces are to be kept "
        "in (Q8_0)")  # fmt: skip
    add("--grow", type=_percent, default=5.0, metavar="PERCENT", help="how much larger that may make the file (5)")
    add("--save-recipe", default="", metavar="FILE", help="writes a recipe that keeps them (.toml)")
    add("--dry-run", action="store_true", help="say what it needs and how long it takes, and compute nothing")
    add_report_option(parser)
    add("--threads", type=count, default=0, metavar="N", help="0, the default, uses all cores")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (cpu)")


def _type(name: str) -> str:
    if name.upper() not in FORMATS:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(FORMATS)}")
    return name.upper()


def _percent(words: str) -> float:
    try:
        number = float(words)
    except ValueError:
        number = -1.0
    if not 0 < number <= 1000:
        raise argparse.ArgumentTypeError(f"{words} is no percentage above 0")
    return number


def asked_sensitivity(options: argparse.Namespace) -> SensitivityJob:
    """The job that the arguments ask for. Raises BadUsage."""
    if options.text and options.category:
        raise BadUsage("--category chooses among the program's own texts", remedy="Leave out --text or --category")
    targets = target_names(options.to)
    if len(targets) > 1:
        raise BadUsage("--to names several types", remedy="Measure them one after another")
    wanted = QuantizeOptions(target=targets[0], pure=options.pure, fit=options.fit, imatrix=options.imatrix)
    return SensitivityJob(
        source=os.path.abspath(options.source),
        options=wanted,
        by=options.by,
        text=tuple(options.text),
        categories=tuple(dict.fromkeys(options.category)),
        context=options.context,
        chunks=options.chunks,
        threads=options.threads,
        device=options.device,
    )


def save_recipe(result: SensitivityResult, options: argparse.Namespace, wanted: QuantizeOptions) -> None:
    """Writes the recipe where one was asked for. Raises OutputNotWritable."""
    if options.save_recipe:
        path = Path(options.save_recipe)
        words = to_toml(recipe(path.stem, keep(result, options.keep_type, options.grow), wanted))
        try:
            path.write_text(words, encoding="utf-8")
        except OSError as error:
            raise OutputNotWritable(str(path), error.strerror or str(error)) from error


def ranked(result: SensitivityResult, wanted: str, percent: float) -> str:
    """The answer: the ranking, what is worth keeping, and what was measured."""
    shown = result.pieces[:PRINTED]
    rest = len(result.pieces) - len(shown)
    parts = [_table(shown, wanted)]
    if rest:
        parts.append(f"… and {rest} more, which --json has.")
    parts.append(_kept(result, keep(result, wanted, percent), percent))
    together = result.together
    parts.append(
        facts(
            ("All together", f"{with_error(together.mean_kld, together.mean_kld_error, 5)} mean KLD"),
            ("Sum of the pieces", f"{summed(result.pieces):.5f}"),
            *measured(result),
        )
    )
    parts += [f"note: {warning}." for warning in result.warnings]
    return "\n\n".join(parts)


def _table(pieces: tuple[Piece, ...], wanted: str) -> str:
    headers = (
        "Quantized alone",
        "Types",
        "Size",
        f"In {wanted}",
        "Mean KLD",
        "Share %",
        "99% KLD",
        "ln ratio",
        "Same top %",
    )
    rows = [
        (
            piece.name,
            ", ".join(dict.fromkeys(tensor.type for tensor in piece.tensors)),
            size(piece.bytes),
            size(piece.bytes + added_bytes(piece, wanted)),
            with_error(piece.mean_kld, piece.mean_kld_error, 6),
            with_error(piece.share, piece.share_error, 2),
            f"{piece.kld_99:.4f}",
            with_error(piece.ln_ratio, piece.ln_ratio_error, 4),
            with_error(piece.same_top_p, piece.same_top_p_error, 2),
        )
        for piece in pieces
    ]
    return table(headers, rows, "  rrrrrrr")


def _kept(result: SensitivityResult, keeping: Keeping, percent: float) -> str:
    if not keeping.pieces:
        return f"Nothing can be kept in {keeping.type} while the file grows by at most {percent:g} %."
    rules = "\n".join(f"  --tensor-type '{rule.tensor}={rule.type}'" for rule in keeping.overrides)
    grown = 100 * keeping.bytes / result.bytes
    return (
        f"Worth keeping in {keeping.type}: {', '.join(piece.name for piece in keeping.pieces)}\n"
        f"{keeping.share:.0%} of the summed divergence, for a file {grown:.1f} % larger:\n{rules}"
    )

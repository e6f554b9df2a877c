"""Arguments of GPTQ, for checkpoints and for GGUF files alike. Imports no Qt."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.hub.cache import DATASET
from core.jobs import GptqOptions

ACT_ORDERS = ("groups", "static", "off")
# Fields of the options that have a value of their own where nothing is given, and the names of argparse.
GPTQ_OPTIONS = {
    "act_order": "act_order",
    "damp": "damp",
    "sinks": "sinks",
    "target": "asymmetric_target",
    "passes": "passes",
}
# What GPTQ has for GGUF files as well as for checkpoints.
OF_GPTQ = ("text", *GPTQ_OPTIONS.values())


def add_gptq_options(add: Callable[..., Any]) -> None:
    """How layers are solved."""
    add(
        "--act-order",
        choices=ACT_ORDERS,
        help="gptq: columns by importance inside groups (checkpoints), over all (GGUF files), or as they are",
    )
    add("--damp", type=float, metavar="X", help="gptq: share of the mean added to the moments' diagonal (0.01)")
    add("--sinks", type=float, metavar="N", help="gptq: how often the first position counts for q, k and v (64)")
    add("--asymmetric-target", type=float, metavar="X", help="gptq: aim at the original model's outputs, 0 to 1 (0)")
    add("--passes", type=int, metavar="N", help="gptq: passes of coordinate descent afterwards, 0 to 100 (4)")


def place_of_text(name: str) -> str:
    """A text as a job names it: a file by its whole path, a dataset as it is."""
    return name if name.startswith(DATASET) else str(Path(name).absolute())


def given(options: argparse.Namespace) -> dict[str, Any]:
    """Of GPTQ_OPTIONS those that were given."""
    return {field: value for field, name in GPTQ_OPTIONS.items() if (value := getattr(options, name)) is not None}


def is_solved_gguf(options: argparse.Namespace) -> bool:
    """Whether GGUF files are asked for whose matrices GPTQ solves; not every command has methods."""
    is_gguf = bool(options.to or options.recipe) and not getattr(options, "export", None)
    return is_gguf and getattr(options, "method", None) == "gptq"


def gptq_options(options: argparse.Namespace) -> GptqOptions | None:
    """What the arguments say of it; None where the matrices are not solved."""
    if not is_solved_gguf(options):
        return None
    texts = tuple(map(place_of_text, options.text))
    windows = {"samples": options.samples, "length": options.length}
    return GptqOptions.model_validate({"text": texts, **windows, **given(options)})

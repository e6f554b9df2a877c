"""Arguments that decide what a quantization does: how they are written, and the value they make. Imports no Qt."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from app.cli_gptq import gptq_options
from core.catalog import TARGETS
from core.errors import BadInput
from core.jobs import Fit, KeyOverride, Override, QuantizeOptions
from core.recipe_file import Recipe, part_bytes
from core.recipes import find_recipe, presets

MAX_DIGITS = 10
KINDS = get_args(KeyOverride.model_fields["type"].annotation)


class BadUsage(BadInput):
    """The arguments make no sense."""


def override(argument: str) -> Override:
    """NAME=TYPE or REGEX=TYPE as a value. Raises what argparse turns into a message."""
    name, _, type_name = argument.rpartition("=")
    if not name or not type_name:
        raise argparse.ArgumentTypeError(f"{argument} is not of the form NAME=TYPE")
    return Override(tensor=name, type=type_name)


def key_override(argument: str) -> KeyOverride:
    """KEY=TYPE:VALUE as a value. Raises what argparse turns into a message."""
    key, _, rest = argument.partition("=")
    kind, colon, value = rest.partition(":")
    if not key or not colon or kind not in KINDS:
        raise argparse.ArgumentTypeError(
            f"{argument} is not of the form KEY=TYPE:VALUE with a TYPE of {', '.join(KINDS)}"
        )
    return KeyOverride(key=key, type=kind, value=value)


def layer_numbers(argument: str) -> tuple[int, ...]:
    """Numbers separated by commas, as values in order, each once. Raises what argparse turns into a message."""
    numbers = [number.strip() for number in argument.split(",")]
    if not all(number.isascii() and number.isdigit() and len(number) < MAX_DIGITS for number in numbers):
        raise argparse.ArgumentTypeError(f"{argument} is no list of layer numbers such as 4,5,6")
    return tuple(sorted({int(number) for number in numbers}))


def count(argument: str) -> int:
    """A number that is not negative."""
    if not argument.isdigit():
        raise argparse.ArgumentTypeError(f"{argument} is not a whole number of at least 0")
    return int(argument)


def part_size(argument: str) -> int:
    """A size as llama-gguf-split writes it, 500M or 2G in decimal units, in bytes. Raises what argparse shows."""
    try:
        return part_bytes(argument)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def target_names(argument: str) -> tuple[str, ...]:
    """Types separated by commas, each once. Raises BadUsage where there is none."""
    names = dict.fromkeys(name.strip().upper() for name in argument.split(",") if name.strip())
    if not names:
        raise BadUsage("--to names no type", remedy="Name one, or several separated by commas")
    return tuple(names)


def add_source(parser: argparse.ArgumentParser) -> None:
    """The model to read."""
    parser.add_argument("source", metavar="SRC", help="a .gguf file, a Hugging Face folder or a .safetensors file")


def add_choice_options(parser: argparse.ArgumentParser) -> None:
    """What is wanted as a whole: types, or a recipe."""
    names = ", ".join(TARGETS)
    parser.add_argument("--to", default="", metavar="TYPE", help=f"one of {names}; several separated by commas")
    recipes = ", ".join(recipe.id for recipe in presets())
    parser.add_argument(
        "--recipe",
        type=_recipe,
        metavar="NAME",
        help=f"a TOML file that says everything but the model, or one of {recipes}; other options go before it",
    )


def _recipe(name: str) -> Recipe:
    return find_recipe(name)


def chosen_targets(options: argparse.Namespace) -> tuple[str, ...]:
    """The types of --to, else those of the recipe. Raises BadUsage where there is neither."""
    if options.to:
        return target_names(options.to)
    if options.recipe:
        return tuple(options.recipe.targets)
    raise BadUsage("Neither --to nor --recipe is given", remedy="Name a type, such as --to Q4_K_M, or a recipe")


def add_type_options(parser: argparse.ArgumentParser) -> None:
    """Which tensor gets which type, and what the output says of itself."""
    add = parser.add_argument
    add(
        "--tensor-type",
        type=override,
        action="append",
        default=[],
        metavar="NAME=TYPE",
        help="another type for one tensor by its exact name, or for all whose name a regular expression finds; "
        "may be repeated, the first expression that fits counts",
    )
    add("--tensor-type-file", metavar="FILE", help="a text file with NAME=TYPE words, as for --tensor-type")
    add("--output-tensor-type", default="", metavar="TYPE", help="the type of the output layer")
    add("--token-embedding-type", default="", metavar="TYPE", help="the type of the token embedding")
    add("--leave-output-tensor", action="store_true", help="leave the output layer as it is")
    add("--keep-unquantized", action="store_true", help="what the source has not quantized keeps its type")
    add("--pure", action="store_true", help="one type for every weight matrix")
    add("--strict", action="store_true", help="fail where a type does not fit a tensor, instead of taking another")
    add(
        "--fit",
        choices=get_args(Fit),
        help="how hard to search for the codes: fast (the default); reference, the bytes that llama-quantize writes; "
        "best, a smaller error in more time",
    )
    add("--allow-requantize", action="store_true", help="accept a source that is already quantized")
    add(
        "--override-kv",
        type=key_override,
        action="append",
        default=[],
        metavar="KEY=TYPE:VALUE",
        help=f"set a metadata entry of the output; TYPE is one of {', '.join(KINDS)}; may be repeated",
    )
    add(
        "--prune-layers",
        type=layer_numbers,
        default=[],
        metavar="L0,L1,...",
        help="drop these layers, counted from 0, and number the others anew; other options name the tensors of the "
        "result",
    )


def add_converter_option(parser: argparse.ArgumentParser) -> None:
    """What reads a model that no family here is for."""
    parser.add_argument(
        "--converter",
        default="",
        metavar="PATH",
        help="a llama.cpp checkout, whose convert_hf_to_gguf.py first converts a folder of a family that is not known "
        "here; it runs as it is, and may run code that the model brings",
    )


def converter_of(options: argparse.Namespace) -> str:
    """The checkout's absolute path, '' where none was given."""
    return str(Path(options.converter).absolute()) if getattr(options, "converter", "") else ""


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """Into how many files the output goes."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--keep-split", action="store_true", help="as many files as the source has")
    group.add_argument(
        "--split-max-size",
        type=part_size,
        default=0,
        metavar="SIZE",
        help="as many files as are needed for none to be larger than SIZE, such as 500M or 2G",
    )


def add_importance_options(parser: argparse.ArgumentParser) -> None:
    """An importance matrix, and the tensors it is used for."""
    parser.add_argument(
        "--imatrix",
        default="",
        metavar="FILE",
        help="an importance matrix of llama.cpp (GGUF or .dat), or `compute`: one from the program's own texts, "
        "computed first and kept for the next time",
    )
    for option, words in (("--include-weights", "only"), ("--exclude-weights", "not")):
        parser.add_argument(
            option,
            action="append",
            default=[],
            metavar="PART",
            help=f"use it {words} for tensors with this part in their name; may be repeated",
        )


def quantize_options(options: argparse.Namespace, target: str) -> QuantizeOptions:
    """What the arguments ask for, for one of the targets.

    Raises BadUsage for a file that cannot be used, and RecipeNeedsImatrix.
    """
    given = QuantizeOptions(
        target=target,
        fit=options.fit or (options.recipe.options.fit if options.recipe else "fast"),
        overrides=(*options.tensor_type, *_overrides_of_file(options.tensor_type_file)),
        pure=options.pure,
        allow_requantize=options.allow_requantize,
        output_tensor_type=options.output_tensor_type,
        token_embedding_type=options.token_embedding_type,
        leave_output_tensor=options.leave_output_tensor,
        keep_unquantized=options.keep_unquantized,
        strict=options.strict,
        imatrix=str(Path(options.imatrix).absolute()) if options.imatrix else "",
        include_weights=tuple(options.include_weights),
        exclude_weights=tuple(options.exclude_weights),
        override_kv=tuple(options.override_kv),
        keep_split=options.keep_split,
        split_max_bytes=options.split_max_size,
        converter=converter_of(options),
        prune_layers=tuple(options.prune_layers),
        gptq=gptq_options(options),
    )
    return options.recipe.completed(given) if options.recipe else given


def _overrides_of_file(path: str | None) -> list[Override]:
    if path is None:
        return []
    try:
        words = Path(path).read_text(encoding="utf-8").split()
        return [override(word) for word in words]
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
        raise BadUsage(f"{path} cannot be read", why, "Give a text file with one NAME=TYPE per line") from error
    except argparse.ArgumentTypeError as error:
        raise BadUsage(f"{path} cannot be used", str(error), "Write one NAME=TYPE per line") from error

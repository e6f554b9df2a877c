"""Arguments of `plan` and `quantize` that make a checkpoint instead of a GGUF file. Imports no Qt."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from app.cli_gptq import OF_GPTQ, add_gptq_options, given, is_solved_gguf, place_of_text
from app.cli_options import BadUsage
from core.jobs import MethodOptions
from core.methods.table import ACTIVATIONS, EXPORTS, FORM, GROUP_NAMES, METHOD, METHODS, PRESTEPS

RULES = ("minmax", "percentile", "mse", "entropy")
# What only one of the two kinds of output has, by the names of argparse.
OF_GGUF = (
    "to",
    "recipe",
    "tensor_type",
    "tensor_type_file",
    "output_tensor_type",
    "token_embedding_type",
    "leave_output_tensor",
    "keep_unquantized",
    "pure",
    "strict",
    "fit",
    "allow_requantize",
    "override_kv",
    "prune_layers",
    "keep_split",
    "split_max_size",
    "include_weights",
    "exclude_weights",
)
OF_CHECKPOINTS = (
    "export",
    "bits",
    "group",
    "asymmetric",
    "restricted",
    "range",
    "double_quant",
    "activations",
    "activation_range",
    "prestep",
    "alpha",
    "skip",
    "rule",
    "text",
    "act_order",
    "damp",
    "sinks",
    "asymmetric_target",
    "passes",
)


def group(argument: str) -> int:
    """A number of weights, `channel` or `tensor`. Raises what argparse turns into a message."""
    named = {word: number for number, word in GROUP_NAMES.items()} | {"-1": -1}
    if argument in named:
        return named[argument]
    if not argument.isdigit() or int(argument) == 0:
        raise argparse.ArgumentTypeError(f"{argument} is not a number of weights, channel or tensor")
    return int(argument)


def range_of(argument: str) -> dict[str, object]:
    """A rule, `percentile:99.5`, or `LOW:HIGH`, as fields of MethodOptions. Raises what argparse shows."""
    name, _, number = argument.partition(":")
    try:
        if name == "percentile" and number:
            return {"range": name, "percentile": float(number)}
        if argument in RULES:
            return {"range": argument}
        if number:
            return {"range": "given", "range_low": float(name), "range_high": float(number)}
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{argument} is none of {', '.join(RULES)}, percentile:NUMBER and LOW:HIGH")


def activation_range(argument: str) -> dict[str, object]:
    """A rule or `percentile:99.99`, as fields of MethodOptions. Raises what argparse shows."""
    name, _, number = argument.partition(":")
    if argument in RULES:
        return {"activation_range": argument}
    try:
        if name == "percentile" and number:
            return {"activation_range": name, "activation_percentile": float(number)}
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{argument} is none of {', '.join(RULES)} and percentile:NUMBER")


# Words of a rule that need no number.
SWITCHES: dict[str, dict[str, Any]] = {
    "asymmetric": {"asymmetric": True},
    "symmetric": {"asymmetric": False},
    **{row.name: {"activations": row.name} for row in ACTIVATIONS},
    "weights-only": {"activations": ""},
}
_NAMES = "|".join([*(row.name for row in METHODS), "keep"])
_VALUE = rf"(?:bits=\d+|group=-?\w+|{'|'.join(SWITCHES)})"
_VALUES = rf"{_VALUE}(?:,{_VALUE})*"
_RULE = re.compile(rf"(?P<pattern>.+?)=(?:(?P<method>{_NAMES})(?::(?P<own>{_VALUES}))?|(?P<shared>{_VALUES}))")


def rule(argument: str) -> dict[str, Any]:
    """`REGEX=METHOD:bits=N,group=N,asymmetric`, parts of it or `REGEX=keep`, for MethodRule. Raises for argparse."""
    match = _RULE.fullmatch(argument)
    if match is None:
        wanted = f"METHOD, bits=N, group=N, {', '.join(SWITCHES)} or keep"
        raise argparse.ArgumentTypeError(f"{argument} is not REGEX=WHAT with WHAT of {wanted}")
    fields: dict[str, Any] = {"pattern": match["pattern"]}
    if match["method"]:
        fields |= {"keep": True} if match["method"] == "keep" else {"method": match["method"]}
    for value in filter(None, (match["own"] or match["shared"] or "").split(",")):
        name, _, number = value.partition("=")
        fields |= SWITCHES.get(name) or {name: int(number) if name == "bits" else group(number)}
    return fields


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """Everything about checkpoints."""
    add = parser.add_argument_group("checkpoints for transformers and vLLM, instead of --to").add_argument
    add("--method", metavar="METHOD", help=f"one of {', '.join(method.name for method in METHODS)}")
    add("--export", metavar="FORM[,FORM...]", help=f"one or more of {', '.join(FORM)}")
    add("--bits", type=int, default=0, metavar="N", help="bits of a weight (4)")
    add("--group", type=group, metavar="N", help="how many weights share a scale, or channel, or tensor")
    add("--asymmetric", action="store_true", help="zero points beside scales")
    add("--restricted", action="store_true", help="leave the lowest of symmetric integers out")
    add(
        "--range",
        type=range_of,
        metavar="RULE",
        help=f"what a scale covers: {', '.join(RULES)}, percentile:NUMBER or LOW:HIGH (mse up to 4 bits, else minmax)",
    )
    add("--double-quant", action="store_true", help="scales of NF4 and FP4 in 8 bits")
    add("--activations", default="", choices=[row.name for row in ACTIVATIONS], help="8-bit activations as well")
    add(
        "--activation-range",
        type=activation_range,
        metavar="RULE",
        help=f"what the scale of static activations covers: {', '.join(RULES)} or percentile:NUMBER (mse)",
    )
    add("--prestep", default="", choices=[row.name for row in PRESTEPS], help="scales folded into the weights first")
    add("--alpha", type=float, metavar="X", help="how much of outliers SmoothQuant moves into the weights (0.5)")
    add(
        "--text",
        action="append",
        default=[],
        metavar="FILE",
        help="text for a calibrated method, or dataset:OWNER/NAME (the program's own)",
    )
    add("--samples", type=int, default=128, metavar="N", help="at most so many windows of the text (128)")
    add("--length", type=int, metavar="N", help="tokens of a window (512, or the model's context where shorter)")
    add_gptq_options(add)
    add(
        "--rule",
        type=rule,
        action="append",
        default=[],
        metavar="REGEX=WHAT",
        help="other settings for layers: METHOD:bits=N,group=N,asymmetric, or keep; may be repeated, the first decides",
    )
    add("--skip", action="append", default=[], metavar="REGEX", help="layers that stay as they are; may be repeated")


def check_kind(options: argparse.Namespace) -> None:
    """Raises BadUsage where options of the two kinds of output are mixed."""
    if is_solved_gguf(options):
        wrong = tuple(name for name in OF_CHECKPOINTS if name not in OF_GPTQ)
        kind = "checkpoints"
    else:
        wrong, kind = (OF_GGUF, "GGUF files") if options.method else (OF_CHECKPOINTS, "checkpoints")
    found = next((name for name in wrong if getattr(options, name, None) not in (None, "", 0, False, [])), None)
    # A group per tensor is 0, and still is an option that was given.
    found = "group" if not options.method and options.group is not None else found
    if found is not None:
        other = options.method and not is_solved_gguf(options)
        remedy = f"Leave {'--method' if other else 'it'} out" + ("" if options.method else ", or add --method")
        raise BadUsage(f"--{found.replace('_', '-')} belongs to {kind}", remedy=remedy)
    if options.method and not options.export and not is_solved_gguf(options):
        method = METHOD.get(options.method)
        names = ", ".join(method.exports if method else (export.name for export in EXPORTS))
        raise BadUsage("--method needs --export", remedy=f"Add --export with one of {names}")


def forms_of(options: argparse.Namespace) -> tuple[str, ...]:
    """What --export names. Raises BadUsage."""
    forms = tuple(name.strip() for name in options.export.split(","))
    if "" in forms or len(set(forms)) < len(forms):
        remedy = f"Use names of {', '.join(export.name for export in EXPORTS)}, each once"
        raise BadUsage(f"--export {options.export} is no list of different forms", remedy=remedy)
    return forms


def method_options(options: argparse.Namespace) -> MethodOptions:
    """What the arguments ask for, in the first of the forms."""
    return MethodOptions.model_validate(
        {
            "method": options.method,
            "export": forms_of(options)[0],
            "bits": options.bits,
            "group": options.group,
            "asymmetric": options.asymmetric,
            "restricted": options.restricted,
            "double_quant": options.double_quant,
            "activations": options.activations,
            "prestep": options.prestep,
            "imatrix": str(Path(options.imatrix).absolute()) if options.imatrix else "",
            "skip": tuple(options.skip),
            "rules": tuple(options.rule),
            "text": tuple(map(place_of_text, options.text)),
            "samples": options.samples,
            "length": options.length,
            **(options.range or {}),
            **(options.activation_range or {}),
            **({} if options.alpha is None else {"alpha": options.alpha}),
            **given(options),
        }
    )

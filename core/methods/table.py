"""THE table of methods that make checkpoints, and of the forms of checkpoints they can be written in.

This module is light: standard library only. What a form cannot hold is refused here before anything is computed, with
the nearest choice that it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

# Groups that are no number of weights.
TENSOR = 0
CHANNEL = -1
GROUP_NAMES = {TENSOR: "tensor", CHANNEL: "channel"}
GROUPS = (TENSOR, CHANNEL, 16, 32, 64, 128, 256)
INTEGERS = (2, 3, 4, 5, 6, 7, 8)
BOTH = (True, False)


@dataclass(frozen=True, slots=True)
class Method:
    """A choice of `--method`. bits, groups, symmetric: what it can do; the first of each is what it does by itself.

    groups is empty where the method has its own. calibration: needs a text to be measured on. loss: for each of `bits`
    1 (none to speak of) to 5 (heavy), from `loss_source`, on the scale of core.catalog. ranges: rules for what a scale
    covers, none where the method finds that by itself. options: further fields of MethodOptions that only it and some
    others have. trained: keeps only models that were trained in its form. activations: how they may be rounded while
    the model runs, '' meaning not at all.
    """

    name: str
    title: str
    sentence: str
    bits: tuple[int, ...]
    exports: tuple[str, ...]
    groups: tuple[int, ...] = ()
    symmetric: tuple[bool, ...] = (True,)
    calibration: bool = False
    loss: tuple[int, ...] = ()
    loss_source: str = ""
    ranges: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    recommended: bool = False
    trained: bool = False
    activations: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Activations:
    """A choice of `--activations`: how what meets the quantized layers is rounded while the model runs.

    word: in labels. calibration: needs a text.
    """

    name: str
    title: str
    sentence: str
    word: str
    calibration: bool = False


@dataclass(frozen=True, slots=True)
class PreStep:
    """A choice of `--prestep`: what is folded into the weights before another method rounds them; needs a text."""

    name: str
    title: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Export:
    """A choice of `--export`. bits, groups, symmetric, activations: what it can hold of linear integers.

    runs_in: programs that load it. mixed: in what its layers may differ from each other, of the fields of a Choice.
    experts: programs that load mixtures of experts from it.
    """

    name: str
    title: str
    sentence: str
    runs_in: tuple[str, ...]
    bits: tuple[int, ...] = INTEGERS
    groups: tuple[int, ...] = GROUPS
    symmetric: tuple[bool, ...] = BOTH
    mixed: tuple[str, ...] = ()
    activations: tuple[str, ...] = ("",)
    experts: tuple[str, ...] = ()


RANGES = ("minmax", "percentile", "mse", "entropy", "given")
_LLAMA = "perplexity {} on LLaMA-7B (5.68 at F16), from the GPTQ paper"
_QLORA = "mean perplexity {}, over models of 125 million to 13 billion weights, from the QLoRA paper"
_BESIDE = "no published figure for a common model: placed beside {} by its bits"
_TRAINED = "made for models trained in this form; any other model loses nearly everything"
INTEGER_EXPORTS = ("compressed-tensors", "gptq", "awq", "bf16")
ACTIVATIONS: tuple[Activations, ...] = (
    Activations(
        "dynamic",
        "8 bits, token by token",
        "Each token is rounded by its own largest magnitude while the model runs; needs no text.",
        "a8",
    ),
    Activations(
        "static",
        "8 bits, one scale",
        "One scale for all tokens, found on a text: quicker to run; outliers cost more.",
        "a8 static",
        calibration=True,
    ),
    Activations(
        "static-asymmetric",
        "8 bits, one scale and zero point",
        "The same with a zero point, for activations that lie to one side.",
        "a8 static asym",
        calibration=True,
    ),
)
ROUNDED = tuple(row.name for row in ACTIVATIONS)
PRESTEPS: tuple[PreStep, ...] = (
    PreStep("awq", "AWQ scales", "Makes weights that meet large activations count more when they are rounded."),
    PreStep("smoothquant", "SmoothQuant", "Moves outliers from the activations, which are rounded too, into weights."),
)

METHODS: tuple[Method, ...] = (
    Method(
        "int",
        "Whole numbers",
        "Rounds every weight to the nearest of a few evenly spaced steps; quick, and needs no text.",
        (4, 2, 3, 5, 6, 7, 8),
        INTEGER_EXPORTS,
        (128, *GROUPS),
        BOTH,
        loss=(4, 5, 5, 2, 1, 1, 1),
        loss_source=_LLAMA.format("+0.61 in 4 bits with one scale for each row, less with groups"),
        ranges=RANGES,
        options=("restricted", "imatrix", "prestep"),
        activations=("", *ROUNDED),
    ),
    Method(
        "hqq",
        "Whole numbers, half-quadratic",
        "Shifts the steps of each group so that a few large weights do not spoil the rest; quick, and needs no text.",
        (4, 2, 3, 5, 6, 7, 8),
        INTEGER_EXPORTS,
        (64, CHANNEL, 16, 32, 128, 256),
        (False,),
        loss=(4, 5, 5, 2, 1, 1, 1),
        loss_source=_BESIDE.format("int"),
        options=("prestep",),
    ),
    Method(
        "gptq",
        "GPTQ",
        "Rounds column after column and lets the next ones make up for the error; needs a text and some minutes.",
        (4, 2, 3, 8),
        ("gptq", "compressed-tensors", "awq", "bf16"),
        (128, CHANNEL, 32, 64),
        BOTH,
        calibration=True,
        loss=(3, 5, 4, 1),
        loss_source=_LLAMA.format("+0.41 in 4 bits with one scale for each row, +0.93 in 3 bits with groups of 128"),
        recommended=True,
        ranges=("minmax", "percentile", "mse"),
        options=("restricted", "prestep", "act_order", "damp", "sinks", "target", "passes"),
        activations=("", *ROUNDED),
    ),
    Method(
        "awq",
        "AWQ",
        "Scales weights that meet large activations up before it rounds, and cuts ranges to lose least; needs a text.",
        (4, 2, 3, 5, 6, 7, 8),
        ("awq", "compressed-tensors", "gptq", "bf16"),
        (128, CHANNEL, 16, 32, 64, 256),
        (False,),
        calibration=True,
        loss=(3, 5, 4, 2, 1, 1, 1),
        loss_source="perplexity +0.13 in 4 bits with groups of 128 on Llama-2-7B (5.47 at F16), from the AWQ paper",
    ),
    Method(
        "smoothquant",
        "SmoothQuant",
        "8-bit weights and activations, whose outliers are moved into the weights first; needs a text.",
        (8, 4),
        ("compressed-tensors",),
        (CHANNEL, TENSOR, 32, 64, 128, 256),
        calibration=True,
        loss=(1, 4),
        loss_source="perplexity +0.04 in 8 bits on LLaMA-7B (5.68 at F16), from the SmoothQuant paper",
        ranges=RANGES,
        options=("restricted", "alpha"),
        activations=ROUNDED,
    ),
    Method(
        "nf4",
        "NF4",
        "Sixteen levels placed where normally distributed weights are dense, as QLoRA uses them.",
        (4,),
        ("bitsandbytes", "bf16"),
        loss=(3,),
        loss_source=_QLORA.format("27.41, with rounding to integers 34.34"),
        options=("double_quant",),
    ),
    Method(
        "fp4",
        "FP4",
        "Tiny floating-point numbers; NF4 is usually closer to the original.",
        (4,),
        ("bitsandbytes", "bf16"),
        loss=(4,),
        loss_source=_QLORA.format("31.07, with NF4 27.41"),
        options=("double_quant",),
    ),
    Method(
        "llm-int8",
        "LLM.int8",
        "Every row in 8 bits; the few inputs with very large values are computed in 16 bits when the model runs.",
        (8,),
        ("bitsandbytes", "bf16"),
        loss=(1,),
        loss_source="perplexity 12.45 with and without it at 13 billion weights, from the LLM.int8 paper",
        calibration=True,
    ),
    Method(
        "ternary",
        "Ternary (BitNet b1.58)",
        "Only -1, 0 and 1: keeps models that were trained in this form; any other model does not survive it.",
        (2,),
        ("bitnet", "bf16"),
        loss=(5,),
        loss_source=_TRAINED,
        trained=True,
    ),
    Method(
        "bitnet",
        "1 bit (BitNet)",
        "Only the sign of each weight: a model that was not trained in this form does not survive it.",
        (1,),
        ("bitnet", "bf16"),
        loss=(5,),
        loss_source=_TRAINED,
        trained=True,
    ),
)
EXPORTS: tuple[Export, ...] = (
    Export(
        "compressed-tensors",
        "compressed-tensors",
        "What vLLM and transformers load best: integers of 2 to 8 bits, in every kind of group.",
        ("transformers", "vLLM"),
        mixed=("method", "bits", "group", "symmetric", "activations"),
        activations=("", *ROUNDED),
        experts=("transformers", "vLLM"),
    ),
    Export(
        "gptq",
        "GPTQ",
        "The older layout of AutoGPTQ, which most programs for graphics cards know.",
        ("transformers", "vLLM", "ExLlama"),
        (4, 8, 2, 3),
        (CHANNEL, 32, 64, 128),
        mixed=("method", "bits", "group", "symmetric"),
        experts=("vLLM",),
    ),
    Export(
        "awq",
        "AWQ",
        "AutoAWQ's layout for 4-bit integers with zero points.",
        ("transformers", "vLLM"),
        (4,),
        (32, 64, 128),
        (False,),
        mixed=("method",),
        experts=("vLLM",),
    ),
    Export("bitsandbytes", "bitsandbytes", "Loads in transformers, and can be trained on (QLoRA).", ("transformers",)),
    Export("bitnet", "BitNet", "Four ternary weights in a byte.", ("transformers",), mixed=("method", "bits")),
    Export(
        "bf16",
        "16 bits, not packed",
        "The quantized weights written out as bfloat16: no smaller, but any program can measure them.",
        ("transformers", "vLLM"),
        mixed=("method", "bits", "group", "symmetric"),
        experts=("transformers", "vLLM"),
    ),
)
# Forms that a list of forms may have beside a packed folder, from which the file is written: GGUF types whose blocks
# are groups of 32. Codes and scales of Q4_0 and Q8_0 are the same; Q4_1 rounds each group's lowest weight to F16.
GGUF_RUNS_IN = ("llama.cpp", "LM Studio", "Ollama")
GGUF_FORMS: tuple[Export, ...] = (
    Export("Q4_0", "Q4_0 (GGUF)", "A GGUF file of the same 4-bit integers.", GGUF_RUNS_IN, (4,), (32,), (True,)),
    Export("Q4_1", "Q4_1 (GGUF)", "A GGUF file of the same integers, zero points to 4 digits.", GGUF_RUNS_IN,
           (4,), (32,), (False,)),
    Export("Q8_0", "Q8_0 (GGUF)", "A GGUF file of the same 8-bit integers.", GGUF_RUNS_IN, (8,), (32,), (True,)),
)  # fmt: skip
# What a GGUF file can be written from.
PACKED = ("compressed-tensors", "gptq", "awq")
METHOD = {method.name: method for method in METHODS}
EXPORT = {export.name: export for export in EXPORTS}
GGUF_FORM = {form.name: form for form in GGUF_FORMS}
FORM = EXPORT | GGUF_FORM
ACTIVATION = {row.name: row for row in ACTIVATIONS}
PRESTEP = {row.name: row for row in PRESTEPS}
# Methods that only look at a text, to say what meets the layers, and how many windows of it are enough for that.
LOOKING = {"llm-int8": 4}
# What folds scales by itself is its own pre-step.
OWN_PRESTEP = {name: name for name in PRESTEP}
# Bits of weights that programs multiply with 8-bit activations, and how such activations may be rounded then.
MULTIPLIED = {8: ROUNDED, 4: ("dynamic",)}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for. group: TENSOR, CHANNEL or a number of weights. activations: of ACTIVATIONS, '' = 16 bits."""

    method: str
    export: str
    bits: int
    group: int
    symmetric: bool
    activations: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a choice cannot be made, and what could be chosen instead."""

    what: str
    why: str
    remedy: str


def refusal(choice: Choice) -> Refusal | None:
    """The first thing that is wrong with a choice of known names, or None."""
    method, export = METHOD[choice.method], FORM[choice.export]
    if export.name not in forms_of(method):
        why = f"{export.title} cannot hold what {method.name} makes"
        return Refusal(f"{method.name} cannot be written as {export.name}", why, _use("--export", method.exports[0]))
    if choice.bits not in method.bits:
        return _bits_refusal(choice, method)
    if method.groups:
        found = _beyond(choice, method) or _beyond(choice, export)
        if found is not None:
            return found
    return _activations(choice)


def forms_of(method: Method) -> tuple[str, ...]:
    """All forms that a method's result can have, GGUF types among them where it makes linear integers."""
    return method.exports + (tuple(GGUF_FORM) if set(PACKED) & set(method.exports) else ())


def list_refusal(forms: Sequence[str]) -> Refusal | None:
    """Why these forms cannot be made together, or None: a GGUF file is written from a packed form."""
    files = [form for form in forms if form in GGUF_FORM]
    if not files or any(form in PACKED for form in forms):
        return None
    why = "it is a type of GGUF files, which are written from such a form (alone, it is an argument of --to)"
    return Refusal(f"{files[0]} needs a packed form beside it", why, f"Add one of {', '.join(PACKED)} to --export")


def companions(choice: Choice) -> tuple[str, ...]:
    """Other forms that can be made of the same solution beside the choice's own, by the names of FORM."""
    own = [form for form in FORM if form != choice.export and refusal(replace(choice, export=form)) is None]
    return tuple(form for form in own if list_refusal((choice.export, form)) is None)


def shared_remedy(choice: Choice, exports: Sequence[str]) -> str:
    """What to change so that every one of these forms can hold the choice: as few things as possible, and the nearest.

    '' where no change makes it possible.
    """
    method = METHOD[choice.method]
    groups = method.groups or (choice.group,)
    others = [
        replace(choice, bits=b, group=g, symmetric=s) for b in method.bits for g in groups for s in method.symmetric
    ]
    legal = [one for one in others if not any(refusal(replace(one, export=export)) for export in exports)]
    if not legal:
        return ""
    best = min(legal, key=lambda one: _distance(choice, one))
    words = [f"--bits {best.bits}"] if best.bits != choice.bits else []
    words += [f"--group {group_word(best.group)}"] if best.group != choice.group else []
    if best.symmetric != choice.symmetric:
        words.append("no --asymmetric" if best.symmetric else "--asymmetric")
    return f"Use {' and '.join(words)}"


def _distance(choice: Choice, other: Choice) -> tuple[int, int, int]:
    """How many things differ, and how far bits and groups are from each other."""
    changed = [getattr(choice, name) != getattr(other, name) for name in ("bits", "group", "symmetric")]
    named = (choice.group > 0) != (other.group > 0)
    return sum(changed), abs(choice.bits - other.bits), abs(choice.group - other.group) + (max(GROUPS) if named else 0)


MIX_WORDS = {
    "method": ("methods", "--method"),
    "bits": ("numbers of bits", "--bits"),
    "group": ("groups", "--group"),
    "symmetric": ("integers with and without zero points", "--asymmetric"),
    "activations": ("layers whose activations are rounded in different ways", "--activations"),
}


def mix_refusal(choice: Choice, other: Choice) -> Refusal | None:
    """Why a form that holds one choice cannot hold layers of another beside it, or None."""
    export = FORM[choice.export]
    for field, (word, option) in MIX_WORDS.items():
        value = getattr(choice, field)
        if value != getattr(other, field) and field not in export.mixed:
            able = [row.name for row in EXPORTS if field in row.mixed and row.name in METHOD[other.method].exports]
            why = f"{export.title} says {option} once for all layers"
            same = (
                f"{option} {_value(field, value)} for all"
                if value and not isinstance(value, bool)
                else f"the same {option} for all"
            )
            remedy = f"Use {same}, or leave the layers out with keep" + (f", or use --export {able[0]}" if able else "")
            return Refusal(f"{export.name} cannot mix {word}", why, remedy)
    return None


def _value(field: str, value: object) -> str:
    return group_word(value) if field == "group" and isinstance(value, int) else str(value)


def _beyond(choice: Choice, row: Method | Export) -> Refusal | None:
    """What of a choice of linear integers a row does not offer."""
    if choice.bits not in row.bits:
        return _bits_refusal(choice, row)
    if choice.group not in row.groups:
        return _group_refusal(choice, row)
    if choice.symmetric not in row.symmetric:
        word, remedy = (
            ("symmetric", "Add --asymmetric") if choice.symmetric else ("asymmetric", "Leave --asymmetric out")
        )
        return _unable(
            row, f"{word} integers", f"{'asymmetric' if choice.symmetric else 'symmetric'} ones only", remedy
        )
    return None


def _bits_refusal(choice: Choice, row: Method | Export) -> Refusal:
    able = f"{_or(sorted(row.bits))} bit{'s' * (row.bits != (1,))}"
    return _unable(
        row, f"{choice.bits} bit{'s' * (choice.bits != 1)}", able, _use("--bits", nearest(choice.bits, row.bits))
    )


def _group_refusal(choice: Choice, row: Method | Export) -> Refusal:
    usable = [group for group in row.groups if group > 0] if choice.group > 0 else list(row.groups)
    sizes = sorted({group for group in row.groups if group > 0})
    named = [_NAMED[group] for group in (CHANNEL, TENSOR) if group in row.groups]
    able = ", or ".join([*([f"groups of {_or(sizes)}"] if sizes else []), *named])
    words = _NAMED.get(choice.group, f"groups of {choice.group}")
    return _unable(row, words, able, _use("--group", group_word(nearest(choice.group, usable))))


_NAMED = {CHANNEL: "one scale for each row", TENSOR: "one scale for the whole tensor"}


def _unable(row: Method | Export, wanted: str, able: str, remedy: str) -> Refusal:
    """That a method does not make something, or a form does not hold it."""
    kind, verb = ("form", "hold") if isinstance(row, Export) else ("method", "make")
    return Refusal(f"The {kind} {row.name} does not {verb} {wanted}", f"it {verb}s {able}", remedy)


def _activations(choice: Choice) -> Refusal | None:
    """Why activations cannot be rounded with such weights, or None."""
    method, export, kind = METHOD[choice.method], FORM[choice.export], choice.activations
    if kind in method.activations and kind in export.activations:
        return _multiplied(choice) if kind else None
    if not kind:
        why = "it is made for activations that are rounded as well"
        return Refusal(f"{method.name} cannot round weights alone", why, _use("--activations", method.activations[0]))
    forms = [row.name for row in EXPORTS if kind in row.activations]
    methods = [row.name for row in METHODS if kind in row.activations]
    why = f"{_or(forms)} with {_or(methods)} can say how activations are to be rounded"
    remedy = _use("--export", forms[0]) if kind in method.activations else _use("--method", methods[0])
    return Refusal("8-bit activations cannot be written here", why, remedy)


def _multiplied(choice: Choice) -> Refusal | None:
    """Why programs that multiply integers with each other could not run the weights of a choice, or None."""
    what = "8-bit activations do not go with these weights"
    if choice.bits not in MULTIPLIED:
        why = f"programs multiply them with weights of {_or(sorted(MULTIPLIED))} bits"
        return Refusal(what, why, _use("--bits", nearest(choice.bits, tuple(MULTIPLIED))))
    if choice.activations not in MULTIPLIED[choice.bits]:
        why = f"beside weights of {choice.bits} bits programs round activations token by token"
        return Refusal(what, why, f"Use --activations {MULTIPLIED[choice.bits][0]} or --bits 8")
    if choice.bits == 8 and choice.group > 0:
        why = "programs that multiply integers need 8-bit weights with one scale for each row or tensor"
        return Refusal(what, why, "Use --group channel")
    if choice.bits == 4 and choice.group == TENSOR:
        return Refusal(what, "programs have one scale for each group or row of 4-bit weights", "Use --group channel")
    if not choice.symmetric:
        why = "programs that multiply integers have no zero points for weights"
        return Refusal("8-bit activations need symmetric weights", why, "Leave --asymmetric out")
    return None


def nearest(value: int, legal: Sequence[int]) -> int:
    """The legal value closest to another, the larger one of two as close."""
    return min(legal, key=lambda item: (abs(item - value), -item))


def group_word(group: int) -> str:
    """A group as the command line writes it: tensor, channel or a number."""
    return GROUP_NAMES.get(group, str(group))


def label(choice: Choice) -> str:
    """A choice in a few characters, for tables: 'int4 g128', 'int8 channel, asymmetric', 'nf4'."""
    if not METHOD[choice.method].groups:
        return choice.method
    group = f"g{choice.group}" if choice.group > 0 else f"per {group_word(choice.group)}"
    name = "int" if choice.method == "int" else f"{choice.method} int"
    rounded = f" {ACTIVATION[choice.activations].word}" if choice.activations else ""
    return f"{name}{choice.bits} {group}{'' if choice.symmetric else ' asym'}{rounded}"


def _use(option: str, value: object) -> str:
    return f"Use {option} {value}"


def _or(values: Sequence[object]) -> str:
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"

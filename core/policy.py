"""Which type each tensor gets within a mix: llama-quantize's choices, from the rows of `core.rules`.

The facts are those of llama.cpp's `src/llama-quant.cpp` (October 2026; `tensor_allows_quantization`,
`tensor_type_fallback`, `tensor_requires_imatrix`). Pure: plain values in, plain values out. A tensor that the user
gave a type of their own still counts among those of its role: choosing for one never moves another.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from core.catalog import COPY, Mix
from core.rules import (
    FALLBACKS,
    LAST_FALLBACK,
    NEEDS_IMPORTANCE,
    NEEDS_IMPORTANCE_IN_MIX,
    RULES,
    USUAL,
    Model,
    Rule,
    Shape,
    Tensor,
)
from kernels.blocks import FORMATS


@dataclass(frozen=True, slots=True)
class Choice:
    """The type of one tensor and why. quantizable: False where no mix ever changes it."""

    type: str
    reason: str
    fallback: bool = False
    quantizable: bool = True


# ---------------------------------------------------------------- roles

ROLES: tuple[tuple[str, str], ...] = (
    (r"^output\.weight$", "output"),
    (r"^(per_layer_)?token_embd\.weight$", "token_embd"),
    (r"attn_qkv\.weight", "attn_v"),
    (r"attn_kv_b\.weight", "attn_v"),
    (r"attn_v\.weight", "attn_v"),
    (r"attn_k\.weight", "attn_k"),
    (r"attn_q\.weight", "attn_q"),
    (r"attn_output\.weight", "attn_output"),
    (r"ffn_up", "ffn_up"),
    (r"ffn_gate", "ffn_gate"),
    (r"ffn_down", "ffn_down"),
)
_LAYER = re.compile(r"^blk\.(\d+)\.")


def role_of(name: str) -> str:
    """What a tensor does, from its GGUF name; tensors that hold the values of attention count as attn_v."""
    return next((role for pattern, role in ROLES if re.search(pattern, name)), "other")


def layer_of(name: str) -> int | None:
    """The layer number in a GGUF tensor name, or None outside the layers."""
    match = _LAYER.match(name)
    return int(match[1]) if match else None


def describe(tensors: Iterable[tuple[str, Shape, str]], model: Model) -> dict[str, Tensor]:
    """Every (name, shape, type) with its role and its position among those of the same role, by name.

    llama-quantize walks the tensors by layer number, whatever their order in the file, and counts them as it goes;
    only in mixtures of experts does it read the layer from the name for the feed-forward tensors.
    """
    ordered = sorted(tensors, key=lambda row: (-1 if (layer := layer_of(row[0])) is None else layer, row[0]))
    totals = Counter(role_of(name) for name, _, _ in ordered)
    seen: Counter[str] = Counter()
    found = {}
    for name, shape, type_name in ordered:
        role = role_of(name)
        tensor = Tensor(name, shape, type_name, role, seen[role], totals[role], seen[role])
        found[name] = _place(tensor, model)
        seen[role] += kept_reason(tensor) is None
    return found


def _place(tensor: Tensor, model: Model) -> Tensor:
    position, positions, role = tensor.position, tensor.positions, tensor.role
    if role.startswith("ffn_"):
        positions = model.layers
        layer = layer_of(tensor.name)
        if model.experts > 1 and layer is not None:
            position = layer
    if role == "token_embd" and model.tied:
        role = "output"
    return replace(tensor, role=role, position=position, positions=positions)


# ---------------------------------------------------------------- what is never quantized


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of tensors that no mix touches: those whose name matches the pattern."""

    pattern: str
    reason: str


_SMALL = "small and sensitive"
KEPT: tuple[Kept, ...] = (
    Kept(r"(?<!weight)$", "not a weight matrix"),
    Kept(r"_norm\.weight", "norms are small and sensitive"),
    Kept(r"ffn_gate_inp\.weight", "the router that chooses the experts is small and sensitive"),
    Kept(r"ffn_gate_tid2eid\.weight", "a table of numbers, not weights"),
    Kept(r"altup|laurel|per_layer_model_proj", _SMALL),
    Kept(r"^(position_embd|token_types)\.weight$|\.position_embd|sam\.pos_embd", "position and token-type tables"),
    Kept(r"ssm_conv1d|shortconv\.conv\.weight", "short convolutions are small and sensitive"),
    Kept(r"indexer\.[kq]_proj\.weight", _SMALL),
    Kept(r"time_mix_(first|w[012]|v[012]|a[012]|g[12]|decay_w[12]|lerp_fused)\.weight", _SMALL),
    Kept(r"attn_rel_b\.weight|\.rel_pos", "relative positions are small and sensitive"),
    Kept(r"sam\.(neck\.|net_)|\.patch_embd|\.patch_merger", "image input layers are small and sensitive"),
    Kept(r"a\.rvq\.codebook|mm\.a\.code_embd", "audio codebooks are small and sensitive"),
)


def kept_reason(tensor: Tensor) -> str | None:
    """Why no mix touches this tensor, or None where it may be quantized."""
    if math.prod(tensor.shape[:-1]) < 2:  # a single row, too, as ggml counts dimensions
        return "vectors are small and sensitive"
    return next((row.reason for row in KEPT if re.search(row.pattern, tensor.name)), None)


# ---------------------------------------------------------------- the choice


def choose(mix: Mix, model: Model, tensor: Tensor, pure: bool = False) -> Choice:
    """The type of one tensor within a mix. pure: the mix's base type wherever a tensor may be quantized."""
    kept = kept_reason(tensor)
    # What a family's converter would write as F32 must be F32 in a copy, too: llama.cpp needs it.
    if mix is COPY and not (kept and model.converted):
        return Choice(tensor.type, "nothing is quantized")
    if kept is not None:
        return Choice("F32" if model.converted else tensor.type, kept, quantizable=False)
    if pure or not FORMATS[mix.base_type].quantized:
        return fit(mix.base_type, f"{mix.base_type} for every weight matrix", tensor.row_length)
    taken, reason = wanted(mix, model, tensor)
    # The output layer falls back to nothing less than 8 bits, whatever it was to get.
    return fit(taken, reason, tensor.row_length, "Q8_0" if tensor.role == "output" else None)


def wanted(mix: Mix, model: Model, tensor: Tensor) -> tuple[str, str]:
    """The type that the mix's rules want for a tensor, and why, whether or not its rows fit."""
    rule = next((rule for rule in RULES if _matches(rule, mix, model, tensor)), None)
    return (rule.type, rule.reason) if rule else (mix.base_type, USUAL)


def fit(asked: str, reason: str, row_length: int, otherwise: str | None = None) -> Choice:
    """The type asked for, or the one that takes its place where rows are no whole number of its blocks.

    otherwise: what takes its place instead of the usual fallback.
    """
    if FORMATS[asked].divides(row_length):
        return Choice(asked, reason)
    taken = otherwise or FALLBACKS.get(asked, LAST_FALLBACK)
    if not FORMATS[taken].divides(row_length):
        taken = LAST_FALLBACK
    why = "" if reason == USUAL else f" ({reason})"
    block = FORMATS[asked].elements
    return Choice(taken, f"{asked} wanted{why}; rows of {row_length} are not a multiple of {block}, so {taken}", True)


def needs_importance(mix: Mix, tensor: Tensor, type_name: str) -> bool:
    """Whether this type makes no sense for this tensor without an importance matrix."""
    if role_of(tensor.name) in ("output", "token_embd"):
        return False
    return type_name in NEEDS_IMPORTANCE or (mix.name, type_name) in NEEDS_IMPORTANCE_IN_MIX


def _matches(rule: Rule, mix: Mix, model: Model, tensor: Tensor) -> bool:
    return mix.name in rule.mixes and rule.role in ("", tensor.role) and rule.condition(model, tensor)

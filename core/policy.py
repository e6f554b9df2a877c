"""Which type each tensor gets within a mix: llama-quantize's choices as ordered rows, the first match wins.

The facts are those of llama.cpp's `src/llama-quant.cpp` (October 2026; `llama_tensor_get_type_impl`,
`tensor_allows_quantization`, `tensor_type_fallback`), without an importance matrix. Pure: plain values in, plain
values out. A new mix is a row in `core.catalog.MIXES`, and rows in `RULES` where it is not the same type everywhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.catalog import Mix
from kernels.blocks import FORMATS

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What the rules need to know of a model. experts is 0 for a dense one.

    tied: the token embedding is also the output layer. converted: the source is no GGUF, so nothing has a GGUF type
    yet and what is not quantized is written as F32.
    """

    architecture: str
    layers: int
    heads: int = 0
    kv_heads: int = 0
    experts: int = 0
    tied: bool = False
    converted: bool = False


@dataclass(frozen=True, slots=True)
class Tensor:
    """What the rules need to know of a tensor; shape in numpy order.

    position counts the quantizable tensors of the same role before it in layer order; positions is how many there are.
    """

    name: str
    shape: Shape
    type: str
    role: str
    position: int
    positions: int

    @property
    def row_length(self) -> int:
        """Elements of one row."""
        return self.shape[-1]


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
        tensor = Tensor(name, shape, type_name, role, seen[role], totals[role])
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
    return Tensor(tensor.name, tensor.shape, tensor.type, role, position, positions)


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
    if len(tensor.shape) < 2:
        return "vectors are small and sensitive"
    return next((row.reason for row in KEPT if re.search(row.pattern, tensor.name)), None)


# ---------------------------------------------------------------- the rules

Condition = Callable[[Model, Tensor], bool]


def always(model: Model, tensor: Tensor) -> bool:
    """No condition."""
    return True


def use_more_bits(model: Model, tensor: Tensor) -> bool:
    """The first and the last eighth of the layers, and every third one between them."""
    eighth = tensor.positions // 8
    position = tensor.position
    return position < eighth or position >= 7 * tensor.positions // 8 or (position - eighth) % 3 == 2


def first_eighth(model: Model, tensor: Tensor) -> bool:
    """The first eighth of the layers."""
    return tensor.position < tensor.positions // 8


def first_sixteenth(model: Model, tensor: Tensor) -> bool:
    """The first sixteenth of the layers."""
    return tensor.position < tensor.positions // 16


def first_four(model: Model, tensor: Tensor) -> bool:
    """The first four tensors of this role."""
    return tensor.position < 4


def eight_experts(model: Model, tensor: Tensor) -> bool:
    """A mixture of exactly eight experts, where attention is a small share of the whole."""
    return model.experts == 8


def falcon(model: Model, tensor: Tensor) -> bool:
    """The Falcon architecture, which llama-quantize treats by itself."""
    return model.architecture == "falcon"


SHARED_VALUES = {("llama", 80), ("qwen2", 80), ("deci", 80), ("jais2", 68)}


def shared_values(model: Model, tensor: Tensor) -> bool:
    """The 70B models, in which eight heads share one value projection (llama.cpp's LLM_TYPE_70B)."""
    return (model.architecture, model.layers) in SHARED_VALUES and (
        model.architecture != "llama" or model.heads != model.kv_heads
    )


def both(first: Condition, second: Condition) -> Condition:
    """Two conditions at once."""
    return lambda model, tensor: first(model, tensor) and second(model, tensor)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: in these mixes, a tensor of this role that meets the condition gets this type, for this reason."""

    mixes: frozenset[str]
    role: str
    condition: Condition
    type: str
    reason: str


def _mixes(names: str) -> frozenset[str]:
    return frozenset(names.split())


USUAL = "the mix's usual type"
_OUTPUT = "the output layer decides between words, so it gets 6 bits"
_VALUES = "value projections matter most here, so they get more bits"
_DOWN = "down projections matter most here, so they get more bits"
_EXPERTS = "with eight experts, attention is a small share: 8 bits cost little"

RULES: tuple[Rule, ...] = (
    Rule(_mixes("Q4_K_M Q4_K_S Q6_K Q4_0"), "output", falcon, "Q8_0", "Falcon's output layer needs 8 bits"),
    Rule(_mixes("Q4_K_M Q4_K_S Q6_K Q4_0"), "output", always, "Q6_K", _OUTPUT),
    Rule(_mixes("Q4_K_M Q4_K_S Q6_K Q4_0"), "attn_v", eight_experts, "Q8_0", _EXPERTS),
    Rule(_mixes("Q4_K_M Q4_K_S Q6_K Q4_0"), "attn_k", eight_experts, "Q8_0", _EXPERTS),
    Rule(_mixes("Q4_K_M"), "attn_v", use_more_bits, "Q6_K", _VALUES),
    Rule(_mixes("Q4_K_S"), "attn_v", first_four, "Q5_K", _VALUES),
    Rule(
        _mixes("Q4_K_M Q4_K_S"), "attn_v", shared_values, "Q5_K", "eight heads share these values: 5 bits cost little"
    ),
    Rule(_mixes("Q4_K_M"), "ffn_down", both(falcon, first_sixteenth), "Q6_K", _DOWN),
    Rule(_mixes("Q4_K_M"), "ffn_down", both(falcon, use_more_bits), "Q5_K", _DOWN),
    Rule(_mixes("Q4_K_M"), "ffn_down", falcon, "Q4_K", USUAL),
    Rule(_mixes("Q4_K_M"), "ffn_down", use_more_bits, "Q6_K", _DOWN),
    Rule(_mixes("Q4_K_S"), "ffn_down", falcon, "Q4_K", USUAL),
    Rule(_mixes("Q4_K_S"), "ffn_down", first_eighth, "Q5_K", _DOWN),
    Rule(_mixes("Q4_K_M Q4_K_S"), "attn_output", both(eight_experts, lambda m, t: not falcon(m, t)), "Q5_K", _EXPERTS),
)

FALLBACKS: dict[str, str] = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
LAST_FALLBACK = "F16"


def choose(mix: Mix, model: Model, tensor: Tensor, pure: bool = False) -> Choice:
    """The type of one tensor within a mix. pure: the mix's base type wherever a tensor may be quantized."""
    kept = kept_reason(tensor)
    if kept is not None:
        return Choice("F32" if model.converted else tensor.type, kept, quantizable=False)
    if pure or not FORMATS[mix.base_type].quantized:
        return fit(mix.base_type, f"{mix.base_type} for every weight matrix", tensor.row_length)
    rule = next((rule for rule in RULES if _matches(rule, mix, model, tensor)), None)
    if rule is not None:
        return fit(rule.type, rule.reason, tensor.row_length)
    return fit(mix.base_type, USUAL, tensor.row_length)


def fit(wanted: str, reason: str, row_length: int) -> Choice:
    """The wanted type, or the one that takes its place where rows are no whole number of its blocks."""
    if FORMATS[wanted].divides(row_length):
        return Choice(wanted, reason)
    taken = FALLBACKS.get(wanted, LAST_FALLBACK)
    if not FORMATS[taken].divides(row_length):
        taken = LAST_FALLBACK
    why = "" if reason == USUAL else f" ({reason})"
    block = FORMATS[wanted].elements
    return Choice(taken, f"{wanted} wanted{why}; rows of {row_length} are not a multiple of {block}, so {taken}", True)


def _matches(rule: Rule, mix: Mix, model: Model, tensor: Tensor) -> bool:
    return mix.name in rule.mixes and rule.role == tensor.role and rule.condition(model, tensor)

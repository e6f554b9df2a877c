"""THE table of the mixes' exceptions: which role gets another type than the mix's usual one, when, and why.

The facts are those of llama.cpp's `src/llama-quant.cpp` (October 2026; `llama_tensor_get_type_impl`). The first row
that matches wins; where no row does, a tensor gets the mix's base type. Pure values, no behaviour beyond conditions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What the rules need to know of a model. experts is 0 for a dense one.

    tied: the token embedding is also the output layer. converted: the source is no GGUF, so nothing has a GGUF type
    yet and what is not quantized is written as F32. importance: an importance matrix is used.
    """

    architecture: str
    layers: int
    heads: int = 0
    kv_heads: int = 0
    experts: int = 0
    tied: bool = False
    converted: bool = False
    importance: bool = False


@dataclass(frozen=True, slots=True)
class Tensor:
    """What the rules need to know of a tensor; shape in numpy order.

    position counts the quantizable tensors of the same role before it in layer order; positions is how many there are.
    In a mixture of experts, position is the layer for the feed-forward tensors, and count is still the count.
    """

    name: str
    shape: Shape
    type: str
    role: str
    position: int
    positions: int
    count: int = 0

    @property
    def row_length(self) -> int:
        """Elements of one row."""
        return self.shape[-1]


Condition = Callable[[Model, Tensor], bool]


# ---------------------------------------------------------------- conditions


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


def first_eighth_by_count(model: Model, tensor: Tensor) -> bool:
    """As many tensors of this role as an eighth of the layers, experts' or not."""
    return tensor.count < tensor.positions // 8


def middle(model: Model, tensor: Tensor) -> bool:
    """All layers but the first and the last eighth."""
    return tensor.positions // 8 <= tensor.position < 7 * tensor.positions // 8


def first_sixteenth(model: Model, tensor: Tensor) -> bool:
    """The first sixteenth of the layers."""
    return tensor.position < tensor.positions // 16


def first_two(model: Model, tensor: Tensor) -> bool:
    """The first two tensors of this role."""
    return tensor.position < 2


def first_four(model: Model, tensor: Tensor) -> bool:
    """The first four tensors of this role."""
    return tensor.position < 4


def expert_stack(model: Model, tensor: Tensor) -> bool:
    """The matrices of several experts in one tensor."""
    return len(tensor.shape) > 2 and tensor.shape[-3] > 1


def eight_experts(model: Model, tensor: Tensor) -> bool:
    """A mixture of exactly eight experts, where attention is a small share of the whole."""
    return model.experts == 8


def grouped(model: Model, tensor: Tensor) -> bool:
    """At least four heads share a value projection, so that it is small."""
    return model.kv_heads > 0 and model.heads // model.kv_heads >= 4


def grouped_or_experts(model: Model, tensor: Tensor) -> bool:
    """The value projections are a small share of the whole."""
    return grouped(model, tensor) or model.experts >= 4


def importance(model: Model, tensor: Tensor) -> bool:
    """An importance matrix is used."""
    return model.importance


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


def unless(condition: Condition) -> Condition:
    """The opposite of a condition."""
    return lambda model, tensor: not condition(model, tensor)


_usual_attention = both(unless(eight_experts), unless(falcon))

# ---------------------------------------------------------------- the rows


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: in these mixes, a tensor of this role that meets the condition gets this type, for this reason."""

    mixes: frozenset[str]
    role: str
    condition: Condition
    type: str
    reason: str


def _rules(mixes: str, role: str, *rows: tuple[Condition, str, str]) -> tuple[Rule, ...]:
    """Rows of the same mixes and role: (condition, type, reason) each."""
    return tuple(Rule(frozenset(mixes.split()), role, *row) for row in rows)


USUAL = "the mix's usual type"
_OUTPUT = "the output layer decides between words, so it gets {} bits"
_EMBEDDING = "the token embedding keeps a few more bits than the layers"
_VALUES = "value projections matter most here, so they get more bits"
_SHARED = "several heads share these values: more bits cost little"
_DOWN = "down projections matter most here, so they get more bits"
_ATTENTION = "attention outputs are small and sensitive, so they get more bits"
_FEWER = "queries, keys and the middle layers bear fewer bits"
_EXPERTS = "with eight experts, attention is a small share: more bits cost little"
_ONLY_EXPERTS = "the mix stores experts in {}, everything else in 8 bits"
_FALCON = "Falcon's own choice of llama-quantize"

LOW = "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M"
TWO_BIT_UPPER = "IQ2_S IQ2_M"
TWO_BIT_LOWER = "IQ1_S IQ1_M IQ2_XXS IQ2_XS"
HIGHER = (
    "Q1_0 Q2_0 TQ1_0 TQ2_0 Q2_K Q2_K_S IQ3_XXS IQ3_XS IQ3_S IQ3_M Q3_K_S Q3_K_M Q3_K_L IQ4_XS IQ4_NL NVFP4 "
    "Q4_0 Q4_1 Q4_K_S Q4_K_M Q5_0 Q5_1 Q5_K_S Q5_K_M Q6_K Q8_0"
)
NOT_8_BIT = f"{LOW} {HIGHER.removesuffix(' Q8_0')}"
BETTER_OUTPUT_OF_EIGHT = "Q2_K IQ3_XXS IQ3_XS IQ3_S IQ3_M Q3_K_S Q3_K_M IQ4_XS IQ4_NL Q4_K_S Q4_K_M"

OUTPUT_RULES: tuple[Rule, ...] = (
    *_rules(NOT_8_BIT, "output", (falcon, "Q8_0", "Falcon's output layer needs 8 bits")),
    *_rules(f"{LOW} IQ3_XXS", "output", (always, "Q5_K", _OUTPUT.format(5))),
    *_rules(NOT_8_BIT, "output", (always, "Q6_K", _OUTPUT.format(6))),
    *_rules(TWO_BIT_LOWER, "token_embd", (always, "Q2_K", _EMBEDDING)),
    *_rules(f"{TWO_BIT_UPPER} IQ3_XXS", "token_embd", (always, "IQ3_S", _EMBEDDING)),
    *_rules("TQ1_0 TQ2_0 Q2_0", "token_embd", (always, "Q4_K", _EMBEDDING)),
)

LOW_RULES: tuple[Rule, ...] = (
    *_rules(LOW, "attn_v", (grouped_or_experts, "Q4_K", _SHARED)),
    *_rules(TWO_BIT_UPPER, "attn_v", (always, "IQ3_S", _VALUES)),
    *_rules(TWO_BIT_LOWER, "attn_v", (always, "Q2_K", _VALUES)),
    *_rules(LOW, "attn_k", (eight_experts, "Q4_K", _EXPERTS)),
    *_rules(TWO_BIT_UPPER, "ffn_down", (first_eighth_by_count, "IQ3_S", _DOWN)),
    *_rules(TWO_BIT_LOWER, "ffn_down", (first_eighth_by_count, "Q2_K", _DOWN)),
    *_rules(LOW, "attn_output", (eight_experts, "Q5_K", _EXPERTS)),
    *_rules("IQ1_S IQ1_M", "attn_output", (always, "IQ2_XXS", _ATTENTION)),
    *_rules(TWO_BIT_UPPER, "attn_output", (always, "IQ3_S", _ATTENTION)),
)

VALUE_RULES: tuple[Rule, ...] = (
    *_rules(HIGHER, "attn_v", (eight_experts, "Q8_0", _EXPERTS)),
    *_rules("Q4_K_M Q5_K_M", "attn_v", (use_more_bits, "Q6_K", _VALUES)),
    *_rules("Q2_K Q3_K_S Q3_K_M IQ3_M Q4_K_S Q4_K_M", "attn_v", (shared_values, "Q5_K", _SHARED)),
    *_rules("Q2_K_S IQ3_XXS IQ3_XS IQ3_S", "attn_v", (both(shared_values, grouped), "Q5_K", _SHARED)),
    *_rules("Q2_K Q2_K_S IQ3_XXS IQ3_XS IQ3_S", "attn_v", (grouped, "Q4_K", _SHARED)),
    *_rules("Q2_K", "attn_v", (always, "Q3_K", _VALUES)),
    *_rules("IQ3_XXS", "attn_v", (unless(importance), "IQ3_S", _VALUES)),
    *_rules("IQ3_M", "attn_v", (always, "Q4_K", _VALUES)),
    *_rules("Q3_K_M", "attn_v", (first_two, "Q5_K", _VALUES), (always, "Q4_K", _VALUES)),
    *_rules("Q3_K_L", "attn_v", (always, "Q5_K", _VALUES)),
    *_rules("IQ4_NL IQ4_XS", "attn_v", (grouped, "Q5_K", _SHARED)),
    *_rules("Q4_K_S", "attn_v", (first_four, "Q5_K", _VALUES)),
)

KEY_RULES: tuple[Rule, ...] = (
    *_rules(HIGHER, "attn_k", (eight_experts, "Q8_0", _EXPERTS)),
    *_rules("IQ3_XS", "attn_k", (always, "IQ3_XXS", _FEWER)),
    *_rules("IQ3_XXS", "attn_k", (always, "IQ2_S", _FEWER)),
    *_rules("IQ3_XS", "attn_q", (always, "IQ3_XXS", _FEWER)),
    *_rules("IQ3_XXS", "attn_q", (always, "IQ2_S", _FEWER)),
)

FEED_FORWARD_RULES: tuple[Rule, ...] = (
    *_rules("Q2_K", "ffn_down", (always, "Q3_K", _DOWN)),
    *_rules("Q2_K_S", "ffn_down", (first_eighth, "Q4_K", _DOWN)),
    *_rules(
        "IQ3_XXS",
        "ffn_down",
        (both(unless(importance), first_eighth), "Q4_K", _DOWN),
        (unless(importance), "Q3_K", "down projections get a type that needs no importance matrix"),
    ),
    *_rules(
        "Q3_K_M",
        "ffn_down",
        (first_sixteenth, "Q5_K", _DOWN),
        (both(falcon, unless(use_more_bits)), "Q3_K", USUAL),
        (always, "Q4_K", _DOWN),
    ),
    *_rules("IQ3_M", "ffn_down", (first_eighth, "Q4_K", _DOWN), (both(eight_experts, use_more_bits), "Q4_K", _DOWN)),
    *_rules("Q3_K_L", "ffn_down", (falcon, "Q4_K", _FALCON), (always, "Q5_K", _DOWN)),
    *_rules(
        "Q4_K_M",
        "ffn_down",
        (both(falcon, first_sixteenth), "Q6_K", _DOWN),
        (both(falcon, use_more_bits), "Q5_K", _DOWN),
        (falcon, "Q4_K", USUAL),
        (use_more_bits, "Q6_K", _DOWN),
    ),
    *_rules("IQ4_NL IQ4_XS", "ffn_down", (both(unless(importance), first_eighth), "Q5_K", _DOWN)),
    *_rules("Q5_K_M", "ffn_down", (use_more_bits, "Q6_K", _DOWN)),
    *_rules("Q4_K_S", "ffn_down", (falcon, "Q4_K", USUAL), (first_eighth, "Q5_K", _DOWN)),
    *_rules("Q4_0", "ffn_down", (both(importance, first_eighth), "Q4_1", _DOWN)),
    *_rules("Q5_0", "ffn_down", (both(importance, first_eighth), "Q5_1", _DOWN)),
    *_rules("IQ3_XS", "ffn_gate", (middle, "IQ3_XXS", _FEWER)),
    *_rules("IQ3_XS", "ffn_up", (middle, "IQ3_XXS", _FEWER)),
)

ATTENTION_OUTPUT_RULES: tuple[Rule, ...] = (
    *_rules("Q3_K_L", "attn_output", (falcon, "Q4_K", _FALCON)),
    *_rules(BETTER_OUTPUT_OF_EIGHT, "attn_output", (both(eight_experts, unless(falcon)), "Q5_K", _EXPERTS)),
    *_rules("Q2_K", "attn_output", (_usual_attention, "Q3_K", _ATTENTION)),
    *_rules("IQ3_XXS", "attn_output", (_usual_attention, "IQ3_S", _ATTENTION)),
    *_rules("IQ3_M Q3_K_M", "attn_output", (_usual_attention, "Q4_K", _ATTENTION)),
    *_rules("Q3_K_L", "attn_output", (_usual_attention, "Q5_K", _ATTENTION)),
)

# In MXFP4_MOE every role but stacks of experts has 8 bits: "" stands for all roles.
EXPERT_RULES: tuple[Rule, ...] = (
    *_rules("MXFP4_MOE", "", (unless(expert_stack), "Q8_0", _ONLY_EXPERTS.format("MXFP4"))),
)

RULES: tuple[Rule, ...] = (
    *EXPERT_RULES,
    *OUTPUT_RULES,
    *LOW_RULES,
    *VALUE_RULES,
    *KEY_RULES,
    *FEED_FORWARD_RULES,
    *ATTENTION_OUTPUT_RULES,
)

# ---------------------------------------------------------------- where rows are no whole number of blocks

FALLBACKS: dict[str, str] = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    # llama-quantize stops at these two.
    **dict.fromkeys(("Q1_0", "NVFP4"), "Q4_0"),
}
LAST_FALLBACK = "F16"

# Types whose search is meaningless without knowing which weights matter (`tensor_requires_imatrix`).
NEEDS_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})
# Q2_K does without, but not in the mix that stores nearly everything in it.
NEEDS_IMPORTANCE_IN_MIX = frozenset({("Q2_K_S", "Q2_K")})


def types_of(mix: str, base_type: str) -> frozenset[str]:
    """Every type that a tensor can get in a mix, fallbacks included."""
    wanted = {base_type, LAST_FALLBACK} | {rule.type for rule in RULES if mix in rule.mixes}
    if any(rule.role == "output" for rule in RULES if mix in rule.mixes):
        wanted.add("Q8_0")
    return frozenset(wanted | {FALLBACKS[name] for name in wanted if name in FALLBACKS})

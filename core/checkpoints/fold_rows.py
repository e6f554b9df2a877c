"""THE table of where scales of a layer's inputs can be folded into what comes before it, family by family.

A norm's weights, or the rows of a matrix whose output reaches the next one by nothing but sums over tokens and products
with other numbers, are divided by what the columns of the next are multiplied by: the network computes the same.
Everything that a producer feeds is named as its consumer, so a norm that also feeds the router of a mixture is not
here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FoldRow:
    """producer and consumers: parts of GGUF names. A producer's channels are its last rows, as many as there are.

    heads: each channel of values is read by all query heads of its group, whose columns share one scale.
    """

    producer: str
    consumers: tuple[str, ...]
    heads: bool = False

    @property
    def is_norm(self) -> bool:
        """Whether the producer is a vector of weights."""
        return self.producer.endswith("_norm")


_NORM_ATTENTION = FoldRow("attn_norm", ("attn_q", "attn_k", "attn_v"))
_VALUES = FoldRow("attn_v", ("attn_output",), heads=True)
_NORM_MLP = FoldRow("ffn_norm", ("ffn_gate", "ffn_up"))
_UP = FoldRow("ffn_up", ("ffn_down",))
_GATED = (_NORM_ATTENTION, _VALUES, _NORM_MLP, _UP)
# Three matrices in one, and two in one: values and the ungated half come last.
_JOINED = (
    FoldRow("attn_norm", ("attn_qkv",)),
    FoldRow("attn_qkv", ("attn_output",), heads=True),
    FoldRow("ffn_norm", ("ffn_up",)),
    _UP,
)
FOLDS: dict[str, tuple[FoldRow, ...]] = {
    "llama": _GATED,
    "smollm3": _GATED,
    "granite": _GATED,
    "qwen2": _GATED,
    "qwen3": _GATED,
    "gemma": _GATED,
    "gemma2": _GATED,
    "gemma3": _GATED,
    "qwen2moe": (_NORM_ATTENTION, _VALUES),
    "qwen3moe": (_NORM_ATTENTION, _VALUES),
    "olmo2": (_VALUES, _UP),  # its norms come after the matrices
    "phi3": _JOINED,
    "starcoder2": (_NORM_ATTENTION, _VALUES, FoldRow("ffn_norm", ("ffn_up",))),  # up goes through an activation
    "bitnet": (),  # its matrices are rounded to three values when it runs
    "gpt2": (),
}


def folded_norms(architecture: str) -> tuple[str, ...]:
    """Parts of GGUF names of the norms that scales go into."""
    return tuple(row.producer for row in FOLDS.get(architecture, ()) if row.is_norm)

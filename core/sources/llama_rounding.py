"""How llama.cpp rounds what meets the matrices of a GGUF file while it runs the model: a part of what that costs.

Facts: ggml-cpu's table of type traits, whose `vec_dot_type` is the type into which the activations that meet a matrix
are converted; ggml-quants.c and its twins for x86, which convert. A table of vectors that tokens are looked up in is
not multiplied, and F32 is multiplied as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.sources.base import Source

# ggml type of a matrix: the type of what meets it. Q8_1 is Q8_0 with a sum for the matrix' minima.
MEETS: Mapping[str, str] = {
    "F16": "F16",
    "BF16": "BF16",
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "MXFP4", "NVFP4", "Q1_0", "Q2_0"), "Q8_0"),
    **dict.fromkeys(("Q4_1", "Q5_1"), "Q8_1"),
    **dict.fromkeys(("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"), "Q8_K"),
    **dict.fromkeys(
        ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "Q8_K"
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgmlRounding:
    """Rounded to a ggml type of activations: F16, BF16, Q8_0, Q8_1 or Q8_K."""

    type: str


def llama_roundings(source: Source) -> Mapping[str, GgmlRounding]:
    """By the names of a GGUF file's matrices; empty for other files, which llama.cpp does not run."""
    if source.format != "gguf":
        return {}
    matrices = [tensor for tensor in source.tensors if len(tensor.shape) > 1 and tensor.type in MEETS]
    return {tensor.name: GgmlRounding(MEETS[tensor.type]) for tensor in matrices}

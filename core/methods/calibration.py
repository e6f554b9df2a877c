"""How methods that look at activations work; standard library only, so that settings need not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

# The share of the mean that is added to the diagonal of the moments, at least.
DAMP = 0.01
# Passes of coordinate descent after GPTQ's loop, at most; it ends before where no weight moves any more.
PASSES = 4
# How often position 0 counts in the moments of query, key and value. Measured with SmolLM2-135M, groups of 32 in 4
# bits: mean KL divergence .195 without, .086 with it, and .213 for rounding with importance.
SINKS = 64.0
# Parts of GGUF names by the stage in which data meets them; each stage sees what the ones before it became.
STAGES = (
    ("attn_q", "attn_k", "attn_v", "attn_qkv"),
    ("attn_output",),
    ("ffn_gate", "ffn_up", "ffn_gate_exps", "ffn_up_exps", "ffn_gate_shexp", "ffn_up_shexp"),
    ("ffn_down", "ffn_down_exps", "ffn_down_shexp"),
)
# Windows are computed together up to so many tokens.
BATCH_TOKENS = 2048
# What hidden states may take on the processor before they go to disk, where reading them costs little beside computing.
STATES_BYTES = 256 << 20
# What may be kept of the windows between two passes through a layer; where it would be more it is computed again.
KEPT_BYTES = 512 << 20
# Of AWQ's search: exponents of each of its two families of candidates, and rows of a matrix to compare them by.
AWQ_EXPONENTS, AWQ_ROWS = 10, 256
# Measured with the first 8 layers of that model, 4 bits, groups of 64, searched ranges, on other prose, code, chat:
# mean KL divergence .357, .051, .046 by groups, .430, .058, .052 static. With min/max static has the smaller error.
Order = Literal["groups", "static", "off"]


class Options(Protocol):
    """What jobs say of it: those that make checkpoints, and those that make GGUF files."""

    @property
    def act_order(self) -> Order: ...  # noqa: D102

    @property
    def damp(self) -> float: ...  # noqa: D102

    @property
    def sinks(self) -> float: ...  # noqa: D102

    @property
    def target(self) -> float: ...  # noqa: D102

    @property
    def passes(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Calibration:
    """How layers are solved. order, damp, passes: as in core.methods.gptq.Setting.

    sinks: how often position 0 of a window counts for query, key and value. target: how much of the way the solution
    goes from the output on its own inputs to that of the original model on its own, 0 to 1.
    """

    order: Order = "groups"
    damp: float = DAMP
    sinks: float = SINKS
    target: float = 0.0
    passes: int = PASSES

    @classmethod
    def of(cls, options: Options) -> Calibration:
        """As a job's options say."""
        return cls(options.act_order, options.damp, options.sinks, options.target, options.passes)


USUAL = Calibration()


def stage_of(part: str) -> int:
    """Which of STAGES a part of a layer belongs to; the last one for what stands in none."""
    return next((number for number, parts in enumerate(STAGES) if part in parts), len(STAGES) - 1)

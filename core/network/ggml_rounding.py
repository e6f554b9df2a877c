"""The values that activations have once ggml has converted them to its types, as array functions on torch tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch

SMALL_BLOCK, LARGE_BLOCK = 32, 256


def q8_0(x: torch.Tensor) -> torch.Tensor:
    """(…, columns): blocks of 32 with a half-precision step of a 127th of the largest magnitude (quantize_row_q8_0).

    Q8_1 has the same values.
    """
    blocks = _blocks(x, SMALL_BLOCK)
    largest = blocks.abs().amax(-1, keepdim=True)
    inverse = torch.where(largest > 0, 127 / largest, 0.0)
    return torch.round(blocks * inverse).mul((largest / 127).half().float()).reshape(x.shape)


def q8_k(x: torch.Tensor) -> torch.Tensor:
    """(…, columns): blocks of 256, in which what is largest in magnitude becomes -127 (quantize_row_q8_K_ref)."""
    blocks = _blocks(x, LARGE_BLOCK)
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    inverse = torch.where(largest != 0, -127 / largest, 0.0)
    step = torch.where(largest != 0, 1 / inverse, 0.0)
    return torch.round(blocks * inverse).clamp_max(127).mul(step).reshape(x.shape)


def _blocks(x: torch.Tensor, length: int) -> torch.Tensor:
    return x.reshape(*x.shape[:-1], -1, length)


ROUNDED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "F16": lambda x: x.half().float(),
    "BF16": lambda x: x.bfloat16().float(),
    "Q8_0": q8_0,
    "Q8_1": q8_0,
    "Q8_K": q8_k,
}

"""F32, F16 and BF16 in torch; layouts and rounding are described in kernels.reference.floats."""

from __future__ import annotations

import torch
from torch import Tensor


def encode_f32(x: Tensor) -> Tensor:
    """float32 (n, 1) -> uint8 (n, 4)."""
    return x.contiguous().view(torch.uint8).clone()


def decode_f32(blocks: Tensor) -> Tensor:
    """uint8 (n, 4) -> float32 (n, 1)."""
    return blocks.contiguous().view(torch.float32).clone()


def encode_f16(x: Tensor) -> Tensor:
    """float32 (n, 1) -> uint8 (n, 2)."""
    return x.to(torch.float16).view(torch.uint8)


def decode_f16(blocks: Tensor) -> Tensor:
    """uint8 (n, 2) -> float32 (n, 1)."""
    return blocks.contiguous().view(torch.float16).to(torch.float32)


def encode_bf16(x: Tensor) -> Tensor:
    """float32 (n, 1) -> uint8 (n, 2)."""
    return x.to(torch.bfloat16).view(torch.uint8)


def decode_bf16(blocks: Tensor) -> Tensor:
    """uint8 (n, 2) -> float32 (n, 1)."""
    return blocks.contiguous().view(torch.bfloat16).to(torch.float32)

"""Blocks as named tensors, and the bit packings of kernels.reference.layout, for torch on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kernels.blocks import FORMATS

DTYPES = {
    "<f4": torch.float32,
    "<f2": torch.float16,
    "u1": torch.uint8,
    "i1": torch.int8,
    "<u2": torch.int16,  # torch has few operations for unsigned words: their bits, as signed ones
    "<u4": torch.int32,
}


def split(name: str, blocks: Tensor) -> dict[str, Tensor]:
    """The fields of uint8 blocks (n, bytes) by name, each (n, count) in its own dtype; a scalar field has count 1."""
    fields = {}
    start = 0
    for field in FORMATS[name].fields:
        stop = start + np.dtype(field.dtype).itemsize * max(field.count, 1)
        fields[field.name] = blocks[:, start:stop].contiguous().view(DTYPES[field.dtype])
        start = stop
    return fields


def join(name: str, fields: dict[str, Tensor]) -> Tensor:
    """Blocks uint8 (n, bytes) from fields (n, count), converted to the dtypes of the table and in its order."""
    parts = [
        fields[field.name].to(DTYPES[field.dtype]).contiguous().view(torch.uint8) for field in FORMATS[name].fields
    ]
    return torch.cat(parts, dim=1)


def to_codes(levels: Tensor) -> Tensor:
    """Integral floats in 0..255 as uint8; NaN, which only weights beyond the range of a half can cause, becomes 0."""
    return torch.nan_to_num(levels, nan=0.0).to(torch.uint8)


def pack_nibbles(codes: Tensor) -> Tensor:
    """4-bit codes (..., 2m) -> bytes (..., m): the first half in the low nibbles, the second half in the high ones."""
    low, high = codes.chunk(2, dim=-1)
    return low | high << 4


def unpack_nibbles(packed: Tensor) -> Tensor:
    """The inverse of `pack_nibbles`: bytes (..., m) -> codes (..., 2m) in 0..15."""
    return torch.cat([packed & 15, packed >> 4], dim=-1)


def pack_bits(bits: Tensor) -> Tensor:
    """Bits (n, 8, m) in 0..1 -> bytes (n, m): bit s of byte l is element (s, l)."""
    packed = bits[:, 0].clone()
    for position in range(1, 8):
        packed |= bits[:, position] << position
    return packed


def unpack_bits(packed: Tensor) -> Tensor:
    """The inverse of `pack_bits`: bytes (n, m) -> bits (n, 8, m)."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)[:, None]
    return packed[:, None] >> shifts & 1


def pack_two_bits(codes: Tensor) -> Tensor:
    """2-bit codes, 256 to a block -> bytes (n, 64): per 128, elements l, l+32, l+64, l+96 from bit 0 of byte l up."""
    quarters = codes.reshape(-1, 2, 4, 32)
    packed = quarters[:, :, 0] | quarters[:, :, 1] << 2 | quarters[:, :, 2] << 4 | quarters[:, :, 3] << 6
    return packed.view(-1, 64)


def unpack_two_bits(packed: Tensor) -> Tensor:
    """The inverse of `pack_two_bits`: bytes (n, 64) -> codes (n, 256) in 0..3."""
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=packed.device)[:, None]
    return (packed.reshape(-1, 2, 1, 32) >> shifts & 3).view(-1, 256)

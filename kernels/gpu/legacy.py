"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 in torch; layouts and rounding are described in kernels.reference.legacy."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.gpu.layout import join, pack_bits, pack_nibbles, split, to_codes, unpack_bits, unpack_nibbles
from kernels.gpu.search import quotient, signed_extreme


def _reciprocal(d: Tensor) -> Tensor:
    """1/d, and 0 where d is 0."""
    return torch.where(d != 0, quotient(1.0, d), torch.zeros_like(d))


def _symmetric(x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Scale (n, 1) and codes (n, 32) in 0..2·levels-1 of w = d·(q - levels)."""
    d = quotient(signed_extreme(x), float(-levels))
    codes = (x * _reciprocal(d) + (levels + 0.5)).clamp(0, 2 * levels - 1)
    return d, to_codes(codes)


def _affine(x: Tensor, nmax: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scale (n, 1), minimum (n, 1) and codes (n, 32) in 0..nmax of w = d·q + m."""
    low, high = x.aminmax(dim=1, keepdim=True)
    d = quotient(high - low, float(nmax))
    return d, low, to_codes(((x - low) * _reciprocal(d) + 0.5).clamp(0, nmax))


def _pack_fifth_bits(codes: Tensor) -> Tensor:
    """Codes (n, 32) -> qh (n, 4)."""
    return pack_bits((codes >> 4).view(-1, 4, 8).transpose(1, 2))


def _five_bits(fields: dict[str, Tensor]) -> Tensor:
    """Codes (n, 32) in 0..31, as float32, from the fields qs and qh."""
    high = unpack_bits(fields["qh"]).transpose(1, 2).reshape(-1, 32)
    return (unpack_nibbles(fields["qs"]) | high << 4).float()


def encode_q4_0(x: Tensor) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 18)."""
    d, codes = _symmetric(x, 8)
    return join("Q4_0", {"d": d, "qs": pack_nibbles(codes)})


def decode_q4_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 18) -> float32 (n, 32)."""
    fields = split("Q4_0", blocks)
    return (unpack_nibbles(fields["qs"]).float() - 8) * fields["d"].float()


def encode_q4_1(x: Tensor) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 20)."""
    d, low, codes = _affine(x, 15)
    return join("Q4_1", {"d": d, "m": low, "qs": pack_nibbles(codes)})


def decode_q4_1(blocks: Tensor) -> Tensor:
    """uint8 (n, 20) -> float32 (n, 32)."""
    fields = split("Q4_1", blocks)
    return unpack_nibbles(fields["qs"]).float() * fields["d"].float() + fields["m"].float()


def encode_q5_0(x: Tensor) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 22)."""
    d, codes = _symmetric(x, 16)
    return join("Q5_0", {"d": d, "qh": _pack_fifth_bits(codes), "qs": pack_nibbles(codes & 15)})


def decode_q5_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 22) -> float32 (n, 32)."""
    fields = split("Q5_0", blocks)
    return (_five_bits(fields) - 16) * fields["d"].float()


def encode_q5_1(x: Tensor) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 24)."""
    d, low, codes = _affine(x, 31)
    return join("Q5_1", {"d": d, "m": low, "qh": _pack_fifth_bits(codes), "qs": pack_nibbles(codes & 15)})


def decode_q5_1(blocks: Tensor) -> Tensor:
    """uint8 (n, 24) -> float32 (n, 32)."""
    fields = split("Q5_1", blocks)
    return _five_bits(fields) * fields["d"].float() + fields["m"].float()


def encode_q8_0(x: Tensor) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 34)."""
    d = quotient(x.abs().amax(dim=1, keepdim=True), 127.0)
    scaled = x * _reciprocal(d)
    whole = scaled.trunc()
    rounded = torch.where((scaled - whole).abs() >= 0.5, whole + scaled.sign(), whole)
    return join("Q8_0", {"d": d, "qs": torch.nan_to_num(rounded, nan=0.0).clamp(-127, 127)})


def decode_q8_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 34) -> float32 (n, 32)."""
    fields = split("Q8_0", blocks)
    return fields["qs"].float() * fields["d"].float()

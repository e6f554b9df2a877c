"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 in torch; layouts and rounding are described in kernels.reference.legacy."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.codecs import WEIGHTED_AFFINE_SEARCHES
from kernels.gpu.layout import join, pack_bits, pack_nibbles, split, to_codes, unpack_bits, unpack_nibbles
from kernels.gpu.search import make_qkx2_quants, make_qx_quants, quotient, signed_extreme
from kernels.gpu.weights import by_row


def reciprocal(d: Tensor) -> Tensor:
    """1/d, and 0 where d is 0."""
    return torch.where(d != 0, quotient(1.0, d), torch.zeros_like(d))


def half_away(x: Tensor) -> Tensor:
    """To the nearest integer, ties away from zero."""
    whole = x.trunc()
    return torch.where((x - whole).abs() >= 0.5, whole + x.sign(), whole)


def _symmetric(x: Tensor, levels: int, importance: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scale (n, 1) and codes (n, 32) in 0..2·levels-1 of w = d·(q - levels)."""
    if importance is not None:
        scales, found = make_qx_quants(x, levels, by_row(x, importance))
        return scales[:, None], to_codes(found + levels)
    d = quotient(signed_extreme(x), float(-levels))
    codes = (x * reciprocal(d) + (levels + 0.5)).clamp(0, 2 * levels - 1)
    return d, to_codes(codes)


def _affine(name: str, x: Tensor, importance: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Scale (n, 1), minimum (n, 1) and codes (n, 32) of w = d·q + m, for Q4_1 or Q5_1."""
    search = WEIGHTED_AFFINE_SEARCHES[name]
    if importance is not None:
        scales, mins, found = make_qkx2_quants(x, by_row(x, importance), search)
        return scales[:, None], -mins[:, None], to_codes(found)
    low, high = x.aminmax(dim=1, keepdim=True)
    d = quotient(high - low, float(search.nmax))
    return d, low, to_codes(((x - low) * reciprocal(d) + 0.5).clamp(0, search.nmax))


def pack_fifth_bits(codes: Tensor) -> Tensor:
    """Codes (n, 32) -> qh (n, 4)."""
    return pack_bits((codes >> 4).view(-1, 4, 8).transpose(1, 2))


def _five_bits(fields: dict[str, Tensor]) -> Tensor:
    """Codes (n, 32) in 0..31, as float32, from the fields qs and qh."""
    high = unpack_bits(fields["qh"]).transpose(1, 2).reshape(-1, 32)
    return (unpack_nibbles(fields["qs"]) | high << 4).float()


def encode_q4_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    d, codes = _symmetric(x, 8, importance)
    return join("Q4_0", {"d": d, "qs": pack_nibbles(codes)})


def decode_q4_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 18) -> float32 (n, 32)."""
    fields = split("Q4_0", blocks)
    return (unpack_nibbles(fields["qs"]).float() - 8) * fields["d"].float()


def encode_q4_1(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 20); importance as in kernels.codecs."""
    d, low, codes = _affine("Q4_1", x, importance)
    return join("Q4_1", {"d": d, "m": low, "qs": pack_nibbles(codes)})


def decode_q4_1(blocks: Tensor) -> Tensor:
    """uint8 (n, 20) -> float32 (n, 32)."""
    fields = split("Q4_1", blocks)
    return unpack_nibbles(fields["qs"]).float() * fields["d"].float() + fields["m"].float()


def encode_q5_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 22); importance as in kernels.codecs."""
    d, codes = _symmetric(x, 16, importance)
    return join("Q5_0", {"d": d, "qh": pack_fifth_bits(codes), "qs": pack_nibbles(codes & 15)})


def decode_q5_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 22) -> float32 (n, 32)."""
    fields = split("Q5_0", blocks)
    return (_five_bits(fields) - 16) * fields["d"].float()


def encode_q5_1(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 24); importance as in kernels.codecs."""
    d, low, codes = _affine("Q5_1", x, importance)
    return join("Q5_1", {"d": d, "m": low, "qh": pack_fifth_bits(codes), "qs": pack_nibbles(codes & 15)})


def decode_q5_1(blocks: Tensor) -> Tensor:
    """uint8 (n, 24) -> float32 (n, 32)."""
    fields = split("Q5_1", blocks)
    return _five_bits(fields) * fields["d"].float() + fields["m"].float()


def encode_q8_0(x: Tensor) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 34)."""
    d = quotient(x.abs().amax(dim=1, keepdim=True), 127.0)
    return join("Q8_0", {"d": d, "qs": torch.nan_to_num(half_away(x * reciprocal(d)), nan=0.0).clamp(-127, 127)})


def decode_q8_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 34) -> float32 (n, 32)."""
    fields = split("Q8_0", blocks)
    return fields["qs"].float() * fields["d"].float()

"""Q4_K, Q5_K and Q6_K in torch; layouts and steps are described in kernels.reference.kquants.

One step differs: a sub-block whose stored scale is 0 gets codes of 0, since no code changes what it decodes to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.codecs import AFFINE_SEARCHES, WEIGHTED_AFFINE_SEARCHES
from kernels.gpu.layout import join, pack_bits, pack_nibbles, split, to_codes, unpack_bits, unpack_nibbles
from kernels.gpu.search import (
    GROUP_MAX_EPS,
    make_qkx2_quants,
    make_qp_quants,
    make_qx_quants,
    quotient,
    root,
    sequential_sum,
    signed_extreme,
)
from kernels.gpu.weights import by_block, of_rows


def pack_scales(scales: Tensor, mins: Tensor) -> Tensor:
    """6-bit scales and minima, uint8 (n, 8) each -> the field `scales` (n, 12)."""
    first = scales[:, :4] | scales[:, 4:] >> 4 << 6
    second = mins[:, :4] | mins[:, 4:] >> 4 << 6
    return torch.cat([first, second, scales[:, 4:] & 15 | mins[:, 4:] << 4], dim=1)


def unpack_scales(packed: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_scales`: (n, 12) -> scales and minima (n, 8) in 0..63."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat([first & 63, third & 15 | first >> 6 << 4], dim=1)
    return scales, torch.cat([second & 63, third >> 4 | second >> 6 << 4], dim=1)


def _six_bit(values: Tensor) -> tuple[Tensor, Tensor]:
    """Per block the largest of values (n, 8), or 0, over 63, and the multiples of it, uint8 (n, 8) in 0..63."""
    largest = torch.nan_to_num(values, nan=0.0, posinf=float("inf")).amax(dim=1, keepdim=True).clamp(min=0) + 0.0
    inverse = torch.where(largest > 0, quotient(63.0, largest), torch.zeros_like(largest))
    return quotient(largest, 63.0), to_codes((inverse * values).round().clamp(0, 63))


def _affine_scales(fields: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scale and subtracted minimum of every sub-block as stored, float32 (n, 8, 1) each."""
    scales, mins = unpack_scales(fields["scales"])
    return (fields["d"].float() * scales)[:, :, None], (fields["dmin"].float() * mins)[:, :, None]


def _search_affine(name: str, x: Tensor) -> dict[str, Tensor]:
    """The fields d, dmin and scales of Q4_K or Q5_K without importance."""
    groups = x.reshape(-1, 32)
    mean_square = quotient(sequential_sum(groups.T.contiguous().square_()), 32.0)
    weights = root(mean_square)[:, None] + groups.abs()
    scales, mins, _ = make_qkx2_quants(groups, weights, AFFINE_SEARCHES[name])
    d, stored_scales = _six_bit(scales.view(-1, 8))
    dmin, stored_mins = _six_bit(mins.view(-1, 8))
    return {"d": d.half(), "dmin": dmin.half(), "scales": pack_scales(stored_scales, stored_mins)}


def _search_affine_weighted(name: str, x: Tensor, importance: Tensor) -> dict[str, Tensor]:
    """The fields d, dmin and scales of Q4_K or Q5_K with importance."""
    weights = by_block(x, importance, 2.0).view(-1, 32)
    scales, mins, _ = make_qkx2_quants(x.reshape(-1, 32), weights, WEIGHTED_AFFINE_SEARCHES[name])
    sums = sequential_sum(weights.T.contiguous()).view(-1, 8)
    d, stored_scales = make_qp_quants(scales.view(-1, 8), 63, sums)
    dmin, stored_mins = make_qp_quants(mins.view(-1, 8), 63, sums)
    packed = pack_scales(to_codes(stored_scales), to_codes(stored_mins))
    return {"d": d.half(), "dmin": dmin.half(), "scales": packed}


def _encode_affine(name: str, x: Tensor, importance: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
    """The fields of Q4_K or Q5_K but for the codes, and the codes, uint8 (n, 8, 32)."""
    fields = _search_affine(name, x) if importance is None else _search_affine_weighted(name, x, importance)
    scale, low = _affine_scales(fields)
    levels = ((x.reshape(-1, 8, 32) + low) / scale).round_().clamp_(0, AFFINE_SEARCHES[name].nmax)
    return fields, to_codes(torch.where(scale != 0, levels, torch.zeros_like(levels)))


def _decode_affine(fields: dict[str, Tensor], codes: Tensor) -> Tensor:
    """Weights w = scale·q - low for the fields of Q4_K or Q5_K and codes (n, 8, 32); float32 (n, 256)."""
    scale, low = _affine_scales(fields)
    return (scale * codes.float() - low).reshape(-1, 256)


def encode_q4_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 144); importance as in kernels.codecs."""
    fields, codes = _encode_affine("Q4_K", x, importance)
    fields["qs"] = pack_nibbles(codes.view(-1, 4, 64)).view(-1, 128)
    return join("Q4_K", fields)


def decode_q4_k(blocks: Tensor) -> Tensor:
    """uint8 (n, 144) -> float32 (n, 256)."""
    fields = split("Q4_K", blocks)
    return _decode_affine(fields, unpack_nibbles(fields["qs"].view(-1, 4, 32)).view(-1, 8, 32))


def encode_q5_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 176); importance as in kernels.codecs."""
    fields, codes = _encode_affine("Q5_K", x, importance)
    fields["qs"] = pack_nibbles((codes & 15).view(-1, 4, 64)).view(-1, 128)
    fields["qh"] = pack_bits(codes >> 4)
    return join("Q5_K", fields)


def decode_q5_k(blocks: Tensor) -> Tensor:
    """uint8 (n, 176) -> float32 (n, 256)."""
    fields = split("Q5_K", blocks)
    low = unpack_nibbles(fields["qs"].view(-1, 4, 32)).view(-1, 8, 32)
    return _decode_affine(fields, low | unpack_bits(fields["qh"]) << 4)


def pack_six_bits(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes uint8 (n, 256) in 0..63 -> the fields ql (n, 128) and qh (n, 64) of Q6_K."""
    quarters = codes.view(-1, 2, 4, 32)
    ql = quarters[:, :, :2] & 15 | quarters[:, :, 2:] << 4
    high = quarters >> 4
    qh = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    return ql.view(-1, 128), qh.view(-1, 64)


def unpack_six_bits(ql: Tensor, qh: Tensor) -> Tensor:
    """The inverse of `pack_six_bits`: codes (n, 256) in 0..63."""
    low = ql.view(-1, 2, 2, 32)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=qh.device)[:, None]
    high = qh.view(-1, 2, 1, 32) >> shifts & 3
    return (torch.cat([low & 15, low >> 4], dim=2) | high << 4).view(-1, 256)


def encode_q6_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 210); importance as in kernels.codecs."""
    weights = None if importance is None else of_rows(importance, len(x)).view(-1, 16)
    scales = make_qx_quants(x.reshape(-1, 16), 32, weights)[0].view(-1, 16)
    extreme = signed_extreme(scales)
    empty = ~(extreme.abs() >= GROUP_MAX_EPS)
    inverse = torch.where(empty, torch.zeros_like(extreme), quotient(-128.0, extreme))
    d = torch.where(empty, torch.zeros_like(extreme), quotient(1.0, inverse)).half()
    multiples = torch.nan_to_num((inverse * scales).round(), nan=0.0).clamp(-128, 127)
    scale = (d.float() * multiples)[:, :, None]
    levels = (x.reshape(-1, 16, 16) / scale).round_().clamp_(-32, 31) + 32
    codes = to_codes(torch.where((scale != 0) & ~empty[:, :, None], levels, torch.zeros_like(levels)))
    ql, qh = pack_six_bits(codes.view(-1, 256))
    return join("Q6_K", {"ql": ql, "qh": qh, "scales": multiples, "d": d})


def decode_q6_k(blocks: Tensor) -> Tensor:
    """uint8 (n, 210) -> float32 (n, 256)."""
    fields = split("Q6_K", blocks)
    scale = (fields["d"].float() * fields["scales"])[:, :, None]
    codes = unpack_six_bits(fields["ql"], fields["qh"]).view(-1, 16, 16).float() - 32
    return (scale * codes).reshape(-1, 256)

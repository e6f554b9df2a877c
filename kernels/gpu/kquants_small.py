"""Q2_K and Q3_K in torch; layouts and steps are described in kernels.reference.kquants_small.

One step differs, as in kernels.gpu.kquants: a sub-block whose stored scale is 0 gets codes of 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.codecs import AFFINE_SEARCHES, WEIGHTED_AFFINE_SEARCHES
from kernels.gpu.layout import (
    join,
    pack_bits,
    pack_nibbles,
    pack_two_bits,
    split,
    to_codes,
    unpack_bits,
    unpack_nibbles,
    unpack_two_bits,
)
from kernels.gpu.search import (
    make_q3_quants,
    make_qkx2_quants,
    make_qp_quants,
    make_qx_quants,
    quotient,
    sequential_sum,
    signed_extreme,
)
from kernels.gpu.weights import by_block


def pack_signed_scales(scales: Tensor) -> Tensor:
    """6-bit scales (n, 16) -> the field scales (n, 12) of Q3_K."""
    upper = (scales >> 4).view(-1, 4, 4)
    last = upper[:, 0] | upper[:, 1] << 2 | upper[:, 2] << 4 | upper[:, 3] << 6
    return torch.cat([pack_nibbles(scales & 15), last], dim=1)


def unpack_signed_scales(packed: Tensor) -> Tensor:
    """The inverse of `pack_signed_scales`: (n, 12) -> scales (n, 16) in 0..63."""
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=packed.device)[:, None]
    upper = (packed[:, None, 8:] >> shifts & 3).view(-1, 16)
    return unpack_nibbles(packed[:, :8]) | upper << 4


def _sums(weights: Tensor) -> Tensor:
    """The sums of the weights of sub-blocks (16·n, 16), by super-block (n, 16)."""
    return sequential_sum(weights.T.contiguous()).view(-1, 16)


def _four_bit(values: Tensor) -> tuple[Tensor, Tensor]:
    """Per block the largest of values (n, 16), or 0, over 15, and the multiples of it, integral floats (n, 16)."""
    largest = torch.nan_to_num(values, nan=0.0, posinf=float("inf")).amax(dim=1, keepdim=True).clamp(min=0) + 0.0
    inverse = torch.where(largest > 0, quotient(15.0, largest), torch.zeros_like(largest))
    return quotient(largest, 15.0), (inverse * values).round().clamp(0, 15)


def _search_q2_k(x: Tensor, importance: Tensor | None) -> dict[str, Tensor]:
    """The fields scales, d and dmin of Q2_K."""
    groups = x.reshape(-1, 16)
    if importance is None:
        scales, mins, _ = make_qkx2_quants(groups, groups.abs(), AFFINE_SEARCHES["Q2_K"], torch.abs_)
        (d, stored_scales), (dmin, stored_mins) = (_four_bit(values.view(-1, 16)) for values in (scales, mins))
    else:
        weights = by_block(x, importance, 1.0).view(-1, 16)
        scales, mins, _ = make_qkx2_quants(groups, weights, WEIGHTED_AFFINE_SEARCHES["Q2_K"])
        d, stored_scales = make_qp_quants(scales.view(-1, 16), 15, _sums(weights))
        dmin, stored_mins = make_qp_quants(mins.view(-1, 16), 15, _sums(weights))
    return {"scales": to_codes(stored_scales) | to_codes(stored_mins) << 4, "d": d.half(), "dmin": dmin.half()}


def _scales_q2_k(fields: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scale and subtracted minimum of every sub-block as stored, float32 (n, 16, 1) each."""
    scale, low = fields["d"].float() * (fields["scales"] & 15), fields["dmin"].float() * (fields["scales"] >> 4)
    return scale[:, :, None], low[:, :, None]


def encode_q2_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 84); importance as in kernels.codecs."""
    fields = _search_q2_k(x, importance)
    scale, low = _scales_q2_k(fields)
    levels = ((x.reshape(-1, 16, 16) + low) / scale).round_().clamp_(0, 3)
    fields["qs"] = pack_two_bits(to_codes(torch.where(scale != 0, levels, torch.zeros_like(levels))))
    return join("Q2_K", fields)


def decode_q2_k(blocks: Tensor) -> Tensor:
    """uint8 (n, 84) -> float32 (n, 256)."""
    fields = split("Q2_K", blocks)
    scale, low = _scales_q2_k(fields)
    return (scale * unpack_two_bits(fields["qs"]).view(-1, 16, 16).float() - low).reshape(-1, 256)


def _search_q3_k(x: Tensor, importance: Tensor | None) -> dict[str, Tensor]:
    """The fields scales and d of Q3_K."""
    groups = x.reshape(-1, 16)
    if importance is None:
        scales = make_q3_quants(groups, 4).view(-1, 16)
        extreme = signed_extreme(scales)
        inverse = quotient(-32.0, extreme)
        multiples = torch.nan_to_num((inverse * scales).round(), nan=0.0).clamp(-32, 31)
        empty = ~(extreme.abs() > 0)
        multiples, d = multiples.masked_fill(empty, -32.0), quotient(1.0, inverse).masked_fill(empty, 0.0)
    else:
        weights = by_block(x, importance, 2.0).view(-1, 16)
        found, _ = make_qx_quants(groups, 4, weights)
        scales, multiples = make_qx_quants(found.view(-1, 16), 32, _sums(weights))
        d = scales[:, None]
    return {"scales": pack_signed_scales(to_codes(multiples + 32)), "d": d.half()}


def _scales_q3_k(fields: dict[str, Tensor]) -> Tensor:
    """Signed scale of every sub-block as stored, float32 (n, 16, 1)."""
    return (fields["d"].float() * (unpack_signed_scales(fields["scales"]).float() - 32))[:, :, None]


def encode_q3_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 110); importance as in kernels.codecs."""
    fields = _search_q3_k(x, importance)
    scale = _scales_q3_k(fields)
    levels = (x.reshape(-1, 16, 16) / scale).round_().clamp_(-4, 3) + 4
    codes = to_codes(torch.where(scale != 0, levels, torch.zeros_like(levels)))
    fields["qs"] = pack_two_bits(codes & 3)
    fields["hmask"] = pack_bits(codes.view(-1, 8, 32) >> 2)
    return join("Q3_K", fields)


def decode_q3_k(blocks: Tensor) -> Tensor:
    """uint8 (n, 110) -> float32 (n, 256)."""
    fields = split("Q3_K", blocks)
    codes = unpack_two_bits(fields["qs"]) | unpack_bits(fields["hmask"]).reshape(-1, 256) << 2
    return (_scales_q3_k(fields) * (codes.view(-1, 16, 16).float() - 4)).reshape(-1, 256)

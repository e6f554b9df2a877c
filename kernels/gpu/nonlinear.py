"""IQ4_NL and IQ4_XS in torch; layouts and steps are described in kernels.reference.nonlinear."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.codecs import NONLINEAR_VALUES
from kernels.gpu.fusing import fused
from kernels.gpu.layout import join, pack_nibbles, split, to_codes, unpack_nibbles
from kernels.gpu.legacy import reciprocal
from kernels.gpu.search import FUSED, GROUP_MAX_EPS, quotient, sequential_sum, signed_extreme
from kernels.gpu.steps import TRIES
from kernels.gpu.weights import by_block


def _values(x: Tensor) -> Tensor:
    """The 16 values, float32, on the device of x."""
    return torch.tensor(NONLINEAR_VALUES, dtype=torch.float32, device=x.device)


def nearest_value(x: Tensor, values: Tensor) -> Tensor:
    """The code whose value is nearest to x, int32 of the shape of x; the larger one of two."""
    return torch.bucketize(x + x, values[1:] + values[:-1], right=True, out_int32=True)


@fused(FUSED)
def search_values(x: Tensor, weights: Tensor) -> Tensor:
    """The best scales (groups, 1), signed, of groups with weights, (groups, 32) each; 0 for groups of zeros."""
    extreme = signed_extreme(x)[:, 0]
    x, weights = x.T.contiguous(), weights.T.contiguous()
    values = _values(x)

    def fit(inverse: Tensor) -> tuple[Tensor, Tensor]:
        levels = values[nearest_value(inverse * x, values)]
        weighted = weights * levels
        return sequential_sum(weighted * x), sequential_sum(weighted.mul_(levels))

    first = float(NONLINEAR_VALUES[0])
    sum_qx, sum_q2 = fit(quotient(1.0, quotient(-extreme, first)))
    scale = torch.where(sum_q2 > 0, sum_qx / sum_q2, torch.zeros_like(sum_qx))
    best = scale * sum_qx
    for k in TRIES:
        sum_qx, sum_q2 = fit(quotient(k + first, extreme))
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = torch.where(better, sum_qx / sum_q2, scale)
        best = torch.where(better, scale * sum_qx, best)
    return scale.masked_fill(extreme.abs() < GROUP_MAX_EPS, 0.0)[:, None]


def _weights(x: Tensor, importance: Tensor | None) -> Tensor:
    """The weights of the errors of blocks x (n, elements)."""
    return x * x if importance is None else by_block(x, importance, 2.0)


def blocks_iq4_nl(d: Tensor, codes: Tensor) -> Tensor:
    """Steps (n, 1) and codes uint8 (n, 32) as blocks of IQ4_NL."""
    return join("IQ4_NL", {"d": d, "qs": pack_nibbles(codes)})


def encode_iq4_nl(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    scale = search_values(x, _weights(x, importance))
    codes = nearest_value(reciprocal(scale) * x, _values(x)).to(torch.uint8)
    return blocks_iq4_nl(scale, codes)


def decode_iq4_nl(blocks: Tensor) -> Tensor:
    """uint8 (n, 18) -> float32 (n, 32)."""
    fields = split("IQ4_NL", blocks)
    return fields["d"].float() * _values(blocks)[unpack_nibbles(fields["qs"]).int()]


def pack_scales(scales: Tensor) -> tuple[Tensor, Tensor]:
    """6-bit scales, uint8 (n, 8) -> the fields scales_l (n, 4) and scales_h (n, 1), as int16, of IQ4_XS."""
    low, upper = scales & 15, (scales >> 4).view(-1, 2, 4)
    high = upper[:, :, 0] | upper[:, :, 1] << 2 | upper[:, :, 2] << 4 | upper[:, :, 3] << 6
    return low[:, ::2] | low[:, 1::2] << 4, high.contiguous().view(torch.int16)


def unpack_scales(low: Tensor, high: Tensor) -> Tensor:
    """The inverse of `pack_scales`: scales (n, 8) in 0..63."""
    nibbles = torch.stack([low & 15, low >> 4], dim=2).view(-1, 8)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=low.device)
    return nibbles | (high.view(torch.uint8)[:, :, None] >> shifts & 3).view(-1, 8) << 4


def encode_iq4_xs(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 136); importance as in kernels.codecs."""
    groups = x.reshape(-1, 32)
    scales = search_values(groups, _weights(x, importance).view(-1, 32)).view(-1, 8)
    d = quotient(torch.nan_to_num(signed_extreme(scales), nan=0.0), -32.0)
    multiples = torch.nan_to_num((reciprocal(d) * scales).round(), nan=0.0).clamp(-32, 31)
    inverse = reciprocal(d * multiples).view(-1, 1)
    codes = nearest_value(inverse * groups, _values(x)).to(torch.uint8)
    low, high = pack_scales(to_codes(multiples + 32))
    return join("IQ4_XS", {"d": d, "scales_h": high, "scales_l": low, "qs": pack_nibbles(codes).view(-1, 128)})


def decode_iq4_xs(blocks: Tensor) -> Tensor:
    """uint8 (n, 136) -> float32 (n, 256)."""
    fields = split("IQ4_XS", blocks)
    scale = fields["d"].float() * (unpack_scales(fields["scales_l"], fields["scales_h"]).float() - 32)
    codes = unpack_nibbles(fields["qs"].view(-1, 8, 16)).int()
    return (scale[:, :, None] * _values(blocks)[codes]).reshape(-1, 256)

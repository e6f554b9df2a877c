"""IQ1_S and IQ1_M in torch; layouts are described in kernels.reference.iq1."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kernels.gpu.grid_layout import gathered, spread, unsigned
from kernels.gpu.grid_search import error_weights, mean_square, round_multiples
from kernels.gpu.grid_tables import tables
from kernels.gpu.layout import join, split
from kernels.gpu.search import quotient, sequential_sum
from kernels.gpu.ternary_search import TernaryFit, fit_ternary, level_values

TOP_MULTIPLE = 15.0
IQ1_S_FUDGE, IQ1_M_FUDGE = 1.125, float(np.float32(1.1125))
IQ1_S_SMALLEST, IQ1_M_SMALLEST = 1e-12, 1e-7

THREES = (0, 3, 6, 9)
FOURS = (0, 4, 8, 12)
NIBBLES = (0, 4)
BYTES = (0, 8)


def _multiples(fit: TernaryFit) -> tuple[Tensor, Tensor]:
    """The scale d (n, 1) of super-blocks, and the 3-bit multiples l (n, groups) of it, zeros where d is 0."""
    d = quotient(fit.scales.amax(dim=1, keepdim=True), TOP_MULTIPLE)
    return d, round_multiples(d, fit.scales, 7)


def _values(d: Tensor, multiples: Tensor, points: Tensor, lowered: Tensor) -> Tensor:
    """Weights (n, 256) of grid indices and signs of δ (n, 32), with d (n, 1) and the 3-bit multiples of groups."""
    scale = d.float() * (2 * multiples + 1).float()
    levels = level_values(tables("IQ1_S", points.device).codes[points], lowered[:, :, None])
    return (scale[:, :, None] * levels.view(*multiples.shape, -1)).view(-1, 256)


def encode_iq1_s(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 50); raises ValueError without importance."""
    if importance is None:
        raise ValueError("IQ1_S cannot be encoded without importance")
    fit = fit_ternary("IQ1_S", x, error_weights(x, mean_square(x, 2.0), importance), IQ1_S_SMALLEST)
    d, multiples = _multiples(fit)
    points, lowered = fit.points.masked_fill(d == 0, 0), fit.lowered[:, ::4] & (d > 0)
    qh = gathered(points >> 8, THREES) | multiples << 12 | lowered.long() << 15
    return join("IQ1_S", {"d": d * IQ1_S_FUDGE, "qs": points & 255, "qh": qh})


def decode_iq1_s(blocks: Tensor) -> Tensor:
    """uint8 (n, 50) -> float32 (n, 256)."""
    fields = split("IQ1_S", blocks)
    qh = unsigned(fields["qh"])
    points = fields["qs"].long() | spread(qh, THREES, 7) << 8
    lowered = (qh >> 15 == 1).repeat_interleave(4, dim=1)
    return _values(fields["d"], qh >> 12 & 7, points, lowered)


def _refit(x: Tensor, weights: Tensor, fit: TernaryFit, coded: tuple[Tensor, Tensor]) -> Tensor:
    """The least squares d (n, 1) for all codes of super-blocks and the multiples that `coded` (d, multiples) says."""
    d, multiples = coded
    q = _values(torch.ones_like(d), multiples, fit.points, fit.lowered).T.contiguous()
    columns, column_weights = x.T.contiguous(), weights.T.contiguous()
    sum_qx = sequential_sum(column_weights * q * columns)
    sum_q2 = sequential_sum(column_weights * q * q)
    return torch.where(sum_q2 > 0, sum_qx / sum_q2, d[:, 0])[:, None]


def encode_iq1_m(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 56)."""
    weights = x * x if importance is None else error_weights(x, mean_square(x, 2.0), importance)
    fit = fit_ternary("IQ1_M", x, weights, IQ1_M_SMALLEST)
    d, multiples = _multiples(fit)
    half = (_refit(x, weights, fit, (d, multiples)) * IQ1_M_FUDGE).masked_fill(d == 0, 0).half()
    points, lowered = fit.points.masked_fill(d == 0, 0), fit.lowered & (d > 0)
    qh = gathered(points >> 8 | lowered.long() << 3, NIBBLES)
    words = gathered(multiples, THREES) | spread(unsigned(half.view(torch.int16)), FOURS, 15) << 12
    return join("IQ1_M", {"qs": points & 255, "qh": qh, "scales": spread(words, BYTES, 255)})


def decode_iq1_m(blocks: Tensor) -> Tensor:
    """uint8 (n, 56) -> float32 (n, 256)."""
    fields = split("IQ1_M", blocks)
    words = gathered(fields["scales"].long(), BYTES)
    d = gathered(words >> 12, FOURS).to(torch.int16).view(torch.float16)
    nibbles = spread(fields["qh"].long(), NIBBLES, 15)
    points = fields["qs"].long() | (nibbles & 7) << 8
    return _values(d, spread(words, THREES, 7), points, nibbles >> 3 == 1)

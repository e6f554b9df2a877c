"""IQ1_S and IQ1_M: super-blocks of 256 weights; 8 weights are one point of a grid of -1, 0 and 1, all shifted by δ.

    IQ1_S  d  qs[32]  qh[8]               8 groups of 32   w = d·(2·l + 1)·(grid + δ)     50 bytes
    IQ1_M     qs[32]  qh[16]  scales[8]  16 groups of 16   w = d·(2·l + 1)·(grid + δ)     56 bytes

    δ = 1/8 or -1/8;  l 0..7;  index of a point 0..2047, its low 8 bits in qs

    IQ1_S  qh      (16 bits) per group: bits 8..10 of the index of its k-th point << 3·k; l << 12; bit 15 if δ < 0
    IQ1_M  qh      per group: bits 8..10 of the first point's index, bit 3 if its δ < 0; the second point's << 4
           scales  four words of 16 bits: l of group 4·i + k in word i, << 3·k; the highest 4 bits of the words are
                   the half d, its lowest 4 bits in the first word

The search is described in kernels.reference.ternary_search, the grid in kernels.grids. After it the largest scale of a
super-block over 15 is d, IQ1_M fits it once more to all codes; it is stored 12.5 % (IQ1_M: 11.25 %) too large, which
ggml found to be better. Errors are weighed by importance·sqrt(σ² + x²), σ² twice the mean square of the super-block.
IQ1_S cannot be encoded without importance; IQ1_M then weighs them by x².

Source: ggml-quants.c, quantize_row_iq1_s_impl, quantize_row_iq1_m_impl and their dequantize_row twins.
"""

from __future__ import annotations

import numpy as np

from kernels import grids
from kernels.reference.grid_search import error_weights, mean_square, round_multiples
from kernels.reference.layout import Bytes, Floats, c_arithmetic, new_records, to_bytes, to_records
from kernels.reference.search import sequential_sum
from kernels.reference.ternary_search import TernaryFit, fit_ternary, level_values

TOP_MULTIPLE = np.float32(15)
IQ1_S_FUDGE, IQ1_M_FUDGE = np.float32(1.125), np.float32(1.1125)
IQ1_S_SMALLEST, IQ1_M_SMALLEST = 1e-12, 1e-7

THREES = np.array([0, 3, 6, 9], dtype=np.uint16)
FOURS = np.array([0, 4, 8, 12], dtype=np.uint16)
THREE, FOUR, SEVEN, EIGHT, NIBBLE = (np.uint16(value) for value in (3, 4, 7, 8, 15))
TWELVE, FIFTEEN = np.uint16(12), np.uint16(15)


def _multiples(fit: TernaryFit) -> tuple[Floats, Bytes]:
    """The scale d (n, 1) of super-blocks, and the 3-bit multiples l (n, groups) of it, zeros where d is 0."""
    d: Floats = fit.scales.max(axis=1, keepdims=True) / TOP_MULTIPLE
    return d, np.where(d > 0, round_multiples(d, fit.scales, 7), np.uint8(0))


def _values(d: Floats, multiples: Bytes, points: np.ndarray, lowered: np.ndarray) -> Floats:
    """Weights (n, 256) of grid indices and signs of δ (n, 32), with d (n,) and the 3-bit multiples of groups."""
    scale = d.astype(np.float32)[:, None] * (np.float32(2) * multiples + np.float32(1))
    levels = level_values(grids.codes("IQ1_S").astype(np.int32)[points], lowered[:, :, None])
    return (scale[:, :, None] * levels.reshape(*multiples.shape, -1)).reshape(-1, 256)


def encode_iq1_s(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 50); raises ValueError without importance."""
    if importance is None:
        raise ValueError("IQ1_S cannot be encoded without importance")
    records = new_records("IQ1_S", len(x))
    with c_arithmetic():
        fit = fit_ternary("IQ1_S", x, error_weights(x, mean_square(x, 2.0), importance), IQ1_S_SMALLEST)
        d, multiples = _multiples(fit)
        records["d"] = (d * IQ1_S_FUDGE)[:, 0]
    points = np.where(d > 0, fit.points, 0)
    records["qs"] = points & 255
    high = np.bitwise_or.reduce((points >> 8).astype(np.uint16).reshape(-1, 8, 4) << THREES, axis=2)
    sign = (fit.lowered[:, ::4] & (d > 0)).astype(np.uint16) << FIFTEEN
    records["qh"] = high | multiples.astype(np.uint16) << TWELVE | sign
    return to_bytes(records)


def decode_iq1_s(blocks: Bytes) -> Floats:
    """uint8 (n, 50) -> float32 (n, 256)."""
    records = to_records("IQ1_S", blocks)
    qh = records["qh"][:, :, None]
    high = (qh >> THREES & SEVEN).reshape(-1, 32)
    lowered = np.repeat(records["qh"] >> FIFTEEN == 1, 4, axis=1)
    multiples = (records["qh"] >> TWELVE & SEVEN).astype(np.uint8)
    with c_arithmetic():
        return _values(records["d"], multiples, records["qs"] | high << EIGHT, lowered)


def _refit(x: Floats, weights: Floats, fit: TernaryFit, coded: tuple[Floats, Bytes]) -> Floats:
    """The least squares d (n, 1) for all codes of super-blocks and the multiples that `coded` (d, multiples) says."""
    d, multiples = coded
    q = _values(np.ones(len(x), dtype=np.float32), multiples, fit.points, fit.lowered).T
    columns, column_weights = np.ascontiguousarray(x.T), np.ascontiguousarray(weights.T)
    sum_qx = sequential_sum(column_weights * q * columns)
    sum_q2 = sequential_sum(column_weights * q * q)
    return np.where(sum_q2 > 0, sum_qx / sum_q2, d[:, 0])[:, None]


def encode_iq1_m(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 56)."""
    records = new_records("IQ1_M", len(x))
    with c_arithmetic():
        weights = x * x if importance is None else error_weights(x, mean_square(x, 2.0), importance)
        fit = fit_ternary("IQ1_M", x, weights, IQ1_M_SMALLEST)
        d, multiples = _multiples(fit)
        half = (_refit(x, weights, fit, (d, multiples)) * IQ1_M_FUDGE).astype(np.float16)
    something = d > 0
    points, lowered = np.where(something, fit.points, 0), fit.lowered & something
    records["qs"] = points & 255
    nibbles = (points >> 8 | lowered << 3).astype(np.uint8)
    records["qh"] = nibbles[:, ::2] | nibbles[:, 1::2] << np.uint8(4)
    words = np.bitwise_or.reduce(multiples.astype(np.uint16).reshape(-1, 4, 4) << THREES, axis=2)
    words |= (np.where(something, half, np.float16(0)).view(np.uint16) >> FOURS & NIBBLE) << TWELVE
    records["scales"] = words.astype("<u2").view(np.uint8)
    return to_bytes(records)


def decode_iq1_m(blocks: Bytes) -> Floats:
    """uint8 (n, 56) -> float32 (n, 256)."""
    records = to_records("IQ1_M", blocks)
    words = np.ascontiguousarray(records["scales"]).view("<u2")
    d = np.bitwise_or.reduce((words >> TWELVE) << FOURS, axis=1).astype(np.uint16).view(np.float16)
    multiples = (words[:, :, None] >> THREES & SEVEN).astype(np.uint8).reshape(-1, 16)
    nibbles = np.stack([records["qh"] & NIBBLE, records["qh"] >> FOUR], axis=2).reshape(-1, 32).astype(np.uint16)
    with c_arithmetic():
        return _values(d, multiples, records["qs"] | (nibbles & SEVEN) << EIGHT, nibbles >> THREE == 1)

"""IQ4_NL and IQ4_XS: codes that stand for 16 values which lie closer together near zero.

    IQ4_NL  d  qs[16]                            w = d·v[q]               blocks of 32       18 bytes
    IQ4_XS  d  scales_h  scales_l[4]  qs[128]    w = d·(sc - 32)·v[q]     8 sub-blocks of 32  136 bytes

    v         = -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113
    qs        per 32 elements 16 bytes: element j in the low nibble of byte j, element j+16 in its high nibble
    scales_l  low nibbles of sc[0..7], two to a byte; bits 2j, 2j+1 of the u16 scales_h are the upper bits of sc[j]

Steps. 1. Each group of 32 tries the scales extreme/(v[0] + k), k = -7..7, rounds all elements to the nearest value with
each, fits the scale by weighted least squares and keeps the best. 2. IQ4_XS: the extreme scale becomes d = extreme/-32
and the others 6-bit multiples of it. 3. All codes are computed again, by the float32 scale (IQ4_NL: the fitted one,
IQ4_XS: d·(sc - 32)), not by the half that is stored.

The weights of the errors are x²; with importance they are those of kernels.reference.weights by block, factor 2.

Source: ggml-quants.c, best_index_int8, quantize_row_iq4_nl_impl (7 tries) and the dequantize_row twins.
"""

from __future__ import annotations

import numpy as np

from kernels.codecs import NONLINEAR_VALUES
from kernels.reference.layout import (
    FOUR,
    LOW_NIBBLE,
    Bytes,
    Floats,
    c_arithmetic,
    new_records,
    pack_nibbles,
    to_bytes,
    to_records,
    unpack_nibbles,
)
from kernels.reference.search import GROUP_MAX_EPS, extreme_scale, nearest_int, sequential_sum
from kernels.reference.weights import by_block

VALUES = np.array(NONLINEAR_VALUES, dtype=np.float32)
MIDDLES = VALUES[1:] + VALUES[:-1]  # twice the middle between neighbours; a code begins at the one below its value
TRIES = range(-7, 8)
UPPER_SHIFTS = np.arange(0, 16, 2, dtype=np.uint16)


def nearest_value(x: Floats) -> Bytes:
    """The code whose value is nearest to x, of any shape; the larger one of two, and 15 for NaN."""
    return np.searchsorted(MIDDLES, x + x, side="right").astype(np.uint8)


def _search(x: Floats, weights: Floats) -> Floats:
    """The best scales, signed, of groups with weights, (groups, 32) each; 0 for groups of zeros."""
    x, weights = np.ascontiguousarray(x.T), np.ascontiguousarray(weights.T)
    magnitude = np.nan_to_num(np.abs(x), nan=0.0, posinf=np.inf)
    extreme = np.take_along_axis(x, magnitude.argmax(axis=0)[None], axis=0)[0]

    def fit(inverse: Floats) -> tuple[Floats, Floats]:
        values = VALUES[nearest_value(inverse * x)]
        return sequential_sum(weights * values * x), sequential_sum(weights * values * values)

    sum_qx, sum_q2 = fit(np.float32(1) / (-extreme / VALUES[0]))
    scale = np.where(sum_q2 > 0, sum_qx / sum_q2, np.float32(0))
    best = scale * sum_qx
    for k in TRIES:
        sum_qx, sum_q2 = fit((np.float32(k) + VALUES[0]) / extreme)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = np.where(better, sum_qx / sum_q2, scale)
        best = np.where(better, scale * sum_qx, best)
    return np.where(magnitude.max(axis=0) < GROUP_MAX_EPS, np.float32(0), scale)


def _weights(x: Floats, importance: Floats | None) -> Floats:
    """The weights of the errors of blocks x (n, elements)."""
    return x * x if importance is None else by_block(x, importance, 2.0)


def _reciprocal(scale: Floats) -> Floats:
    """1/scale, and 0 where it is 0."""
    return np.where(scale != 0, np.float32(1) / scale, np.float32(0))


def encode_iq4_nl(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    records = new_records("IQ4_NL", len(x))
    with c_arithmetic():
        scale = _search(x, _weights(x, importance))
        records["d"] = scale
        codes = nearest_value(_reciprocal(scale)[:, None] * x)
    records["qs"] = pack_nibbles(codes)
    return to_bytes(records)


def decode_iq4_nl(blocks: Bytes) -> Floats:
    """uint8 (n, 18) -> float32 (n, 32)."""
    records = to_records("IQ4_NL", blocks)
    with c_arithmetic():
        return records["d"].astype(np.float32)[:, None] * VALUES[unpack_nibbles(records["qs"])]


def pack_scales(scales: Bytes) -> tuple[Bytes, np.ndarray[tuple[int, ...], np.dtype[np.uint16]]]:
    """6-bit scales (n, 8) -> the fields scales_l (n, 4) and scales_h (n,) of IQ4_XS."""
    low = scales & LOW_NIBBLE
    upper = (scales >> FOUR).astype(np.uint16) << UPPER_SHIFTS
    return low[:, ::2] | low[:, 1::2] << FOUR, np.bitwise_or.reduce(upper, axis=1)


def unpack_scales(low: Bytes, upper: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> Bytes:
    """The inverse of `pack_scales`: scales (n, 8) in 0..63."""
    nibbles = np.stack([low & LOW_NIBBLE, low >> FOUR], axis=2).reshape(-1, 8)
    high = (upper[:, None] >> UPPER_SHIFTS & np.uint16(3)).astype(np.uint8)
    scales: Bytes = nibbles | high << FOUR
    return scales


def encode_iq4_xs(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 136); importance as in kernels.codecs."""
    records = new_records("IQ4_XS", len(x))
    groups = np.ascontiguousarray(x).reshape(-1, 32)
    with c_arithmetic():
        scales = _search(groups, _weights(x, importance).reshape(-1, 32)).reshape(-1, 8)
        d = extreme_scale(scales) / np.float32(-32)
        multiples = np.clip(nearest_int(_reciprocal(d) * scales), -32, 31)
        inverse = _reciprocal(d * multiples.astype(np.float32))
        codes = nearest_value(inverse.reshape(-1, 1) * groups)
        records["d"] = d[:, 0]
    records["scales_l"], records["scales_h"] = pack_scales((multiples + 32).astype(np.uint8))
    records["qs"] = pack_nibbles(codes).reshape(-1, 128)
    return to_bytes(records)


def decode_iq4_xs(blocks: Bytes) -> Floats:
    """uint8 (n, 136) -> float32 (n, 256)."""
    records = to_records("IQ4_XS", blocks)
    scales = unpack_scales(records["scales_l"], records["scales_h"]).astype(np.float32) - np.float32(32)
    codes = unpack_nibbles(np.ascontiguousarray(records["qs"]).reshape(-1, 8, 16))
    with c_arithmetic():
        scale = records["d"].astype(np.float32)[:, None] * scales
        return (scale[:, :, None] * VALUES[codes]).reshape(-1, 256)

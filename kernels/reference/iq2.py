"""IQ2_XXS, IQ2_XS and IQ2_S: super-blocks of 256 weights; signs apart, 8 weights are one point of a grid.

    IQ2_XXS  d  qs[32]                                  8 groups of 32    66 bytes
    IQ2_XS   d  qs[32]  scales[8]                      16 groups of 16    74 bytes
    IQ2_S    d  qs[32]  signs[32]  qh[8]  scales[8]    16 groups of 16    82 bytes

    w = ±d·(2·l + 1)/8 · grid                           grid values 8, 25, 43; l 0..15

    IQ2_XXS  qs (16 bits)  per group two words of 32 bits: the indices 0..255 of 4 points, a byte each; then four times
                           7 sign bits (the 8th makes their number even), l << 28
    IQ2_XS   qs (16 bits)  per point: index 0..511, 7 sign bits << 9
    IQ2_S    qs, qh        index 0..1023: bits 2·k and 2·k + 1 of qh[i] are bits 8 and 9 of the index of point 4·i + k
             signs         bit j of byte i: weight 8·i + j is negative
    scales   l of an even group in the low nibble, of the odd one after it in the high nibble

The search is described in kernels.reference.grid_search, the grids in kernels.grids. d of IQ2_S is stored 1.25 % too
small, which ggml found to be better. IQ2_XXS and IQ2_XS cannot be encoded without importance; IQ2_S then weighs errors
by x² + σ²/4.

Source: ggml-quants.c, quantize_row_iq2_xxs_impl, quantize_row_iq2_xs_impl, quantize_row_iq2_s_impl and their
dequantize_row twins.
"""

from __future__ import annotations

import numpy as np

from kernels import grids
from kernels.reference.grid_layout import pack_even_signs, pack_pairs, signed, unpack_even_signs, unpack_pairs
from kernels.reference.grid_search import fit_grid
from kernels.reference.layout import Bytes, Floats, c_arithmetic, new_records, to_bytes, to_records

PAIRS_OF_BITS = np.array([0, 2, 4, 6], dtype=np.uint8)
NINE, EIGHT = np.uint16(9), np.uint16(8)


def _scaled(d: Floats, multiples: Bytes, grid: Floats) -> Floats:
    """Magnitudes (n, 256) of points grid (n, 32, 8), with d (n,) and the 4-bit multiples of groups."""
    scale = d.astype(np.float32)[:, None] * (np.float32(0.5) + multiples) * np.float32(0.25)
    return (scale[:, :, None] * grid.reshape(*multiples.shape, -1)).reshape(-1, 256)


def encode_iq2_xxs(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 66); raises ValueError without importance."""
    records = new_records("IQ2_XXS", len(x))
    with c_arithmetic():
        fit = fit_grid("IQ2_XXS", x, importance)
        records["d"] = fit.d
    points = fit.points.astype(np.uint8).reshape(-1, 8, 4)
    words = pack_even_signs(fit.signs, fit.multiples).astype("<u4")[:, :, None].view(np.uint8)
    records["qs"] = np.concatenate([points, words], axis=2).reshape(-1, 64).view("<u2")
    return to_bytes(records)


def decode_iq2_xxs(blocks: Bytes) -> Floats:
    """uint8 (n, 66) -> float32 (n, 256)."""
    records = to_records("IQ2_XXS", blocks)
    pairs = np.ascontiguousarray(records["qs"]).view(np.uint8).reshape(-1, 8, 8)
    signs, multiples = unpack_even_signs(np.ascontiguousarray(pairs[:, :, 4:]).view("<u4")[:, :, 0])
    with c_arithmetic():
        return signed(_scaled(records["d"], multiples, grids.values("IQ2_XXS")[pairs[:, :, :4]]), signs)


def encode_iq2_xs(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 74); raises ValueError without importance."""
    records = new_records("IQ2_XS", len(x))
    with c_arithmetic():
        fit = fit_grid("IQ2_XS", x, importance)
        records["d"] = fit.d
    records["qs"] = fit.points.astype(np.uint16) | fit.signs.astype(np.uint16) << NINE
    records["scales"] = pack_pairs(fit.multiples)
    return to_bytes(records)


def decode_iq2_xs(blocks: Bytes) -> Floats:
    """uint8 (n, 74) -> float32 (n, 256)."""
    records = to_records("IQ2_XS", blocks)
    grid = grids.values("IQ2_XS")[records["qs"] & np.uint16(511)]
    signs = grids.even_signs()[records["qs"] >> NINE]
    with c_arithmetic():
        return signed(_scaled(records["d"], unpack_pairs(records["scales"]), grid), signs)


def encode_iq2_s(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 82)."""
    records = new_records("IQ2_S", len(x))
    with c_arithmetic():
        fit = fit_grid("IQ2_S", x, importance)
        records["d"] = fit.d
    records["qs"], records["signs"] = fit.points & 255, fit.signs
    high = (fit.points >> 8).astype(np.uint8).reshape(-1, 8, 4)
    records["qh"] = np.bitwise_or.reduce(high << PAIRS_OF_BITS, axis=2)
    records["scales"] = pack_pairs(fit.multiples)
    return to_bytes(records)


def decode_iq2_s(blocks: Bytes) -> Floats:
    """uint8 (n, 82) -> float32 (n, 256)."""
    records = to_records("IQ2_S", blocks)
    high = (records["qh"][:, :, None] >> PAIRS_OF_BITS & np.uint8(3)).reshape(-1, 32)
    grid = grids.values("IQ2_S")[records["qs"] | high.astype(np.uint16) << EIGHT]
    with c_arithmetic():
        return signed(_scaled(records["d"], unpack_pairs(records["scales"]), grid), records["signs"])

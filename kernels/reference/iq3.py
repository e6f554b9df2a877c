"""IQ3_XXS and IQ3_S: super-blocks of 256 weights; signs apart, 4 weights are one point of a grid.

    IQ3_XXS  d  qs[64]  scales_signs[8]                8 groups of 32  w = ±d·(2·l + 1)/4 · grid    98 bytes
    IQ3_S    d  qs[64]  qh[8]  signs[32]  scales[4]    8 groups of 32  w = ±d·(2·l + 1) · grid     110 bytes

    IQ3_XXS  qs            index 0..255 of the points of 4 weights each
             scales_signs  32 bits per group: four times 7 sign bits (the 8th makes their number even), l << 28
    IQ3_S    qs, qh        index 0..511: bit k of qh[g] is bit 8 of the index of vector 8·g + k
             signs         bit j of byte i: weight 8·i + j is negative
             scales        l of an even group in the low nibble, of the odd one after it in the high nibble

The search is described in kernels.reference.grid_search, the grids in kernels.grids. d is stored 1.25 % (IQ3_S: 3.3 %)
too large, which ggml found to be better. Without importance the weights of errors are x².

Source: ggml-quants.c, quantize_row_iq3_xxs_impl, quantize_row_iq3_s_impl and their dequantize_row twins.
"""

from __future__ import annotations

import numpy as np

from kernels import grids
from kernels.reference.grid_layout import pack_even_signs, pack_pairs, signed, unpack_even_signs, unpack_pairs
from kernels.reference.grid_search import fit_grid
from kernels.reference.layout import (
    Bytes,
    Floats,
    c_arithmetic,
    new_records,
    to_bytes,
    to_records,
)


def encode_iq3_xxs(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 98)."""
    records = new_records("IQ3_XXS", len(x))
    with c_arithmetic():
        fit = fit_grid("IQ3_XXS", x, importance)
        records["d"] = fit.d
    records["qs"] = fit.points
    records["scales_signs"] = pack_even_signs(fit.signs, fit.multiples)
    return to_bytes(records)


def decode_iq3_xxs(blocks: Bytes) -> Floats:
    """uint8 (n, 98) -> float32 (n, 256)."""
    records = to_records("IQ3_XXS", blocks)
    signs, multiples = unpack_even_signs(records["scales_signs"])
    grid = grids.values("IQ3_XXS")[records["qs"]].reshape(-1, 8, 32)
    with c_arithmetic():
        scale = records["d"].astype(np.float32)[:, None] * (np.float32(0.5) + multiples) * np.float32(0.5)
        return signed((scale[:, :, None] * grid).reshape(-1, 256), signs)


def encode_iq3_s(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 110)."""
    records = new_records("IQ3_S", len(x))
    with c_arithmetic():
        fit = fit_grid("IQ3_S", x, importance)
        records["d"] = fit.d
    records["qs"] = fit.points & 255
    records["qh"] = np.packbits((fit.points >> 8).astype(np.uint8), axis=1, bitorder="little")
    records["signs"] = fit.signs
    records["scales"] = pack_pairs(fit.multiples)
    return to_bytes(records)


def decode_iq3_s(blocks: Bytes) -> Floats:
    """uint8 (n, 110) -> float32 (n, 256)."""
    records = to_records("IQ3_S", blocks)
    high = np.unpackbits(np.ascontiguousarray(records["qh"]), axis=1, bitorder="little")
    grid = grids.values("IQ3_S")[records["qs"] | high.astype(np.uint16) << np.uint16(8)].reshape(-1, 8, 32)
    multiples = unpack_pairs(records["scales"]).astype(np.float32)
    with c_arithmetic():
        scale = records["d"].astype(np.float32)[:, None] * (np.float32(1) + np.float32(2) * multiples)
        return signed((scale[:, :, None] * grid).reshape(-1, 256), records["signs"])

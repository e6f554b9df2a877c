"""MXFP4 and NVFP4: 4-bit floats (E2M1) with a shared scale that is itself a small float.

    MXFP4  e  qs[16]       w = 2^(e-128)·v[q]       blocks of 32, e is E8M0                    17 bytes
    NVFP4  d[4]  qs[32]    w = d[g]/2·v[q]          blocks of 64 = 4 groups of 16, d is UE4M3  36 bytes

    v     twice the values of E2M1: 0 1 2 3 4 6 8 12 and their negatives
    qs    MXFP4: element j in the low nibble of byte j, element j+16 in its high nibble
          NVFP4: per group 8 bytes, element j in the low nibble of byte j, element j+8 in its high nibble
    E8M0  the power 2^(e-127); half of it is a subnormal float32 for e = 0 and 1
    UE4M3 eeee mmm, bias 7, subnormal for eeee = 0; the upper bit is ignored, and 0 and 0x7f mean 0

No search: e is floor(log2(largest magnitude)) + 125, so that the largest is between 4 and 8 times the power of e; d is
a sixth of the largest. Codes are the nearest values, of two the first in the table. Importance is ignored.

UE4M3 is rounded by its first dropped bit, ties away from zero, but subnormals to no more than 7·2^-9; from 256 on it is
the largest value, 448.

Source: ggml-quants.c, best_index_mxfp4, quantize_row_mxfp4_ref, quantize_row_nvfp4_ref and the dequantize_row twins;
ggml-impl.h, ggml_e8m0_to_fp32_half, ggml_fp32_to_ue4m3, ggml_ue4m3_to_fp32. The formats are those of the OCP
Microscaling Formats specification v1.0 and of NVIDIA's Blackwell architecture.
"""

from __future__ import annotations

import numpy as np

from kernels.codecs import E2M1_DOUBLED
from kernels.reference.layout import (
    Bytes,
    Floats,
    c_arithmetic,
    new_records,
    pack_nibbles,
    to_bytes,
    to_records,
    unpack_nibbles,
)

VALUES = np.array(E2M1_DOUBLED, dtype=np.float32)
LARGEST_UE4M3 = np.float32(448)


def nearest_value(x: Floats, scale: Floats) -> Bytes:
    """The first code whose value, times scale, is nearest to x; x (groups, n), scale (groups, 1); 0 for NaN."""
    codes = np.zeros(x.shape, dtype=np.uint8)
    best = np.abs(VALUES[0] * scale - x)
    for code, value in enumerate(VALUES):
        error = np.abs(value * scale - x)
        codes = np.where(error < best, np.uint8(code), codes)
        best = np.where(error < best, error, best)
    return codes


def half_power(exponents: Bytes) -> Floats:
    """2^(e-128) for E8M0 exponents of any shape."""
    e = exponents.astype(np.uint32)
    subnormal = np.uint32(0x00200000) << np.minimum(e, np.uint32(1))
    bits: Floats = np.where(e < 2, subnormal, (e - np.uint32(1)) << np.uint32(23)).astype(np.uint32).view(np.float32)
    return bits


def to_ue4m3(x: Floats) -> Bytes:
    """Floats of any shape as UE4M3; 0 for what is not above 0."""
    x = np.minimum(x, LARGEST_UE4M3)
    bits = np.ascontiguousarray(x).view(np.int32)
    exponent = (bits >> 23 & 0xFF) - 120
    # Adding to the joined exponent and fraction carries from one into the other.
    normal = np.minimum((exponent << 3 | bits >> 20 & 7) + (bits >> 19 & 1), 0x7E)
    normal = np.where((exponent >= 15) | (normal >= 0x78), 0x7E, normal)
    subnormal = np.minimum((x * np.float32(512) + np.float32(0.5)).astype(np.int32), 7)
    return np.where(x > 0, np.where(exponent <= 0, subnormal, normal), 0).astype(np.uint8)


def half_of_ue4m3(codes: Bytes) -> Floats:
    """Half the values of UE4M3 codes of any shape."""
    exponent, fraction = (
        (codes >> np.uint8(3) & np.uint8(15)).astype(np.int32),
        (codes & np.uint8(7)).astype(np.float32),
    )
    normal = np.ldexp(np.float32(1) + fraction / np.float32(8), exponent - 7)
    raw = np.where(exponent == 0, np.ldexp(fraction, -9), normal)
    return np.where(codes == 0x7F, 0, raw).astype(np.float32) * np.float32(0.5)


def encode_mxfp4(x: Floats) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 17)."""
    blocks = new_records("MXFP4", len(x))
    with c_arithmetic():
        largest = np.fmax.reduce(np.abs(x), axis=1)
        # The logarithm of a float in double precision, rounded once, is that of C's log2f.
        power = np.floor(np.log2(largest.astype(np.float64)).astype(np.float32))
        exponents = (power + np.float32(125)).astype(np.int32).astype(np.uint8)
        blocks["e"] = np.where(largest > 0, exponents, 0)
        blocks["qs"] = pack_nibbles(nearest_value(x, half_power(blocks["e"])[:, None]))
    return to_bytes(blocks)


def decode_mxfp4(blocks: Bytes) -> Floats:
    """uint8 (n, 17) -> float32 (n, 32)."""
    records = to_records("MXFP4", blocks)
    with c_arithmetic():
        return VALUES[unpack_nibbles(records["qs"])] * half_power(records["e"])[:, None]


def encode_nvfp4(x: Floats) -> Bytes:
    """float32 (n, 64) -> uint8 (n, 36)."""
    blocks = new_records("NVFP4", len(x))
    groups = np.ascontiguousarray(x).reshape(-1, 16)
    with c_arithmetic():
        scales = to_ue4m3(np.fmax.reduce(np.abs(groups), axis=1) / np.float32(6))
        codes = nearest_value(groups, half_of_ue4m3(scales)[:, None])
    blocks["d"], blocks["qs"] = scales.reshape(-1, 4), pack_nibbles(codes).reshape(-1, 32)
    return to_bytes(blocks)


def decode_nvfp4(blocks: Bytes) -> Floats:
    """uint8 (n, 36) -> float32 (n, 64)."""
    records = to_records("NVFP4", blocks)
    codes = unpack_nibbles(np.ascontiguousarray(records["qs"]).reshape(-1, 4, 8))
    return (VALUES[codes] * half_of_ue4m3(records["d"])[:, :, None]).reshape(-1, 64)

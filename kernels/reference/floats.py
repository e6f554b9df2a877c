"""F32, F16 and BF16: the formats without blocks, as ggml's ggml_fp32_to_fp16 and ggml_fp32_to_bf16 round them.

    F32   seeeeeeee mmmmmmmmmmmmmmmmmmmmmmm     4 bytes, the source's own bits
    F16   seeeee mmmmmmmmmm                     IEEE half, round to nearest, ties to even; |x| >= 65520 -> infinity
    BF16  seeeeeeee mmmmmmm                     the upper 16 bits of F32 after rounding to nearest, ties to even

BF16 rounds by integer arithmetic on the bits: adding 0x7fff plus the lowest kept bit carries exactly when the dropped
half is above one half, or equal to it with an odd kept part. A NaN skips the addition (it could carry into infinity)
and gets its quiet bit set instead. Source: ggml-impl.h, ggml_compute_fp32_to_bf16.
"""

from __future__ import annotations

import numpy as np

from kernels.reference.layout import Bytes, Floats, c_arithmetic

QUIET = np.uint32(64)


def encode_f32(x: Floats) -> Bytes:
    """float32 (n, 1) -> uint8 (n, 4)."""
    return np.ascontiguousarray(x, dtype="<f4").view(np.uint8).copy()


def decode_f32(blocks: Bytes) -> Floats:
    """uint8 (n, 4) -> float32 (n, 1)."""
    return np.ascontiguousarray(blocks).view("<f4").astype(np.float32)


def encode_f16(x: Floats) -> Bytes:
    """float32 (n, 1) -> uint8 (n, 2)."""
    with c_arithmetic():
        return np.ascontiguousarray(x.astype("<f2")).view(np.uint8)


def decode_f16(blocks: Bytes) -> Floats:
    """uint8 (n, 2) -> float32 (n, 1)."""
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def encode_bf16(x: Floats) -> Bytes:
    """float32 (n, 1) -> uint8 (n, 2)."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    kept = bits >> np.uint32(16)
    # In unsigned arithmetic the largest negative NaN would wrap around; its result is not the one chosen below.
    rounded = (bits + (np.uint32(0x7FFF) + (kept & np.uint32(1)))) >> np.uint32(16)
    halves = np.where(np.isnan(x), kept | QUIET, rounded).astype("<u2")
    return halves.view(np.uint8)


def decode_bf16(blocks: Bytes) -> Floats:
    """uint8 (n, 2) -> float32 (n, 1)."""
    halves = np.ascontiguousarray(blocks).view("<u2").astype(np.uint32)
    return (halves << np.uint32(16)).view(np.float32)

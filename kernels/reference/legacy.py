"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: blocks of 32 with one scale, rounded to nearest; searched for with importance.

    Q4_0   d  qs[16]            w = d · (q - 8)       q 0..15     18 bytes
    Q4_1   d  m  qs[16]         w = d · q + m         q 0..15     20 bytes
    Q5_0   d  qh[4]  qs[16]     w = d · (q - 16)      q 0..31     22 bytes
    Q5_1   d  m  qh[4]  qs[16]  w = d · q + m         q 0..31     24 bytes
    Q8_0   d  qs[32]            w = d · q             q -128..127 34 bytes

    qs[j] = code[j] & 15 | (code[j+16] & 15) << 4     j = 0..15
    qh    = 32 bits, little-endian; bit j is the fifth bit of code[j]

d and m are IEEE halves. The symmetric types take the element of the largest magnitude, with its sign, to the most
negative code (d = x/-8, x/-16): that code has no positive partner, so the sign is worth having. The affine types span
minimum to maximum. Codes are computed with the float32 scale, not with the half that is stored.

Rounding. Q4_x and Q5_x add one half (and the offset) and drop the fraction, as a C cast does. Q8_0 uses roundf: ties go
away from zero. A reciprocal that overflows (a scale below 2^-128) makes infinities and NaN, which a C cast on x86 turns
into the smallest integer, whose low byte is 0; `_c_cast` does the same.

With importance the scale (and minimum) come from the searches of the K types, their codes are kept as the search has
them, and errors are weighted with σ² = the mean square of the whole row; a block of zeros gets codes of 0. Q8_0 ignores
importance.

Source: ggml-quants.c, quantize_row_q4_0_ref .. quantize_row_q8_0_ref, quantize_row_q4_0_impl .. quantize_row_q5_1_impl
and the dequantize_row twins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.codecs import WEIGHTED_AFFINE_SEARCHES
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
from kernels.reference.search import make_qkx2_quants, make_qx_quants
from kernels.reference.weights import by_row


def reciprocal(d: Floats) -> Floats:
    """1/d, and 0 where d is 0."""
    return np.where(d != 0, np.float32(1) / d, np.float32(0)).astype(np.float32)


def _c_cast(x: Floats) -> npt.NDArray[np.int8]:
    """The C cast (int8_t) of a float on x86: the fraction is dropped and what does not fit becomes 0."""
    return x.astype(np.int32).astype(np.int8)


def _signed_extreme(x: Floats) -> Floats:
    """Per block the first element of the largest magnitude, (n, 1); +0 where all are zero, whatever their signs."""
    return np.take_along_axis(x, np.argmax(np.abs(x), axis=1, keepdims=True), axis=1) + np.float32(0)


def _symmetric(x: Floats, levels: int, importance: Floats | None) -> tuple[Floats, Bytes]:
    """Scale (n, 1) and codes (n, 32) in 0..2·levels-1 of w = d·(q - levels)."""
    if importance is not None:
        scales, found = make_qx_quants(x, levels, by_row(x, importance))
        return scales[:, None], found.astype(np.uint8)
    d = _signed_extreme(x) / np.float32(-levels)
    codes = _c_cast(x * reciprocal(d) + np.float32(levels + 0.5))
    return d, np.minimum(codes, np.int8(2 * levels - 1)).astype(np.uint8)


def _affine(name: str, x: Floats, importance: Floats | None) -> tuple[Floats, Floats, Bytes]:
    """Scale (n, 1), minimum (n, 1) and codes (n, 32) of w = d·q + m, for Q4_1 or Q5_1."""
    search = WEIGHTED_AFFINE_SEARCHES[name]
    if importance is not None:
        scales, mins, found = make_qkx2_quants(x, by_row(x, importance), search)
        return scales[:, None], -mins[:, None], found.astype(np.uint8)
    low = x.min(axis=1, keepdims=True)
    d = (x.max(axis=1, keepdims=True) - low) / np.float32(search.nmax)
    codes = _c_cast((x - low) * reciprocal(d) + np.float32(0.5))
    return d, low, np.minimum(codes, np.int8(search.nmax)).astype(np.uint8)


def half_away(x: Floats) -> Floats:
    """C's roundf: to the nearest integer, ties away from zero; exact, because x - trunc(x) is."""
    whole = np.trunc(x)
    return np.where(np.abs(x - whole) >= np.float32(0.5), whole + np.copysign(np.float32(1), x), whole)


def pack_fifth_bits(codes: Bytes) -> Bytes:
    """Codes (n, 32) -> qh (n, 4)."""
    return np.packbits(codes >> FOUR, axis=1, bitorder="little")


def _unpack_five_bits(qs: Bytes, qh: Bytes) -> Bytes:
    """Fields qs (n, 16) and qh (n, 4) -> codes (n, 32) in 0..31."""
    codes: Bytes = unpack_nibbles(qs) | np.unpackbits(np.ascontiguousarray(qh), axis=1, bitorder="little") << FOUR
    return codes


def _scale(half: npt.NDArray[np.float16]) -> Floats:
    """A stored half per block as float32 (n, 1)."""
    return half.astype(np.float32)[:, None]


def encode_q4_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    blocks = new_records("Q4_0", len(x))
    with c_arithmetic():
        d, codes = _symmetric(x, 8, importance)
        blocks["d"] = d[:, 0]
    blocks["qs"] = pack_nibbles(codes)
    return to_bytes(blocks)


def decode_q4_0(blocks: Bytes) -> Floats:
    """uint8 (n, 18) -> float32 (n, 32)."""
    records = to_records("Q4_0", blocks)
    codes = unpack_nibbles(records["qs"]).astype(np.float32) - np.float32(8)
    with c_arithmetic():
        return codes * _scale(records["d"])


def encode_q4_1(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 20); importance as in kernels.codecs."""
    blocks = new_records("Q4_1", len(x))
    with c_arithmetic():
        d, low, codes = _affine("Q4_1", x, importance)
        blocks["d"], blocks["m"] = d[:, 0], low[:, 0]
    blocks["qs"] = pack_nibbles(codes)
    return to_bytes(blocks)


def decode_q4_1(blocks: Bytes) -> Floats:
    """uint8 (n, 20) -> float32 (n, 32)."""
    records = to_records("Q4_1", blocks)
    with c_arithmetic():
        return unpack_nibbles(records["qs"]).astype(np.float32) * _scale(records["d"]) + _scale(records["m"])


def encode_q5_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 22); importance as in kernels.codecs."""
    blocks = new_records("Q5_0", len(x))
    with c_arithmetic():
        d, codes = _symmetric(x, 16, importance)
        blocks["d"] = d[:, 0]
    blocks["qs"], blocks["qh"] = pack_nibbles(codes & LOW_NIBBLE), pack_fifth_bits(codes)
    return to_bytes(blocks)


def decode_q5_0(blocks: Bytes) -> Floats:
    """uint8 (n, 22) -> float32 (n, 32)."""
    records = to_records("Q5_0", blocks)
    codes = _unpack_five_bits(records["qs"], records["qh"]).astype(np.float32) - np.float32(16)
    with c_arithmetic():
        return codes * _scale(records["d"])


def encode_q5_1(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 24); importance as in kernels.codecs."""
    blocks = new_records("Q5_1", len(x))
    with c_arithmetic():
        d, low, codes = _affine("Q5_1", x, importance)
        blocks["d"], blocks["m"] = d[:, 0], low[:, 0]
    blocks["qs"], blocks["qh"] = pack_nibbles(codes & LOW_NIBBLE), pack_fifth_bits(codes)
    return to_bytes(blocks)


def decode_q5_1(blocks: Bytes) -> Floats:
    """uint8 (n, 24) -> float32 (n, 32)."""
    records = to_records("Q5_1", blocks)
    codes = _unpack_five_bits(records["qs"], records["qh"]).astype(np.float32)
    with c_arithmetic():
        return codes * _scale(records["d"]) + _scale(records["m"])


def encode_q8_0(x: Floats) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 34)."""
    blocks = new_records("Q8_0", len(x))
    with c_arithmetic():
        d = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
        blocks["qs"] = _c_cast(half_away(x * reciprocal(d)))
        blocks["d"] = d[:, 0]
    return to_bytes(blocks)


def decode_q8_0(blocks: Bytes) -> Floats:
    """uint8 (n, 34) -> float32 (n, 32)."""
    records = to_records("Q8_0", blocks)
    with c_arithmetic():
        return records["qs"].astype(np.float32) * _scale(records["d"])

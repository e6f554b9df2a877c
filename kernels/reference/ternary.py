"""TQ1_0, TQ2_0, Q1_0 and Q2_0: one scale and two to four levels, for models that were trained with such weights.

    TQ1_0  qs[48]  qh[4]  d    w = d·(q - 1)   q 0..2        blocks of 256   54 bytes
    TQ2_0  qs[64]  d           w = d·(q - 1)   q 0..2 (3)    blocks of 256   66 bytes
    Q2_0   d  qs[16]           w = d·(q - 1)   q 0..3        blocks of 64    18 bytes
    Q1_0   d  qs[16]           w = ±d          bit 1 is +    blocks of 128   18 bytes

    TQ1_0  a byte holds five digits to base 3, the first one the highest: t = Σ digit·3^(4-k), stored as t·256/243
           rounded up, so that multiplying the byte by 3 carries one digit after the other into the upper byte
           qs[0..31]   elements m + 32·k, k = 0..4
           qs[32..47]  elements 160 + m + 16·k, k = 0..4
           qh[0..3]    elements 240 + m + 4·k, k = 0..3, and a last digit of 0
    TQ2_0  per 128 elements 32 bytes: element m + 32·k at bits 2k, 2k+1 of byte m
    Q2_0   element j at bits 2·(j mod 4) of byte j/4
    Q1_0   element j at bit j mod 8 of byte j/8

No search: d is the largest magnitude (Q1_0: the mean magnitude, summed one element after another), and codes are the
nearest multiples of it, ties away from zero, by the float32 scale. Importance is ignored.

Source: ggml-quants.c, quantize_row_tq1_0_ref, quantize_row_tq2_0_ref, quantize_row_q1_0_ref, quantize_row_q2_0_ref and
the dequantize_row twins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.reference.kquants_small import pack_two_bits, unpack_two_bits
from kernels.reference.layout import Bytes, Floats, c_arithmetic, new_records, to_bytes, to_records
from kernels.reference.legacy import half_away, reciprocal

POWERS = np.array([81, 27, 9, 3, 1], dtype=np.uint16)
CARRIES = np.array([1, 3, 9, 27, 81], dtype=np.uint8)
PLACES = np.array([0, 2, 4, 6], dtype=np.uint8)
TRITS = ((0, 32, 5), (160, 16, 5), (240, 4, 4))  # the first element, the number of bytes and digits in each


def _multiples(x: Floats, beyond: float = 0) -> tuple[Floats, npt.NDArray[np.int32]]:
    """The largest magnitude d (n,) of blocks x, and the nearest multiples; `beyond` where a quotient is not finite."""
    d: Floats = np.fmax.reduce(np.abs(x), axis=1)
    quotients = half_away(x * reciprocal(d)[:, None])
    return d, np.where(np.isfinite(quotients), quotients, np.float32(beyond)).astype(np.int32)


def _scaled(d: npt.NDArray[np.float16], codes: Bytes) -> Floats:
    """Weights d·(q - 1) of codes (n, elements)."""
    with c_arithmetic():
        return (codes.astype(np.float32) - np.float32(1)) * d.astype(np.float32)[:, None]


def pack_trits(codes: Bytes) -> Bytes:
    """Codes (n, 256) in 0..2 -> the 52 bytes of qs and qh, (n, 52)."""
    parts = []
    for start, width, digits in TRITS:
        lanes = codes[:, start : start + width * digits].reshape(-1, digits, width).astype(np.uint16)
        total = (lanes * POWERS[:digits, None]).sum(axis=1, dtype=np.uint16)
        parts.append((total * np.uint16(256) + np.uint16(242)) // np.uint16(243))
    return np.concatenate(parts, axis=1).astype(np.uint8)


def unpack_trits(packed: Bytes) -> Bytes:
    """The inverse of `pack_trits`: (n, 52) -> codes (n, 256) in 0..2."""
    parts = []
    at = 0
    for _, width, digits in TRITS:
        shifted = packed[:, None, at : at + width] * CARRIES[:digits, None]
        parts.append((shifted.astype(np.uint16) * np.uint16(3) >> np.uint16(8)).reshape(len(packed), -1))
        at += width
    return np.concatenate(parts, axis=1).astype(np.uint8)


def encode_tq1_0(x: Floats) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 54)."""
    records = new_records("TQ1_0", len(x))
    with c_arithmetic():
        records["d"], multiples = _multiples(x)
    packed = pack_trits((multiples + 1).astype(np.uint8))
    records["qs"], records["qh"] = packed[:, :48], packed[:, 48:]
    return to_bytes(records)


def decode_tq1_0(blocks: Bytes) -> Floats:
    """uint8 (n, 54) -> float32 (n, 256)."""
    records = to_records("TQ1_0", blocks)
    return _scaled(records["d"], unpack_trits(np.concatenate([records["qs"], records["qh"]], axis=1)))


def encode_tq2_0(x: Floats) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 66)."""
    records = new_records("TQ2_0", len(x))
    with c_arithmetic():
        records["d"], multiples = _multiples(x)
    records["qs"] = pack_two_bits((multiples + 1).astype(np.uint8))
    return to_bytes(records)


def decode_tq2_0(blocks: Bytes) -> Floats:
    """uint8 (n, 66) -> float32 (n, 256)."""
    records = to_records("TQ2_0", blocks)
    return _scaled(records["d"], unpack_two_bits(np.ascontiguousarray(records["qs"])))


def encode_q2_0(x: Floats) -> Bytes:
    """float32 (n, 64) -> uint8 (n, 18)."""
    records = new_records("Q2_0", len(x))
    with c_arithmetic():
        records["d"], multiples = _multiples(x, beyond=-1)
    codes = (multiples + 1).astype(np.uint8).reshape(-1, 16, 4)
    records["qs"] = np.bitwise_or.reduce(codes << PLACES, axis=2)
    return to_bytes(records)


def decode_q2_0(blocks: Bytes) -> Floats:
    """uint8 (n, 18) -> float32 (n, 64)."""
    records = to_records("Q2_0", blocks)
    codes = np.ascontiguousarray(records["qs"])[:, :, None] >> PLACES & np.uint8(3)
    return _scaled(records["d"], codes.reshape(len(records), -1))


def encode_q1_0(x: Floats) -> Bytes:
    """float32 (n, 128) -> uint8 (n, 18)."""
    records = new_records("Q1_0", len(x))
    with c_arithmetic():
        records["d"] = np.cumsum(np.abs(x), axis=1, dtype=np.float32)[:, -1] / np.float32(128)
    records["qs"] = np.packbits(x >= 0, axis=1, bitorder="little")
    return to_bytes(records)


def decode_q1_0(blocks: Bytes) -> Floats:
    """uint8 (n, 18) -> float32 (n, 128)."""
    records = to_records("Q1_0", blocks)
    positive = np.unpackbits(np.ascontiguousarray(records["qs"]), axis=1, bitorder="little")
    d = records["d"].astype(np.float32)[:, None]
    return np.where(positive == 1, d, -d)

"""Q2_K and Q3_K: super-blocks of 256 with 16 sub-blocks of 16, whose scales are themselves quantized.

    Q2_K  scales[16]  qs[64]  d  dmin             w = d·sc·q - dmin·m         q 0..3   84 bytes
    Q3_K  hmask[32]  qs[64]  scales[12]  d        w = d·(sc - 32)·(q - 4)     q 0..7  110 bytes

    scales  Q2_K: sc in the low, m in the high nibble
    qs      per 128 elements 32 bytes, l = 0..31: the low two bits of elements l, l+32, l+64, l+96 from bit 0 up
    hmask   bit s of byte l is the third bit of element 32·s + l
    scales  Q3_K, 6 bits each: bytes 0..7 hold the low nibbles of sc[0..7] (low) and sc[8..15] (high);
            bits 2k, 2k+1 of byte 8+i are the upper bits of sc[4·k + i]

Steps. 1. Each sub-block gets its float32 scale (and minimum) from a search. 2. These become multiples of d (and dmin).
3. All codes are computed again with the scales as stored; a sub-block whose stored scale is 0 keeps the codes of the
search.

                       Q2_K                                     Q3_K
    without importance |x| weighs absolute errors; d = max/15   make_q3_quants; d = extreme/-32
    with importance    weights by super-block, factor 1; both   weights by super-block, factor 2; make_qx_quants for
                       scales and minima by make_qp_quants      codes and for scales
Scales are weighted by the sums of their sub-block's weights.

Source: ggml-quants.c, quantize_row_q2_K_ref, quantize_row_q3_K_ref, quantize_row_q2_K_impl, quantize_row_q3_K_impl and
the dequantize_row twins.
"""

from __future__ import annotations

import numpy as np

from kernels.codecs import AFFINE_SEARCHES, WEIGHTED_AFFINE_SEARCHES
from kernels.reference.layout import (
    FOUR,
    LOW_NIBBLE,
    SIX,
    TWO,
    Bytes,
    Floats,
    Records,
    c_arithmetic,
    new_records,
    pack_nibbles,
    to_bytes,
    to_records,
    unpack_nibbles,
)
from kernels.reference.search import (
    Codes,
    extreme_scale,
    make_q3_quants,
    make_qkx2_quants,
    make_qp_quants,
    make_qx_quants,
    nearest_int,
    sequential_sum,
)
from kernels.reference.weights import by_block

THREE = np.uint8(3)
SHIFTS = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]


def pack_two_bits(codes: Bytes) -> Bytes:
    """Codes (n, 256) in 0..3 -> the field qs (n, 64)."""
    quarters = codes.reshape(-1, 2, 4, 32)
    packed: Bytes = quarters[:, :, 0] | quarters[:, :, 1] << TWO | quarters[:, :, 2] << FOUR | quarters[:, :, 3] << SIX
    return packed.reshape(-1, 64)


def unpack_two_bits(qs: Bytes) -> Bytes:
    """The inverse of `pack_two_bits`: (n, 64) -> codes (n, 256) in 0..3."""
    return (qs.reshape(-1, 2, 1, 32) >> SHIFTS & THREE).reshape(-1, 256)


def pack_signed_scales(scales: Bytes) -> Bytes:
    """6-bit scales (n, 16) -> the field scales (n, 12) of Q3_K."""
    upper = (scales >> FOUR).reshape(-1, 4, 4)
    last = upper[:, 0] | upper[:, 1] << TWO | upper[:, 2] << FOUR | upper[:, 3] << SIX
    return np.concatenate([pack_nibbles(scales & LOW_NIBBLE), last], axis=1)


def unpack_signed_scales(packed: Bytes) -> Bytes:
    """The inverse of `pack_signed_scales`: (n, 12) -> scales (n, 16) in 0..63."""
    upper = (packed[:, None, 8:] >> SHIFTS & THREE).reshape(-1, 16)
    scales: Bytes = unpack_nibbles(packed[:, :8]) | upper << FOUR
    return scales


def _sub_blocks(x: Floats) -> Floats:
    """Super-blocks (n, 256) as sub-blocks (16·n, 16)."""
    return np.ascontiguousarray(x).reshape(-1, 16)


def _sums(weights: Floats) -> Floats:
    """The sums of the weights of sub-blocks (16·n, 16), by super-block (n, 16)."""
    return sequential_sum(np.ascontiguousarray(weights.T)).reshape(-1, 16)


def _four_bit(values: Floats) -> tuple[Floats, Codes]:
    """Per block the largest of values (n, 16), or 0, over 15, and the multiples of it, (n, 16)."""
    largest: Floats = np.fmax(np.fmax.reduce(values, axis=1), np.float32(0))
    multiples = nearest_int((np.float32(15) / largest)[:, None] * values)
    return largest / np.float32(15), np.where(largest[:, None] > 0, multiples, 0)


def _search_q2_k(x: Floats, records: Records) -> Codes:
    """Fill in scales, d and dmin of Q2_K without importance; the codes found, (16·n, 16)."""
    groups = _sub_blocks(x)
    scales, mins, found = make_qkx2_quants(groups, np.abs(groups), AFFINE_SEARCHES["Q2_K"], np.abs)
    records["d"], stored_scales = _four_bit(scales.reshape(-1, 16))
    records["dmin"], stored_mins = _four_bit(mins.reshape(-1, 16))
    records["scales"] = stored_scales | stored_mins << 4
    return found


def _search_q2_k_weighted(x: Floats, importance: Floats, records: Records) -> Codes:
    """Fill in scales, d and dmin of Q2_K with importance; the codes found, (16·n, 16)."""
    weights = _sub_blocks(by_block(x, importance, 1.0))
    scales, mins, found = make_qkx2_quants(_sub_blocks(x), weights, WEIGHTED_AFFINE_SEARCHES["Q2_K"])
    records["d"], stored_scales = make_qp_quants(scales.reshape(-1, 16), 15, _sums(weights))
    records["dmin"], stored_mins = make_qp_quants(mins.reshape(-1, 16), 15, _sums(weights))
    records["scales"] = stored_scales | stored_mins << 4
    return found


def _scales_q2_k(records: Records) -> tuple[Floats, Floats]:
    """Scale and subtracted minimum of every sub-block as stored, float32 (n, 16, 1) each."""
    scale = records["d"].astype(np.float32)[:, None] * (records["scales"] & LOW_NIBBLE).astype(np.float32)
    low = records["dmin"].astype(np.float32)[:, None] * (records["scales"] >> FOUR).astype(np.float32)
    return scale[:, :, None], low[:, :, None]


def encode_q2_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 84); importance as in kernels.codecs."""
    records = new_records("Q2_K", len(x))
    with c_arithmetic():
        found = _search_q2_k(x, records) if importance is None else _search_q2_k_weighted(x, importance, records)
        scale, low = _scales_q2_k(records)
        again = np.clip(nearest_int((x.reshape(-1, 16, 16) + low) / scale), 0, 3)
    codes = np.where(scale != 0, again, found.reshape(-1, 16, 16)).astype(np.uint8)
    records["qs"] = pack_two_bits(codes)
    return to_bytes(records)


def decode_q2_k(blocks: Bytes) -> Floats:
    """uint8 (n, 84) -> float32 (n, 256)."""
    records = to_records("Q2_K", blocks)
    codes = unpack_two_bits(np.ascontiguousarray(records["qs"])).reshape(-1, 16, 16)
    with c_arithmetic():
        scale, low = _scales_q2_k(records)
        return (scale * codes.astype(np.float32) - low).reshape(-1, 256)


def _search_q3_k(x: Floats, records: Records) -> Codes:
    """Fill in scales and d of Q3_K without importance; the codes found, (16·n, 16)."""
    found_scales, found = make_q3_quants(_sub_blocks(x), 4)
    scales = found_scales.reshape(-1, 16)
    extreme = extreme_scale(scales)
    inverse = np.float32(-32) / extreme
    multiples = np.clip(nearest_int(inverse * scales), -32, 31) + 32
    records["scales"] = pack_signed_scales(np.where(extreme != 0, multiples, 0).astype(np.uint8))
    records["d"] = np.where(extreme != 0, np.float32(1) / inverse, np.float32(0))[:, 0]
    return found


def _search_q3_k_weighted(x: Floats, importance: Floats, records: Records) -> Codes:
    """Fill in scales and d of Q3_K with importance; the codes found, (16·n, 16)."""
    weights = _sub_blocks(by_block(x, importance, 2.0))
    scales, found = make_qx_quants(_sub_blocks(x), 4, weights)
    records["d"], multiples = make_qx_quants(scales.reshape(-1, 16), 32, _sums(weights))
    records["scales"] = pack_signed_scales(multiples.astype(np.uint8))
    return found


def _scales_q3_k(records: Records) -> Floats:
    """Signed scale of every sub-block as stored, float32 (n, 16, 1)."""
    multiples = unpack_signed_scales(records["scales"]).astype(np.float32) - np.float32(32)
    return (records["d"].astype(np.float32)[:, None] * multiples)[:, :, None]


def encode_q3_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 110); importance as in kernels.codecs."""
    records = new_records("Q3_K", len(x))
    with c_arithmetic():
        found = _search_q3_k(x, records) if importance is None else _search_q3_k_weighted(x, importance, records)
        scale = _scales_q3_k(records)
        again = np.clip(nearest_int(x.reshape(-1, 16, 16) / scale), -4, 3) + 4
    codes = np.where(scale != 0, again, found.reshape(-1, 16, 16)).astype(np.uint8)
    records["qs"] = pack_two_bits(codes & THREE)
    records["hmask"] = np.packbits(codes.reshape(-1, 8, 32) >> TWO, axis=1, bitorder="little")[:, 0]
    return to_bytes(records)


def decode_q3_k(blocks: Bytes) -> Floats:
    """uint8 (n, 110) -> float32 (n, 256)."""
    records = to_records("Q3_K", blocks)
    high = np.unpackbits(np.ascontiguousarray(records["hmask"])[:, None], axis=1, bitorder="little")
    codes = unpack_two_bits(np.ascontiguousarray(records["qs"])) | high.reshape(-1, 256) << TWO
    with c_arithmetic():
        levels = codes.astype(np.float32).reshape(-1, 16, 16) - np.float32(4)
        return (_scales_q3_k(records) * levels).reshape(-1, 256)

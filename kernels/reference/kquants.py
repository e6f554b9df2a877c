"""Q4_K, Q5_K and Q6_K: super-blocks of 256 whose sub-block scales are themselves quantized, chosen by a search.

    Q4_K  d  dmin  scales[12]  qs[128]           8 sub-blocks of 32   w = d·sc·q - dmin·m     q 0..15   144 bytes
    Q5_K  d  dmin  scales[12]  qh[32]  qs[128]   8 sub-blocks of 32   w = d·sc·q - dmin·m     q 0..31   176 bytes
    Q6_K  ql[128]  qh[64]  scales[16]  d         16 sub-blocks of 16  w = d·sc·(q - 32)       q 0..63   210 bytes

    scales of Q4_K and Q5_K, 6 bits each, sub-blocks 0..3 whole and 4..7 split:
        byte j   (0..3)    sc[j]     | sc[j+4] >> 4 << 6
        byte j+4           m[j]      | m[j+4]  >> 4 << 6
        byte j+8           sc[j+4] & 15 | (m[j+4] & 15) << 4
    qs    per 64 elements 32 bytes: element l in the low nibble of byte l, element l+32 in its high nibble
    qh    Q5_K: bit s of byte l is the fifth bit of element 32·s + l
    ql,qh Q6_K, per 128 elements, l = 0..31, q1..q4 = elements l, l+32, l+64, l+96:
        ql[l] = q1 & 15 | (q3 & 15) << 4      ql[l+32] = q2 & 15 | (q4 & 15) << 4
        qh[l] = q1 >> 4 | (q2 >> 4) << 2 | (q3 >> 4) << 4 | (q4 >> 4) << 6

Steps. 1. Each sub-block gets its float32 scale (and minimum) from a search. 2. The largest becomes the super-block's
half, d = max/63 (Q6_K: the extreme with its sign over -128), and the others 6-bit (8-bit) multiples of it, rounded to
nearest, ties to even. 3. All codes are computed again with the scales as stored; a sub-block whose stored scale is 0
keeps the codes of the search.

The weights of the search for Q4_K and Q5_K are sqrt(Σx²/32) + |x|, for Q6_K x². With importance those of Q4_K and Q5_K
are by super-block, factor 2, and step 2 is a search as well (make_qp_quants, weighted by the sums of each sub-block's
weights); those of Q6_K are the bare importance.

Source: ggml-quants.c, quantize_row_q4_K_ref, quantize_row_q5_K_ref, quantize_row_q6_K_ref, the quantize_row_*_impl and
dequantize_row twins, get_scale_min_k4.
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
    GROUP_MAX_EPS,
    Codes,
    make_qkx2_quants,
    make_qp_quants,
    make_qx_quants,
    nearest_int,
    sequential_sum,
)
from kernels.reference.weights import by_block, of_rows

LARGEST_MULTIPLE = np.float32(63)
LOW_SIX = np.uint8(63)


def pack_scales(scales: Bytes, mins: Bytes) -> Bytes:
    """6-bit scales and minima, (n, 8) each -> the field `scales` (n, 12)."""
    first = scales[:, :4] | scales[:, 4:] >> FOUR << SIX
    second = mins[:, :4] | mins[:, 4:] >> FOUR << SIX
    third = scales[:, 4:] & LOW_NIBBLE | mins[:, 4:] << FOUR
    return np.concatenate([first, second, third], axis=1)


def unpack_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """The inverse of `pack_scales`: (n, 12) -> scales and minima (n, 8) in 0..63."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & LOW_SIX, third & LOW_NIBBLE | first >> SIX << FOUR], axis=1)
    mins = np.concatenate([second & LOW_SIX, third >> FOUR | second >> SIX << FOUR], axis=1)
    return scales, mins


def _magnitude_weights(groups: Floats) -> Floats:
    """The weights sqrt(Σx²/32) + |x| of groups (n, 32)."""
    mean_square = sequential_sum(np.ascontiguousarray((groups * groups).T)) / np.float32(32)
    weights: Floats = np.sqrt(mean_square)[:, None] + np.abs(groups)
    return weights


def _six_bit(values: Floats) -> tuple[Floats, Bytes]:
    """Per block the largest of values (n, 8), or 0, over 63, and the multiples of it, (n, 8) in 0..63."""
    largest: Floats = np.fmax(np.fmax.reduce(values, axis=1, keepdims=True), np.float32(0))
    inverse = np.where(largest > 0, LARGEST_MULTIPLE / largest, np.float32(0)).astype(np.float32)
    multiples = np.minimum(nearest_int(inverse * values).astype(np.uint8), LOW_SIX)
    return largest / LARGEST_MULTIPLE, multiples


def _search_affine(name: str, x: Floats, records: Records) -> Codes:
    """Fill in d, dmin and scales of Q4_K or Q5_K without importance; the codes found, (8·n, 32)."""
    groups = x.reshape(-1, 32)
    scales, mins, found = make_qkx2_quants(groups, _magnitude_weights(groups), AFFINE_SEARCHES[name])
    d, stored_scales = _six_bit(scales.reshape(-1, 8))
    dmin, stored_mins = _six_bit(mins.reshape(-1, 8))
    records["d"], records["dmin"] = d[:, 0], dmin[:, 0]
    records["scales"] = pack_scales(stored_scales, stored_mins)
    return found


def _search_affine_weighted(name: str, x: Floats, importance: Floats, records: Records) -> Codes:
    """Fill in d, dmin and scales of Q4_K or Q5_K with importance; the codes found, (8·n, 32)."""
    weights = by_block(x, importance, 2.0).reshape(-1, 32)
    scales, mins, found = make_qkx2_quants(x.reshape(-1, 32), weights, WEIGHTED_AFFINE_SEARCHES[name])
    sums = sequential_sum(np.ascontiguousarray(weights.T)).reshape(-1, 8)
    records["d"], stored_scales = make_qp_quants(scales.reshape(-1, 8), 63, sums)
    records["dmin"], stored_mins = make_qp_quants(mins.reshape(-1, 8), 63, sums)
    records["scales"] = pack_scales(stored_scales.astype(np.uint8), stored_mins.astype(np.uint8))
    return found


def _encode_affine(name: str, x: Floats, importance: Floats | None) -> tuple[Records, Bytes]:
    """The records of Q4_K or Q5_K with all but the codes filled in, and the codes (n, 8, 32)."""
    records = new_records(name, len(x))
    x = np.ascontiguousarray(x)
    if importance is None:
        found = _search_affine(name, x, records)
    else:
        found = _search_affine_weighted(name, x, importance, records)
    scale, low = _affine_scales(records)
    again = np.clip(nearest_int((x.reshape(-1, 8, 32) + low) / scale), 0, AFFINE_SEARCHES[name].nmax)
    codes = np.where(scale != 0, again, found.reshape(-1, 8, 32))
    return records, codes.astype(np.uint8)


def _affine_scales(records: Records) -> tuple[Floats, Floats]:
    """Scale and subtracted minimum of every sub-block as stored, float32 (n, 8, 1) each."""
    scales, mins = unpack_scales(records["scales"])
    scale = records["d"].astype(np.float32)[:, None] * scales.astype(np.float32)
    low = records["dmin"].astype(np.float32)[:, None] * mins.astype(np.float32)
    return scale[:, :, None], low[:, :, None]


def _decode_affine(records: Records, codes: Bytes) -> Floats:
    """Weights w = scale·q - low for the records of Q4_K or Q5_K and codes (n, 8, 32); float32 (n, 256)."""
    scale, low = _affine_scales(records)
    return (scale * codes.astype(np.float32) - low).reshape(-1, 256)


def encode_q4_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 144); importance as in kernels.codecs."""
    with c_arithmetic():
        records, codes = _encode_affine("Q4_K", x, importance)
    records["qs"] = pack_nibbles(codes.reshape(-1, 4, 64)).reshape(-1, 128)
    return to_bytes(records)


def decode_q4_k(blocks: Bytes) -> Floats:
    """uint8 (n, 144) -> float32 (n, 256)."""
    records = to_records("Q4_K", blocks)
    codes = unpack_nibbles(records["qs"].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    with c_arithmetic():
        return _decode_affine(records, codes)


def encode_q5_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 176); importance as in kernels.codecs."""
    with c_arithmetic():
        records, codes = _encode_affine("Q5_K", x, importance)
    records["qs"] = pack_nibbles((codes & LOW_NIBBLE).reshape(-1, 4, 64)).reshape(-1, 128)
    records["qh"] = np.packbits(codes >> FOUR, axis=1, bitorder="little")[:, 0]
    return to_bytes(records)


def decode_q5_k(blocks: Bytes) -> Floats:
    """uint8 (n, 176) -> float32 (n, 256)."""
    records = to_records("Q5_K", blocks)
    low = unpack_nibbles(records["qs"].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    high = np.unpackbits(np.ascontiguousarray(records["qh"])[:, None], axis=1, bitorder="little")
    with c_arithmetic():
        return _decode_affine(records, low | high << FOUR)


def _eight_bit(scales: Floats) -> tuple[Floats, Codes]:
    """Scales d (n, 1) and signed multiples (n, 16) in -128..127 of scales (n, 16): the extreme one becomes -128."""
    magnitude = np.nan_to_num(np.abs(scales), nan=0.0, posinf=np.inf)
    extreme = np.take_along_axis(scales, magnitude.argmax(axis=1)[:, None], axis=1)
    inverse = np.float32(-128) / extreme
    return np.float32(1) / inverse, np.minimum(nearest_int(inverse * scales), 127)


def pack_six_bits(codes: Bytes) -> tuple[Bytes, Bytes]:
    """Codes (n, 256) in 0..63 -> the fields ql (n, 128) and qh (n, 64) of Q6_K."""
    quarters = codes.reshape(-1, 2, 4, 32)
    ql = quarters[:, :, :2] & LOW_NIBBLE | quarters[:, :, 2:] << FOUR
    high = quarters >> FOUR
    qh = high[:, :, 0] | high[:, :, 1] << TWO | high[:, :, 2] << FOUR | high[:, :, 3] << SIX
    return ql.reshape(-1, 128), qh.reshape(-1, 64)


def unpack_six_bits(ql: Bytes, qh: Bytes) -> Bytes:
    """The inverse of `pack_six_bits`: codes (n, 256) in 0..63."""
    low = ql.reshape(-1, 2, 2, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]
    high = qh.reshape(-1, 2, 1, 32) >> shifts & np.uint8(3)
    codes: Bytes = np.concatenate([low & LOW_NIBBLE, low >> FOUR], axis=2) | high << FOUR
    return codes.reshape(-1, 256)


def encode_q6_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 210); importance as in kernels.codecs."""
    records = new_records("Q6_K", len(x))
    with c_arithmetic():
        weights = None if importance is None else of_rows(importance, len(x)).reshape(-1, 16)
        found_scales, found = make_qx_quants(np.ascontiguousarray(x).reshape(-1, 16), 32, weights)
        scales = found_scales.reshape(-1, 16)
        d, multiples = _eight_bit(scales)
        records["d"], records["scales"] = d[:, 0], multiples
        scale = (records["d"].astype(np.float32)[:, None] * records["scales"].astype(np.float32))[:, :, None]
        again = np.clip(nearest_int(x.reshape(-1, 16, 16) / scale), -32, 31) + 32
    codes = np.where(scale != 0, again, found.reshape(-1, 16, 16)).astype(np.uint8).reshape(-1, 256)
    records["ql"], records["qh"] = pack_six_bits(codes)
    # A NaN among the scales (weights beyond 1e19 overflow x²·x) is no maximum; a block of nothing else becomes zero.
    empty = ~(np.fmax.reduce(np.abs(scales), axis=1) >= GROUP_MAX_EPS)
    records[empty] = np.zeros((), records.dtype)
    return to_bytes(records)


def decode_q6_k(blocks: Bytes) -> Floats:
    """uint8 (n, 210) -> float32 (n, 256)."""
    records = to_records("Q6_K", blocks)
    codes = unpack_six_bits(records["ql"], records["qh"]).astype(np.float32) - np.float32(32)
    with c_arithmetic():
        scale = records["d"].astype(np.float32)[:, None] * records["scales"].astype(np.float32)
        return (scale[:, :, None] * codes.reshape(-1, 16, 16)).reshape(-1, 256)

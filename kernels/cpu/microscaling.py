"""MXFP4 and NVFP4, compiled: four-bit floats (E2M1) with a scale that is itself a small float, without a search.

Levels are those of E2M1 times two, as in ggml, and the scales half of what they say. An element gets the nearest level,
of two equally near ones that of smaller magnitude; products of levels and scales are exact, so comparing with the
middles between them finds it. Importance is not used.

Source: ggml-quants.c, quantize_row_mxfp4_ref, quantize_row_nvfp4_ref and their dequantize twins; ggml-impl.h,
ggml_e8m0_to_fp32_half, ggml_ue4m3_to_fp32, ggml_fp32_to_ue4m3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.codecs import E2M1_DOUBLED
from kernels.cpu import parallel
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import float_bits, float_value
from kernels.cpu.lanes import load, load_bytes, store, store_bytes
from kernels.cpu.lookup import stairs_of_codes
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import larger, largest, magnitude, smaller, splat, to_floats, to_integers, where

MXFP4_BLOCK, NVFP4_BLOCK, NVFP4_PART = FORMATS["MXFP4"].elements, FORMATS["NVFP4"].elements, 16
MXFP4_BYTES, NVFP4_BYTES = FORMATS["MXFP4"].bytes, FORMATS["NVFP4"].bytes
NVFP4_CODES_AT = 4
LARGE_SCALE, LARGEST_SCALE = 0x78, 0x7E  # the bytes of 256 and of 448
MIDDLES = tuple((a + b) / 2 for a, b in pairwise(E2M1_DOUBLED[:8]))
level_of_code = stairs_of_codes(E2M1_DOUBLED)
MANTISSA, INFINITE = np.uint32(0x7FFFFF), 128
# From here on log2f rounds up to the next integer, for some exponents.
NEARLY_DOUBLE = np.uint32(0x7FFFF0)


def _unsigned_e4m3(code: int) -> float:
    """Half of what a scale byte of NVFP4 says; 0 for the pattern of NaN."""
    if code in (0, 0x7F):
        return 0.0
    exponent, mantissa = code >> 3 & 15, code & 7
    return (2.0**-9 * mantissa if exponent == 0 else 2.0 ** (exponent - 7) * (1 + mantissa / 8)) / 2


UNSIGNED_E4M3 = np.array([_unsigned_e4m3(code) for code in range(256)], np.float32)


@inlined
def _codes(x: Any, start: int, d: Any) -> Any:
    """Codes 0 … 15 of 16 elements for a scale above 0: the index of the magnitude's level, and 8 for a sign."""
    element = load(x, start)
    size, code = magnitude(element), splat(0)
    for i in range(7):
        code = where(size > np.float32(MIDDLES[i]) * d, i + 1, code)
    return to_integers(where(smaller(element, 0) < 0, where(code > 0, code + 8, 0), code))


@inlined
def _codes_beyond(x: Any, start: int, d: Any) -> Any:
    """As `_codes`, for elements far beyond 12 times the scale: there float32 itself makes levels equally near."""
    element = load(x, start)
    size, code = magnitude(element), splat(0)
    least = size
    for i in range(1, 8):
        distance = magnitude(np.float32(E2M1_DOUBLED[i]) * d - size)
        nearer = distance < least
        code, least = where(nearer, i, code), where(nearer, distance, least)
    return to_integers(where(smaller(element, 0) < 0, where(code > 0, code + 8, 0), code))


@inlined
def _exponent(most: Any) -> Any:
    """The byte for the scale of a block with this largest magnitude: ⌊log2⌋ - 2, biased; 0 for zeros and infinity."""
    bits = float_bits(most)
    exponent = np.int64(bits >> np.uint32(23)) - 127
    if most == 0 or exponent == INFINITE:
        return 0
    if exponent == -127 or (bits & MANTISSA) >= NEARLY_DOUBLE:
        exponent = np.int64(np.floor(np.float32(np.log2(np.float64(most)))))
    return (exponent + 125) & 255


@inlined
def _half_scale(exponent: Any) -> Any:
    """2^(exponent - 128), subnormal for the two lowest."""
    if exponent < 2:
        return float_value(np.uint32(0x00200000 << exponent))
    return float_value(np.uint32((exponent - 1) << 23))


@compiled
def _encode_mxfp4(x: Any, out: Any) -> None:
    for b in range(out.size // MXFP4_BYTES):
        start, at = b * MXFP4_BLOCK, b * MXFP4_BYTES
        most = largest(larger(magnitude(load(x, start)), larger(magnitude(load(x, start + 16)), 0)))
        exponent = _exponent(most)
        d = _half_scale(exponent)
        out[at] = exponent
        store_bytes(out, at + 1, _codes(x, start, d) | (_codes(x, start + 16, d) << 4))


@compiled
def _decode_mxfp4(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // MXFP4_BYTES):
        d = _half_scale(np.int64(blocks[b * MXFP4_BYTES]))
        codes = load_bytes(blocks, b * MXFP4_BYTES + 1)
        store(out, b * MXFP4_BLOCK, to_floats(level_of_code(codes & 15)) * d)
        store(out, b * MXFP4_BLOCK + 16, to_floats(level_of_code(codes >> 4)) * d)


@inlined
def _scale_byte(value: Any) -> Any:
    """The unsigned E4M3 nearest to a value >= 0, halves up; from 256 on the largest, 448."""
    if not value > 0:
        return 0
    bits = float_bits(min(value, np.float32(448)))
    exponent = np.int64(bits >> np.uint32(23)) - 120
    if exponent <= 0:
        return min(np.int64(value * np.float32(512) + np.float32(0.5)), 7)
    # The mantissa's carry runs into the exponent, as it should.
    code = (exponent << 3) + ((np.int64(bits & MANTISSA) >> 19) + 1 >> 1)
    return code if code < LARGE_SCALE else LARGEST_SCALE


@compiled
def _encode_nvfp4(x: Any, out: Any) -> None:
    codes = np.zeros(16, np.uint8)
    for b in range(out.size // NVFP4_BYTES):
        for part in range(4):
            start, at = b * NVFP4_BLOCK + NVFP4_PART * part, b * NVFP4_BYTES
            scale = _scale_byte(largest(larger(magnitude(load(x, start)), 0)) / np.float32(6))
            out[at + part] = scale
            d = UNSIGNED_E4M3[scale]
            if scale == LARGEST_SCALE:
                store_bytes(codes, 0, _codes_beyond(x, start, d))
            else:
                store_bytes(codes, 0, _codes(x, start, d) if d > 0 else to_integers(splat(0)))
            for j in range(8):
                out[at + NVFP4_CODES_AT + 8 * part + j] = codes[j] | (codes[j + 8] << 4)


@compiled
def _decode_nvfp4(blocks: Any, out: Any) -> None:
    codes = np.zeros(16, np.uint8)
    for b in range(blocks.size // NVFP4_BYTES):
        at = b * NVFP4_BYTES
        for part in range(4):
            for j in range(8):
                pair = blocks[at + NVFP4_CODES_AT + 8 * part + j]
                codes[j], codes[j + 8] = pair & 15, pair >> 4
            levels = to_floats(level_of_code(load_bytes(codes, 0)))
            store(out, b * NVFP4_BLOCK + NVFP4_PART * part, levels * UNSIGNED_E4M3[blocks[at + part]])


def encode_mxfp4(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32) -> uint8 (n_blocks, 17)."""
    return parallel.encode(_encode_mxfp4, FORMATS["MXFP4"], x, threads)


def decode_mxfp4(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 17) -> float32 (n_blocks, 32)."""
    return parallel.decode(_decode_mxfp4, FORMATS["MXFP4"], blocks, threads)


def encode_nvfp4(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 64) -> uint8 (n_blocks, 36)."""
    return parallel.encode(_encode_nvfp4, FORMATS["NVFP4"], x, threads)


def decode_nvfp4(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 36) -> float32 (n_blocks, 64)."""
    return parallel.decode(_decode_nvfp4, FORMATS["NVFP4"], blocks, threads)

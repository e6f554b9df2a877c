"""IQ3_XXS and IQ3_S, compiled: signs apart, 4 weights are one point of a grid of 256 or 512.

Layouts are described in kernels.reference.iq3, the search in kernels.cpu.grid_search.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.grid_search import (
    decode_grid,
    encode_blocks,
    encode_grid,
    even_signs,
    signed_values,
    split_even_signs,
    split_signs,
    tables,
)
from kernels.cpu.half import load_half
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import larger, muladd, rint, smaller, where

XXS_BYTES, S_BYTES = FORMATS["IQ3_XXS"].bytes, FORMATS["IQ3_S"].bytes
# group, width, bytes, spread and level of kernels.cpu.grid_search.
XXS_SEARCH, S_SEARCH = (32, 4, XXS_BYTES, 2.0, 0.06), (32, 4, S_BYTES, 2.0, 0.2)
XXS_STRETCHES = tuple(1 + 0.03 * k for k in range(-8, 9))
S_STRETCHES = tuple(1 + 0.03 * k for k in range(-8, 9))
# Where fields begin.
XXS_SCALES_AT, S_HIGH_AT, S_SIGNS_AT, S_SCALES_AT = 66, 66, 74, 106


@inlined
def _level(code: Any) -> Any:
    return muladd(code, 2, 1)


@inlined
def _level_xxs(code: Any) -> Any:
    return muladd(code, 2, where(code > 6, 1.5, 1))


@inlined
def _code(level: Any) -> Any:
    return smaller(larger(rint(muladd(level, 0.5, -0.5)), 0), 7)


@inlined
def _store_xxs(out: Any, at: int, lane: int, fields: Any) -> None:
    low, _, signs, multiples = fields
    for g in range(8):
        packed = np.uint32(multiples[lane + g]) << np.uint32(28)
        for k in range(8):
            out[at + 8 * g + k] = low[16 * k + lane + g]
        for k in range(4):
            packed |= np.uint32(signs[16 * k + lane + g]) << np.uint32(7 * k)
        for k in range(4):
            out[at + 64 + 4 * g + k] = (packed >> np.uint32(8 * k)) & np.uint32(255)


@inlined
def _store_s(out: Any, at: int, lane: int, fields: Any) -> None:
    low, high, signs, multiples = fields
    for g in range(8):
        bits = 0
        for k in range(8):
            out[at + 8 * g + k] = low[16 * k + lane + g]
            bits |= high[16 * k + lane + g] << k
        out[at + 64 + g] = bits
        for k in range(4):
            out[at + 72 + 4 * g + k] = signs[16 * k + lane + g]
    for g in range(4):
        out[at + 104 + g] = multiples[lane + 2 * g] | (multiples[lane + 2 * g + 1] << 4)


@compiled
def _encode_iq3_xxs(x: Any, importance: Any, grid: Any, out: Any) -> None:
    encode_grid((x, importance), grid, out, XXS_SEARCH, _level_xxs, _code, split_even_signs, _store_xxs)


@compiled
def _encode_iq3_s(x: Any, importance: Any, grid: Any, out: Any) -> None:
    encode_grid((x, importance), grid, out, S_SEARCH, _level, _code, split_signs, _store_s)


@compiled
def _decode_iq3_xxs(blocks: Any, values: Any, out: Any) -> None:
    for b in range(blocks.size // XXS_BYTES):
        at = b * XXS_BYTES
        d = load_half(blocks, at)
        for g in range(8):
            packed = np.uint32(0)
            for k in range(4):
                packed |= np.uint32(blocks[at + XXS_SCALES_AT + 4 * g + k]) << np.uint32(8 * k)
            scale = d * (np.float32(0.5) + np.float32(packed >> np.uint32(28))) * np.float32(0.5)
            for k in range(4):
                signs = even_signs((packed >> np.uint32(7 * k)) & np.uint32(127))
                for i in range(2):
                    point = blocks[at + 2 + 8 * g + 2 * k + i]
                    signed_values(values, 4 * point, 4, scale, signs >> (4 * i), out, b * 256 + 32 * g + 8 * k + 4 * i)


@compiled
def _decode_iq3_s(blocks: Any, values: Any, out: Any) -> None:
    for b in range(blocks.size // S_BYTES):
        at = b * S_BYTES
        d = load_half(blocks, at)
        for g in range(8):
            multiple = (blocks[at + S_SCALES_AT + (g >> 1)] >> (4 * (g & 1))) & 15
            scale = d * np.float32(1 + 2 * multiple)
            for k in range(8):
                point = np.int64(blocks[at + 2 + 8 * g + k]) | ((np.int64(blocks[at + S_HIGH_AT + g]) >> k) & 1) << 8
                signs = blocks[at + S_SIGNS_AT + 4 * g + (k >> 1)] >> (4 * (k & 1))
                signed_values(values, 4 * point, 4, scale, signs, out, b * 256 + 32 * g + 4 * k)


def encode_iq3_xxs(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 98)."""
    return encode_blocks("IQ3_XXS", _encode_iq3_xxs, tables("IQ3_XXS", 4.0, XXS_STRETCHES), (x, importance), threads)


def decode_iq3_xxs(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 98) -> float32 (n_blocks, 256)."""
    return decode_grid("IQ3_XXS", _decode_iq3_xxs, blocks, threads)


def encode_iq3_s(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 110)."""
    return encode_blocks("IQ3_S", _encode_iq3_s, tables("IQ3_S", 1.0, S_STRETCHES), (x, importance), threads)


def decode_iq3_s(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 110) -> float32 (n_blocks, 256)."""
    return decode_grid("IQ3_S", _decode_iq3_s, blocks, threads)

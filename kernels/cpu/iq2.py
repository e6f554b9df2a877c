"""IQ2_XXS, IQ2_XS and IQ2_S, compiled: signs apart, 8 weights are one point of a grid of 256, 512 or 1024.

Layouts are described in kernels.reference.iq2, the search in kernels.cpu.grid_search.
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
from kernels.cpu.vectors import muladd, where

SUPER_BLOCK = 256
XXS_BYTES, XS_BYTES, S_BYTES = FORMATS["IQ2_XXS"].bytes, FORMATS["IQ2_XS"].bytes, FORMATS["IQ2_S"].bytes
# group, width, bytes, spread and level of kernels.cpu.grid_search.
XXS_SEARCH, XS_SEARCH, S_SEARCH = (32, 8, XXS_BYTES, 1.0, 0.0), (16, 8, XS_BYTES, 1.0, 0.0), (16, 8, S_BYTES, 2.0, 0.25)
UNIT = 8.0  # what the grid's values are for the smallest level
# Where groups are large, one large weight may be worth being cut.
WIDE = tuple(0.8 * 1.08**k for k in range(16))
NARROW = tuple(0.8 * 1.06**k for k in range(12))
# Where fields begin.
XS_SCALES_AT, S_SIGNS_AT, S_HIGH_AT, S_SCALES_AT = 66, 34, 66, 74


@inlined
def _level(code: Any) -> Any:
    """1, 3.125 and 5.375."""
    return muladd(code, muladd(code, 0.0625, 2.0625), 1)


@inlined
def _code(level: Any) -> Any:
    return where(level > 4.25, 2, where(level > 2.0625, 1, 0))


@inlined
def _store_xxs(out: Any, at: int, lane: int, fields: Any) -> None:
    low, _, signs, multiples = fields
    for g in range(8):
        packed = np.uint32(multiples[lane + g]) << np.uint32(28)
        for k in range(4):
            out[at + 8 * g + k] = low[16 * k + lane + g]
            packed |= np.uint32(signs[16 * k + lane + g]) << np.uint32(7 * k)
        for k in range(4):
            out[at + 8 * g + 4 + k] = (packed >> np.uint32(8 * k)) & np.uint32(255)


@inlined
def _store_xs(out: Any, at: int, lane: int, fields: Any) -> None:
    low, high, signs, multiples = fields
    for g in range(16):
        for k in range(2):
            out[at + 4 * g + 2 * k] = low[16 * k + g]
            out[at + 4 * g + 2 * k + 1] = high[16 * k + g] | (signs[16 * k + g] << 1)
    for g in range(8):
        out[at + 64 + g] = multiples[2 * g] | (multiples[2 * g + 1] << 4)


@inlined
def _store_s(out: Any, at: int, lane: int, fields: Any) -> None:
    low, high, signs, multiples = fields
    for g in range(16):
        for k in range(2):
            out[at + 2 * g + k] = low[16 * k + g]
            out[at + 32 + 2 * g + k] = signs[16 * k + g]
    for g in range(8):
        bits = high[2 * g] | (high[16 + 2 * g] << 2) | (high[2 * g + 1] << 4) | (high[16 + 2 * g + 1] << 6)
        out[at + 64 + g] = bits
        out[at + 72 + g] = multiples[2 * g] | (multiples[2 * g + 1] << 4)


@compiled
def _encode_iq2_xxs(x: Any, importance: Any, grid: Any, out: Any) -> None:
    encode_grid((x, importance), grid, out, XXS_SEARCH, _level, _code, split_even_signs, _store_xxs)


@compiled
def _encode_iq2_xs(x: Any, importance: Any, grid: Any, out: Any) -> None:
    encode_grid((x, importance), grid, out, XS_SEARCH, _level, _code, split_even_signs, _store_xs)


@compiled
def _encode_iq2_s(x: Any, importance: Any, grid: Any, out: Any) -> None:
    encode_grid((x, importance), grid, out, S_SEARCH, _level, _code, split_signs, _store_s)


@inlined
def _scale(d: Any, multiple: Any) -> Any:
    return d * (np.float32(0.5) + np.float32(multiple)) * np.float32(0.25)


@compiled
def _decode_iq2_xxs(blocks: Any, values: Any, out: Any) -> None:
    for b in range(blocks.size // XXS_BYTES):
        at = b * XXS_BYTES
        d = load_half(blocks, at)
        for g in range(8):
            packed = np.uint32(0)
            for k in range(4):
                packed |= np.uint32(blocks[at + 6 + 8 * g + k]) << np.uint32(8 * k)
            scale = _scale(d, packed >> np.uint32(28))
            for k in range(4):
                point, signs = blocks[at + 2 + 8 * g + k], even_signs((packed >> np.uint32(7 * k)) & np.uint32(127))
                signed_values(values, 8 * point, 8, scale, signs, out, b * SUPER_BLOCK + 32 * g + 8 * k)


@compiled
def _decode_iq2_xs(blocks: Any, values: Any, out: Any) -> None:
    for b in range(blocks.size // XS_BYTES):
        at = b * XS_BYTES
        d = load_half(blocks, at)
        for k in range(32):
            scale = _scale(d, (blocks[at + XS_SCALES_AT + (k >> 2)] >> (2 * (k & 2))) & 15)
            high = np.uint32(blocks[at + 3 + 2 * k])
            point = np.uint32(blocks[at + 2 + 2 * k]) | ((high & np.uint32(1)) << np.uint32(8))
            signs = even_signs(high >> np.uint32(1))
            signed_values(values, 8 * point, 8, scale, signs, out, b * SUPER_BLOCK + 8 * k)


@compiled
def _decode_iq2_s(blocks: Any, values: Any, out: Any) -> None:
    for b in range(blocks.size // S_BYTES):
        at = b * S_BYTES
        d = load_half(blocks, at)
        for k in range(32):
            scale = _scale(d, (blocks[at + S_SCALES_AT + (k >> 2)] >> (2 * (k & 2))) & 15)
            high = (np.int64(blocks[at + S_HIGH_AT + (k >> 2)]) >> (2 * (k & 3))) & 3
            point = blocks[at + 2 + k] | (high << 8)
            signs = blocks[at + S_SIGNS_AT + k]
            signed_values(values, 8 * point, 8, scale, signs, out, b * SUPER_BLOCK + 8 * k)


def encode_iq2_xxs(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 66).

    Raises ValueError where there is no importance.
    """
    return encode_blocks("IQ2_XXS", _encode_iq2_xxs, tables("IQ2_XXS", UNIT, WIDE), (x, importance), threads)


def decode_iq2_xxs(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 66) -> float32 (n_blocks, 256)."""
    return decode_grid("IQ2_XXS", _decode_iq2_xxs, blocks, threads)


def encode_iq2_xs(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 74).

    Raises ValueError where there is no importance.
    """
    return encode_blocks("IQ2_XS", _encode_iq2_xs, tables("IQ2_XS", UNIT, NARROW), (x, importance), threads)


def decode_iq2_xs(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 74) -> float32 (n_blocks, 256)."""
    return decode_grid("IQ2_XS", _decode_iq2_xs, blocks, threads)


def encode_iq2_s(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 82)."""
    return encode_blocks("IQ2_S", _encode_iq2_s, tables("IQ2_S", UNIT, NARROW), (x, importance), threads)


def decode_iq2_s(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 82) -> float32 (n_blocks, 256)."""
    return decode_grid("IQ2_S", _decode_iq2_s, blocks, threads)

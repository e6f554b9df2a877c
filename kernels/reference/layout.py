"""Blocks as named fields, and the bit packings that several formats share; derived from the table in kernels.blocks.

All packings work along the last axis and treat the first axis as the number of blocks.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.blocks import FORMATS

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Records = npt.NDArray[np.void]

# Bit operands as uint8: with a Python integer the result would still be uint8, but the type checker doubts it.
TWO, FOUR, SIX = np.uint8(2), np.uint8(4), np.uint8(6)
LOW_NIBBLE = np.uint8(15)


def c_arithmetic() -> np.errstate:
    """Overflow, underflow, 0/0 and NaN pass silently, as in C; the formats define what becomes of them."""
    return np.errstate(all="ignore")


@functools.cache
def record(name: str) -> np.dtype[np.void]:
    """The numpy record of one block of a format: packed little-endian fields in the order of the table."""
    fields: list[Any] = [
        (field.name, field.dtype, (field.count,)) if field.count else (field.name, field.dtype)
        for field in FORMATS[name].fields
    ]
    return np.dtype(fields)


def new_records(name: str, n_blocks: int) -> Records:
    """`n_blocks` blocks of zero bytes as records (n_blocks,)."""
    return np.zeros(n_blocks, dtype=record(name))


def to_bytes(records: Records) -> Bytes:
    """Records (n_blocks,) as their bytes, uint8 (n_blocks, bytes)."""
    return records.view(np.uint8).reshape(len(records), records.dtype.itemsize)


def to_records(name: str, blocks: Bytes) -> Records:
    """Bytes uint8 (n_blocks, bytes) as records (n_blocks,)."""
    return np.ascontiguousarray(blocks).view(record(name)).reshape(len(blocks))


def pack_nibbles(codes: Bytes) -> Bytes:
    """4-bit codes (..., 2m) -> bytes (..., m): the first half in the low nibbles, the second half in the high ones."""
    half = codes.shape[-1] // 2
    packed: Bytes = codes[..., :half] | codes[..., half:] << FOUR
    return packed


def unpack_nibbles(packed: Bytes) -> Bytes:
    """The inverse of `pack_nibbles`: bytes (..., m) -> codes (..., 2m) in 0..15."""
    return np.concatenate([packed & LOW_NIBBLE, packed >> FOUR], axis=-1)

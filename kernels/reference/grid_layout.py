"""Signs and 4-bit multiples as the IQ2 and IQ3 types pack them; the first axis is the number of blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels import grids
from kernels.reference.layout import FOUR, LOW_NIBBLE, Bytes, Floats

Words = npt.NDArray[np.uint32]

SEVENS = np.array([0, 7, 14, 21], dtype=np.uint32)


def pack_even_signs(signs: Bytes, multiples: Bytes) -> Words:
    """Signs (n, 32) in 0..127 and multiples (n, 8) in 0..15 -> 32-bit words (n, 8)."""
    stored = np.bitwise_or.reduce(signs.reshape(-1, 8, 4).astype(np.uint32) << SEVENS, axis=2)
    words: Words = stored | multiples.astype(np.uint32) << np.uint32(28)
    return words


def unpack_even_signs(words: Words) -> tuple[Bytes, Bytes]:
    """The inverse of `pack_even_signs`, but for all 8 signs of 8 weights: (n, 8) -> (n, 32) and (n, 8)."""
    stored = words[:, :, None] >> SEVENS & np.uint32(127)
    return grids.even_signs()[stored].reshape(-1, 32), (words >> np.uint32(28)).astype(np.uint8)


def signed(magnitudes: Floats, signs: Bytes) -> Floats:
    """Magnitudes (n, 256) with the signs (n, 32) of 8 weights each: where a bit is set, negative."""
    bits = np.unpackbits(np.ascontiguousarray(signs), axis=1, bitorder="little")
    return magnitudes * np.where(bits, np.float32(-1), np.float32(1))


def unpack_pairs(scales: Bytes) -> Bytes:
    """Two 4-bit multiples per byte, the low nibble first: (n, m) -> (n, 2m)."""
    return np.stack([scales & LOW_NIBBLE, scales >> FOUR], axis=2).reshape(len(scales), -1)


def pack_pairs(multiples: Bytes) -> Bytes:
    """The inverse of `unpack_pairs`."""
    packed: Bytes = multiples[:, ::2] | multiples[:, 1::2] << FOUR
    return packed

"""NF4 and FP4: sixteen fixed levels and the largest magnitude of each block of 64; scales in 8 bits where wanted.

Levels and rounding are bitsandbytes', so that its own files and ours are the same. NF4's are quantiles of a normal
distribution (Dettmers et al., QLoRA, arXiv 2305.14314); FP4's are a sign, two bits of exponent and one of mantissa.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.methods.linear import Floats

BLOCK = 64
NESTED_BLOCK = 256
TINY = np.float32(1e-38)
_FP4 = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)
LEVELS: dict[str, Floats] = {
    "nf4": np.array(
        [
            -1.0,
            -0.6961928009986877,
            -0.5250730514526367,
            -0.39491748809814453,
            -0.28444138169288635,
            -0.18477343022823334,
            -0.09105003625154495,
            0.0,
            0.07958029955625534,
            0.16093020141124725,
            0.24611230194568634,
            0.33791524171829224,
            0.44070982933044434,
            0.5626170039176941,
            0.7229568362236023,
            1.0,
        ],
        np.float32,
    ),
    "fp4": np.array([*_FP4, *(-level for level in _FP4)], np.float32) / np.float32(12.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class NestedScales:
    """Scales in 8 bits: codes uint8 (blocks,) into `dynamic_levels`, times absmax (of 256 scales each), plus offset."""

    codes: NDArray[np.uint8]
    absmax: Floats
    offset: np.float32

    def values(self) -> Floats:
        """The scales: float32 (blocks,)."""
        factors = np.repeat(self.absmax, NESTED_BLOCK)[: len(self.codes)]
        values: Floats = dynamic_levels()[self.codes] * factors + self.offset
        return values


@dataclass(frozen=True, slots=True, eq=False)
class FourBit:
    """A quantized matrix. codes: uint8 (elements,), 0 to 15. absmax: float32 (blocks,), or in 8 bits."""

    kind: str
    shape: tuple[int, int]
    codes: NDArray[np.uint8]
    absmax: Floats | NestedScales

    def values(self) -> Floats:
        """What the codes stand for: float32 (rows, columns)."""
        scales = self.absmax.values() if isinstance(self.absmax, NestedScales) else self.absmax
        flat = LEVELS[self.kind][self.codes] * np.repeat(scales, BLOCK)[: len(self.codes)]
        return flat.reshape(self.shape)


def quantize(w: Floats, kind: str, double: bool = False) -> FourBit:
    """A matrix (rows, columns) in the levels of `kind`, nf4 or fp4; double: scales in 8 bits."""
    levels = LEVELS[kind]
    order = np.argsort(levels, kind="stable").astype(np.uint8)
    index, absmax = _nearest(w.reshape(-1), levels[order], BLOCK)
    return FourBit(kind, (w.shape[0], w.shape[1]), order[index], nested(absmax) if double else absmax)


def nested(absmax: Floats) -> NestedScales:
    """Scales (blocks,) in 8 bits, after their mean is taken off."""
    offset = np.float32(absmax.mean(dtype=np.float64))
    index, largest = _nearest(absmax - offset, dynamic_levels(), NESTED_BLOCK)
    return NestedScales(index.astype(np.uint8), largest, offset)


def _nearest(x: Floats, levels: Floats, block: int) -> tuple[NDArray[np.int64], Floats]:
    """Index of the nearest level (ascending) of each number over its block's largest magnitude, and the latter."""
    padded = np.zeros(-(-len(x) // block) * block, np.float32)
    padded[: len(x)] = x
    blocks = padded.reshape(-1, block)
    absmax = np.abs(blocks).max(axis=1)
    scaled = np.clip(blocks * (np.float32(1) / np.maximum(absmax, TINY))[:, None], -1, 1)
    bounds = (levels[:-1] + levels[1:]) / np.float32(2)
    return np.searchsorted(bounds, scaled.reshape(-1)[: len(x)]), absmax


def dynamic_levels() -> Floats:
    """The 256 levels of 8-bit scales, ascending: seven decades with ever more steps, both signs, 0 and 1.

    Source: Dettmers, 8-Bit Approximations for Parallelism in Deep Learning, arXiv 1511.04561.
    """
    decades = []
    for number in range(7):
        ends = np.linspace(0.1, 1, 2**number + 1, dtype=np.float32)
        middles = (ends[:-1] + ends[1:]) / np.float32(2)
        decades.append((np.float32(10.0 ** (number - 6)) * middles).astype(np.float32))
    positive = np.concatenate(decades)
    levels: Floats = np.sort(np.concatenate([positive, -positive, np.array([0, 1], np.float32)]))
    return levels

"""BitNet's weights of 1 bit and of 1.58 bits (ternary), and its 8-bit activations.

Made for models that were trained in this form: any other loses nearly everything. Sources: Wang et al., BitNet,
arXiv 2310.11453 (sign after centring, beta = mean |w|), Ma et al., The Era of 1-bit LLMs, arXiv 2402.17764 (absmean).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.methods.linear import Floats
from kernels.reference.scales import rounded

SMALLEST_SCALE = np.float32(1e-5)


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """A quantized matrix. codes: int8 (rows, columns), of -1, 0 and 1. scale: what a 1 stands for."""

    codes: NDArray[np.int8]
    scale: np.float32

    def values(self) -> Floats:
        """What the codes stand for: float32 (rows, columns)."""
        return self.codes.astype(np.float32) * self.scale


def one_bit(w: Floats) -> Signs:
    """The sign of each weight after the mean is taken off, times the mean magnitude."""
    return Signs(np.where(w > w.mean(dtype=np.float64), 1, -1).astype(np.int8), _mean_size(w))


def ternary(w: Floats) -> Signs:
    """absmean: w over its mean magnitude, rounded, within -1 and 1; what is ternary already stays as it is."""
    exact = lossless(w)
    if exact is not None:
        return exact
    scale = _mean_size(w)
    return Signs(np.clip(np.rint(w / scale), -1, 1).astype(np.int8), scale)


def lossless(w: Floats) -> Signs | None:
    """The weights as they are where they have no magnitude but 0 and one other, else None."""
    size = np.abs(w)
    top = np.float32(size.max())
    if not np.all((size == top) | (size == 0)):
        return None
    return Signs(np.sign(w).astype(np.int8), max(top, SMALLEST_SCALE))


def _mean_size(w: Floats) -> np.float32:
    return max(np.float32(np.abs(w).mean(dtype=np.float64)), SMALLEST_SCALE)


def stored_scale(signs: Signs, *, inverted: bool) -> np.float32:
    """The scale, or 1 / scale, in bfloat16, which is what a checkpoint holds."""
    number = 1 / signs.scale if inverted else signs.scale
    return np.float32(rounded(np.array([number], np.float32), "BF16")[0])


def as_stored(signs: Signs, *, inverted: bool) -> Signs:
    """What a checkpoint stands for that holds the scale, or 1 / scale, in bfloat16."""
    number = stored_scale(signs, inverted=inverted)
    return Signs(signs.codes, np.float32(1) / number if inverted else number)


def activations(x: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Tokens (tokens, columns) in 8 bits, each by its largest magnitude.

    Gives codes, and factors (tokens, 1) with x ~ code / factor.
    """
    factors = np.float32(127) / np.maximum(np.abs(x).max(axis=-1, keepdims=True), SMALLEST_SCALE)
    return np.clip(np.rint(x * factors), -128, 127).astype(np.int8), factors.astype(np.float32)

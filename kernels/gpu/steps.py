"""The constants of the searches in torch and in Triton, and the levels of their candidates."""

from __future__ import annotations

import numpy as np

NUDGES = tuple(k for k in range(-9, 10) if k != 0)
FINE_NUDGES = tuple(k for k in range(-4, 5) if k != 0)
PASSES = 5
TRIES = tuple(range(-7, 8))


def stretched(nmax: int, first: float, step: float, k: int) -> float:
    """The number of levels of candidate k, rounded to float32 where C rounds: (first + step·k) + nmax."""
    return float(np.float32(first) + np.float32(step) * np.float32(k) + np.float32(nmax))

"""LLM.int8: every row in 8 bits by its largest magnitude, and which input columns stay in 16 bits when it runs.

Source: Dettmers et al., LLM.int8(), arXiv 2208.07339. Outlier columns are found again at run time from the activations;
what is found here on calibration data shows how many there will be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.methods.linear import Floats

THRESHOLD = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A quantized matrix. codes: int8 (rows, columns). absmax: float32 (rows,)."""

    codes: NDArray[np.int8]
    absmax: Floats

    def values(self) -> Floats:
        """What the codes stand for: float32 (rows, columns)."""
        return self.codes.astype(np.float32) * (self.absmax / np.float32(127))[:, None]


def quantize(w: Floats) -> Rows:
    """A matrix (rows, columns) with w ~ code * absmax / 127; a row that is all zero stays so."""
    absmax = np.abs(w).max(axis=1).astype(np.float32)
    factors = np.float32(127) / np.where(absmax > 0, absmax, np.float32(1))
    return Rows(np.rint(w * factors[:, None]).astype(np.int8), absmax)


def outlier_columns(largest: Floats, threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """The columns whose activations reach the threshold. largest: float32 (columns,), their largest magnitudes."""
    return np.flatnonzero(largest >= threshold)

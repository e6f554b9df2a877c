"""Error sums of a tensor against its quantized self: what every backend's `measure` returns, and how chunks add up.

This module is light: standard library only. Figures made from the sums (RMSE, SNR, cosine) belong to `core.metrics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def _larger(a: float, b: float) -> float:
    """The larger of two numbers, NaN counting as above all others: an error that is no number must not vanish."""
    return a if a > b or math.isnan(a) else b


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """Float64 sums over the elements x of a source and y of its quantized copy; `+` combines chunks.

    n: elements. squared_error: Σ(x-y)². squared_x: Σx². squared_y: Σy². product_xy: Σxy. max_error: max |x-y|.
    """

    n: int = 0
    squared_error: float = 0.0
    squared_x: float = 0.0
    squared_y: float = 0.0
    product_xy: float = 0.0
    max_error: float = 0.0

    def __add__(self, other: ErrorSums) -> ErrorSums:
        """The sums over both chunks together."""
        return ErrorSums(
            self.n + other.n,
            self.squared_error + other.squared_error,
            self.squared_x + other.squared_x,
            self.squared_y + other.squared_y,
            self.product_xy + other.product_xy,
            _larger(self.max_error, other.max_error),
        )

"""Error sums in numpy, in float64: the specification of `measure`."""

from __future__ import annotations

import numpy as np

from kernels.measure import ErrorSums
from kernels.reference.layout import Floats, c_arithmetic


def measure(x: Floats, y: Floats) -> ErrorSums:
    """The error sums of y against x, two float32 arrays of the same shape; infinities and NaN pass through."""
    if x.size == 0:
        return ErrorSums()
    source = x.astype(np.float64).ravel()
    copy = y.astype(np.float64).ravel()
    with c_arithmetic():
        error = source - copy
        return ErrorSums(
            n=x.size,
            squared_error=float(np.sum(error * error)),
            squared_x=float(np.sum(source * source)),
            squared_y=float(np.sum(copy * copy)),
            product_xy=float(np.sum(source * copy)),
            max_error=float(np.max(np.abs(error))),
        )

"""SmoothQuant: moves outliers from activations, which are hard to round, into weights, which are not.

Source: Xiao et al., SmoothQuant, arXiv 2211.10438.
"""

from __future__ import annotations

import numpy as np

from core.methods.linear import Floats

ALPHA = 0.5
SMALLEST = 1e-5


def scales(activations: Floats, weights: Floats, alpha: float = ALPHA) -> Floats:
    """max|x|^alpha / max|w|^(1 - alpha) for each column, by which x is divided and w multiplied.

    activations, weights: largest magnitudes of each column (columns,). A column that either never reaches keeps 1.
    """
    x, w = activations.astype(np.float64), weights.astype(np.float64)
    found = np.maximum(x, SMALLEST) ** alpha / np.maximum(w, SMALLEST) ** (1 - alpha)
    return np.where((x > 0) & (w > 0), np.maximum(found, SMALLEST), 1.0).astype(np.float32)

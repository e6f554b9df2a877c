"""Rows at the edges on which searches with importance and the types of grids are proven.

They are few, since their specification is slow and some of ggml's blocks are kept as golden checksums
(tests/golden/iq-blocks.npz); tests.kernels.samples has more, for the types that are fast without importance.
"""

from __future__ import annotations

import numpy as np


def _noise(scale: float, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((16, 512)) * scale + offset


def _outlier(scale: float) -> np.ndarray:
    rows = _noise(scale)
    rows[:, 77::256] = 50.0
    return rows


EDGES = {
    "zeros": np.zeros((3, 512)),
    "one positive value": np.full((3, 512), 0.3),
    "one negative value": np.full((3, 512), -0.3),
    "far above zero": _noise(0.01, 5.0),
    "far below zero": _noise(0.01, -5.0),
    "one outlier in noise": _outlier(1e-3),
    "one outlier in zeros": _outlier(0.0),
    "one negative outlier in zeros": -_outlier(0.0),
    "small": _noise(1e-7),
    "below the halves": _noise(1e-14),
    "squares underflow": _noise(1e-25),
    "denormal": _noise(1e-42),
    "beyond the halves": _noise(1e10),
    "squares overflow": _noise(1e30),
    "alternating signs": np.tile([0.5, -0.5], (3, 256)),
    "integers": np.arange(-256, 256) * np.ones((2, 1)),
}


def edge(name: str) -> np.ndarray:
    """Rows of 512 at an edge, float32."""
    return EDGES[name].astype(np.float32)

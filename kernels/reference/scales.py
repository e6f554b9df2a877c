"""Which of several candidate grids suits each group of weights best: the specification, in plain numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def best_candidates(
    groups: Floats, importance: Floats, scales: Floats, zeros: Floats, lowest: int, highest: int
) -> npt.NDArray[np.int64]:
    """The candidate with the least weighted squared error for each group: (m,); of equals the first.

    groups: float32 (m, g), the rows of a matrix cut into pieces. importance: float32 (columns,), repeated along the
    matrix. scales, zeros: float32 (m, candidates). A weight w of a group becomes scale * (q - zero) with the whole
    number q = round(w / scale) + zero, held within [lowest, highest].
    """
    repeats = -(-groups.size // len(importance))
    weights = np.tile(importance, repeats)[: groups.size].reshape(groups.shape).astype(np.float64)
    errors = np.empty(scales.shape[::-1])
    for number, (scale, zero) in enumerate(zip(scales.T[..., None], zeros.T[..., None], strict=True)):
        codes = np.clip(np.rint(groups * (1 / scale)) + zero, np.float32(lowest), np.float32(highest))
        errors[number] = (weights * (groups - scale * (codes - zero)) ** 2).sum(axis=1)
    best: npt.NDArray[np.int64] = errors.argmin(axis=0)
    return best

"""The column loop of GPTQ: the specification, in plain numpy.

Rounds one column after another to a given grid and makes up for each one's error in the columns after it. Source:
Frantar et al., GPTQ, arXiv 2210.17323, algorithm 1, whose inner block this is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def quantize_columns(
    w: Floats, factor: Floats, scales: Floats, offsets: Floats, group_of: npt.NDArray[np.int64], ends: tuple[int, int]
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Rounds the first len(group_of) columns of w (rows, columns) and compensates in all that follow, in place.

    factor: upper triangular (columns, columns), the part of U with inverse Hessian = U'U that belongs to these columns.
    scales, offsets: float32 (rows, groups); column j may become scale * q + offset of its group, group_of[j], with a
    whole number q within `ends`. Gives the numbers q, int8, and the errors over the factor's diagonal, float32, both
    (rows, rounded columns).
    """
    count = len(group_of)
    codes = np.empty((len(w), count), np.int8)
    errors = np.empty((len(w), count), np.float32)
    for j, group in enumerate(group_of):
        scale, offset = scales[:, group], offsets[:, group]
        code = np.clip(np.rint((w[:, j] - offset) * (np.float32(1) / scale)), np.float32(ends[0]), np.float32(ends[1]))
        error = (w[:, j] - (scale * code + offset)) * (np.float32(1) / factor[j, j])
        w[:, j + 1 :] -= error[:, None] * factor[j, j + 1 :]
        codes[:, j], errors[:, j] = code.astype(np.int8), error
    return codes, errors

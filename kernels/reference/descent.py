"""Coordinate descent over the numbers that GPTQ has rounded to: the specification, in plain numpy.

One column after another goes to the level where the error of the layer's output is least, all others as they are; every
step makes it smaller or leaves it. Source: Behdin et al., QuantEase, arXiv 2309.01885.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]


def descend(
    codes: Codes,
    residual: Floats,
    hessian: Floats,
    added: float,
    scales: Floats,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
) -> int:
    """One pass over all columns of codes (rows, columns), in place: how many of them changed.

    The error is tr(D (H + added) D') with D the weights less what the codes stand for. residual: D (H + added), float32
    (rows, columns), which is kept what it is. hessian: H, float32 (columns, columns); columns where its diagonal is 0
    stay. A step of column j's code is worth scales[:, group_of[j]] of scales (rows, groups), and codes are within ends.
    """
    changed = 0
    for j, group in enumerate(group_of):
        if hessian[j, j] <= 0:
            continue
        scale, now = scales[:, group], codes[:, j].astype(np.float32)
        wanted = residual[:, j] * (np.float32(1) / (hessian[j, j] + np.float32(added))) * (np.float32(1) / scale)
        code = np.clip(np.rint(now + wanted), np.float32(ends[0]), np.float32(ends[1]))
        step = scale * (code - now)
        residual -= step[:, None] * hessian[j]
        residual[:, j] -= step * np.float32(added)
        codes[:, j] = code.astype(np.int8)
        changed += int(np.count_nonzero(code != now))
    return changed

"""The column loop of GPTQ: kernels/reference/columns.py with torch, on whatever device its tensors are.

The specification of the Triton kernel (triton_columns.py) beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch


def quantize_columns(
    w: torch.Tensor,
    factor: torch.Tensor,
    scales: torch.Tensor,
    offsets: torch.Tensor,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """As kernels.reference.columns.quantize_columns; all tensors on one device, w changed in place."""
    codes, errors = [], []
    for j, group in enumerate(group_of.tolist()):
        scale, offset = scales[:, group], offsets[:, group]
        code = torch.clamp(torch.round((w[:, j] - offset) * (1 / scale)), *ends)
        error = (w[:, j] - (scale * code + offset)) * (1 / factor[j, j])
        w[:, j + 1 :].addr_(error, factor[j, j + 1 :], alpha=-1)
        codes.append(code.to(torch.int8))
        errors.append(error)
    return torch.stack(codes, 1), torch.stack(errors, 1)

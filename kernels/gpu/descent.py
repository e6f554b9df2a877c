"""Coordinate descent over rounded numbers: kernels/reference/descent.py with torch, on whatever device its tensors are.

A block of columns goes its way alone; what it changed then reaches all columns in one product of matrices. The way
through a block is the specification of the Triton kernel (triton_descent.py) beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

Block = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, npt.NDArray[np.int64], tuple[int, int]],
    torch.Tensor,
]
BLOCK = 128


def within(
    codes: torch.Tensor,
    residual: torch.Tensor,
    hessian: torch.Tensor,
    shares: torch.Tensor,
    scales: torch.Tensor,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
) -> torch.Tensor:
    """A block's columns: by how much each weight has become larger, float32 (rows, columns); codes change in place.

    shares: one over each column's own moment, 0 for a column that stays. residual is given up.
    """
    moved = torch.empty_like(residual)
    for j, group in enumerate(group_of.tolist()):
        scale, now = scales[:, group], codes[:, j].float()
        code = torch.clamp(torch.round(now + residual[:, j] * shares[j] * (1 / scale)), *ends)
        moved[:, j] = scale * (code - now)
        residual[:, j + 1 :].addr_(moved[:, j], hessian[j, j + 1 :], alpha=-1)
        codes[:, j] = code.to(torch.int8)
    return moved


def descend(
    codes: torch.Tensor,
    residual: torch.Tensor,
    hessian: torch.Tensor,
    added: float,
    scales: torch.Tensor,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
    block: Block = within,
) -> int:
    """As kernels.reference.descent.descend; all tensors on one device."""
    diagonal = hessian.diagonal()
    shares = torch.where(diagonal > 0, 1 / (diagonal + added), 0.0)
    changed = torch.zeros((), dtype=torch.int64, device=codes.device)
    for first in range(0, codes.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        # Copies even where a block is all there is, since it changes them.
        own, left = (whole[:, part].clone(memory_format=torch.contiguous_format) for whole in (codes, residual))
        moved = block(own, left, hessian[part, part].contiguous(), shares[part], scales, group_of[part], ends)
        changed += (own != codes[:, part]).sum()
        codes[:, part] = own
        residual.addmm_(moved, hessian[part], alpha=-1)
        residual[:, part] -= added * moved
    return int(changed)

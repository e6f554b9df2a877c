"""Coordinate descent within a block of columns as a Triton kernel: kernels/gpu/descent.py on a GPU, or interpreted.

Rows do not depend on each other, so each program takes a few of them with all their columns into its registers, and
what it reads again and again, the rows of H, comes from the cache.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from kernels.gpu import descent as plain
from kernels.gpu.triton_columns import ROWS, nearest


@triton.jit  # type: ignore[untyped-decorator]
def _within(
    codes: tl.tensor,
    residual: tl.tensor,
    hessian: tl.tensor,
    shares: tl.tensor,
    scales: tl.tensor,
    group_of: tl.tensor,
    moved: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    groups: tl.tensor,
    lowest: tl.tensor,
    highest: tl.tensor,
    row_count: tl.constexpr,
    column_count: tl.constexpr,
) -> None:
    """One program: row_count rows, all columns in a tile of column_count, a power of two."""
    row = tl.program_id(0).to(tl.int64) * row_count + tl.arange(0, row_count)
    column = tl.arange(0, column_count)
    is_row, is_column = row < rows, column < columns
    places = row[:, None] * columns + column[None, :]
    tile = tl.load(residual + places, mask=is_row[:, None] & is_column[None, :], other=0.0)
    for j in range(columns):
        group = tl.load(group_of + j)
        scale = tl.load(scales + row * groups + group, mask=is_row, other=1.0)
        now = tl.load(codes + row * columns + j, mask=is_row, other=0).to(tl.float32)
        left = tl.sum(tl.where(column[None, :] == j, tile, 0.0), axis=1)
        number = nearest(now + left * tl.load(shares + j) * (1.0 / scale), lowest, highest)
        step = scale * (number - now)
        share = tl.load(hessian + j * columns + column, mask=is_column & (column > j), other=0.0)
        tile = tile - step[:, None] * share[None, :]
        tl.store(codes + row * columns + j, number.to(tl.int8), mask=is_row)
        tl.store(moved + row * columns + j, step, mask=is_row)


def within(
    codes: torch.Tensor,
    residual: torch.Tensor,
    hessian: torch.Tensor,
    shares: torch.Tensor,
    scales: torch.Tensor,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
) -> torch.Tensor:
    """As kernels.gpu.descent.within; all tensors on one device and contiguous."""
    rows, columns = codes.shape
    moved = torch.empty_like(residual)
    places = torch.from_numpy(np.ascontiguousarray(group_of, np.int32)).to(codes.device)
    _within[(triton.cdiv(rows, ROWS),)](
        codes,
        residual,
        hessian,
        shares.contiguous(),
        scales.contiguous(),
        places,
        moved,
        rows,
        columns,
        scales.shape[1],
        float(ends[0]),
        float(ends[1]),
        row_count=ROWS,
        column_count=triton.next_power_of_2(columns),
    )
    return moved


descend = partial(plain.descend, block=within)

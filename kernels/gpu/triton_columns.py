"""The column loop of GPTQ as a Triton kernel: kernels/gpu/columns.py on a GPU, or in Triton's interpreter without one.

Rows do not depend on each other, so each program takes a few of them with all their columns into its registers, and
what the loop reads again and again, the row of the factor, comes from the cache.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from kernels.gpu.triton_search import ROUNDER

# Rows of one program: with blocks of 128 columns, 2048 numbers in registers.
ROWS = 16


@triton.jit  # type: ignore[untyped-decorator]
def nearest(x: tl.tensor, lowest: tl.tensor, highest: tl.tensor) -> tl.tensor:
    """The nearest whole number within ends, which are whole themselves: so holding within them may come first."""
    return (tl.minimum(tl.maximum(x, lowest), highest) + ROUNDER) - ROUNDER


@triton.jit  # type: ignore[untyped-decorator]
def _columns(
    w: tl.tensor,
    factor: tl.tensor,
    scales: tl.tensor,
    offsets: tl.tensor,
    group_of: tl.tensor,
    codes: tl.tensor,
    errors: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    count: tl.tensor,
    groups: tl.tensor,
    factor_stride: tl.tensor,
    lowest: tl.tensor,
    highest: tl.tensor,
    row_count: tl.constexpr,
    column_count: tl.constexpr,
) -> None:
    """One program: row_count rows, all columns in a tile of column_count, a power of two."""
    row = tl.program_id(0).to(tl.int64) * row_count + tl.arange(0, row_count)
    column = tl.arange(0, column_count)
    is_row, is_column = row < rows, column < columns
    inside = is_row[:, None] & is_column[None, :]
    places = row[:, None] * columns + column[None, :]
    tile = tl.load(w + places, mask=inside, other=0.0)
    for j in range(count):
        group = tl.load(group_of + j)
        scale = tl.load(scales + row * groups + group, mask=is_row, other=1.0)
        offset = tl.load(offsets + row * groups + group, mask=is_row, other=0.0)
        now = tl.sum(tl.where(column[None, :] == j, tile, 0.0), axis=1)
        number = nearest((now - offset) * (1.0 / scale), lowest, highest)
        error = (now - (scale * number + offset)) * (1.0 / tl.load(factor + j * factor_stride + j))
        share = tl.load(factor + j * factor_stride + column, mask=is_column & (column > j), other=0.0)
        tile = tile - error[:, None] * share[None, :]
        tl.store(codes + row * count + j, number.to(tl.int8), mask=is_row)
        tl.store(errors + row * count + j, error, mask=is_row)
    tl.store(w + places, tile, mask=inside & (column >= count)[None, :])


def quantize_columns(
    w: torch.Tensor,
    factor: torch.Tensor,
    scales: torch.Tensor,
    offsets: torch.Tensor,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """As kernels.reference.columns.quantize_columns; all tensors on one device, w contiguous and changed in place."""
    (rows, columns), count = w.shape, len(group_of)
    codes = torch.empty(rows, count, dtype=torch.int8, device=w.device)
    errors = torch.empty(rows, count, device=w.device)
    places = torch.from_numpy(np.ascontiguousarray(group_of, np.int32)).to(w.device)
    factor, scales, offsets = factor.contiguous(), scales.contiguous(), offsets.contiguous()
    grid = (triton.cdiv(rows, ROWS),)
    _columns[grid](
        w,
        factor,
        scales,
        offsets,
        places,
        codes,
        errors,
        rows,
        columns,
        count,
        scales.shape[1],
        factor.stride(0),
        float(ends[0]),
        float(ends[1]),
        row_count=ROWS,
        column_count=triton.next_power_of_2(columns),
    )
    return codes, errors

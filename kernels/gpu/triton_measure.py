"""The error sums of kernels.gpu.measure as a kernel of Triton: one pass over both arrays, sums in float64."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Elements of one program, and how many it adds up at a time.
SPAN, AT_A_TIME = 1 << 15, 1 << 10


@triton.jit  # type: ignore[untyped-decorator]
def _sums(
    x_ptr: tl.tensor,
    y_ptr: tl.tensor,
    sums_ptr: tl.tensor,
    elements: tl.tensor,
    span: tl.constexpr,
    block: tl.constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    squared_error = tl.zeros((block,), tl.float64)
    squared_x = tl.zeros((block,), tl.float64)
    squared_y = tl.zeros((block,), tl.float64)
    product = tl.zeros((block,), tl.float64)
    largest = tl.zeros((block,), tl.float64)
    for first in range(0, span, block):
        at = program * span + first + tl.arange(0, block)
        x = tl.load(x_ptr + at, mask=at < elements, other=0.0).to(tl.float64)
        y = tl.load(y_ptr + at, mask=at < elements, other=0.0).to(tl.float64)
        error = tl.abs(x - y)
        squared_error += error * error
        squared_x += x * x
        squared_y += y * y
        product += x * y
        # An error that is no number counts as above all others.
        largest = tl.where((error > largest) | (error != error), error, largest)
    out = sums_ptr + program * 6
    tl.store(out, tl.sum(squared_error, 0))
    tl.store(out + 1, tl.sum(squared_x, 0))
    tl.store(out + 2, tl.sum(squared_y, 0))
    tl.store(out + 3, tl.sum(product, 0))
    tl.store(out + 4, tl.max(tl.where(largest == largest, largest, 0.0), 0))
    tl.store(out + 5, tl.sum((largest != largest).to(tl.float64), 0))


def sums_of(x: Tensor, y: Tensor) -> Tensor:
    """As kernels.gpu.measure.sums_of."""
    programs = triton.cdiv(x.numel(), SPAN)
    parts = torch.empty((programs, 6), dtype=torch.float64, device=x.device)
    _sums[(programs,)](x.contiguous(), y.contiguous(), parts, x.numel(), span=SPAN, block=AT_A_TIME, num_warps=4)
    largest = torch.where(parts[:, 5].sum() > 0, torch.nan, parts[:, 4].amax())
    return torch.cat([parts[:, :4].sum(dim=0), largest[None]])

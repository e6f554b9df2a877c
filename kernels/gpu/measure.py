"""Error sums in torch, in float64 on the device of the tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.measure import ErrorSums


def measure(x: Tensor, y: Tensor) -> ErrorSums:
    """The error sums of y against x, two float32 tensors of the same shape; infinities and NaN pass through."""
    if x.numel() == 0:
        return ErrorSums()
    if x.device.type == "mps":  # Apple's GPU has no float64
        x, y = x.cpu(), y.cpu()
    source, copy = x.to(torch.float64).flatten(), y.to(torch.float64).flatten()
    error = source - copy
    sums = torch.stack([error.square().sum(), source.square().sum(), copy.square().sum(), torch.dot(source, copy)])
    squared_error, squared_x, squared_y, product_xy = sums.tolist()
    return ErrorSums(x.numel(), squared_error, squared_x, squared_y, product_xy, float(error.abs().max()))

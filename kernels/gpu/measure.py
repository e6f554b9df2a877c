"""Error sums in torch, in float64 on the device of the tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.gpu.fusing import fused
from kernels.measure import ErrorSums


@fused("kernels.gpu.triton_measure", within=1e-9)
def sums_of(x: Tensor, y: Tensor) -> Tensor:
    """Σ(x-y)², Σx², Σy², Σxy and max |x-y| of two float32 tensors of one axis, not empty: float64 (5,)."""
    source, copy = x.to(torch.float64), y.to(torch.float64)
    error = source - copy
    sums = [error.square().sum(), source.square().sum(), copy.square().sum(), torch.dot(source, copy)]
    return torch.stack([*sums, error.abs().max()])


def measure(x: Tensor, y: Tensor) -> ErrorSums:
    """The error sums of y against x, two float32 tensors of the same shape; infinities and NaN pass through."""
    if x.numel() == 0:
        return ErrorSums()
    if x.device.type == "mps":  # Apple's GPU has no float64
        x, y = x.cpu(), y.cpu()
    return ErrorSums(x.numel(), *sums_of(x.flatten(), y.flatten()).tolist())

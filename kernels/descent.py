"""Coordinate descent on whatever device its tensors are: compiled for the processor, by Triton for a GPU.

kernels/reference/descent.py is the specification; kernels/gpu/descent.py takes every other device.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kernels.cpu import descent as compiled
from kernels.gpu import descent as plain

Groups = npt.NDArray[np.int64]
Descend = Callable[[Tensor, Tensor, Tensor, float, Tensor, Groups, tuple[int, int]], int]


def descend(
    codes: Tensor,
    residual: Tensor,
    hessian: Tensor,
    added: float,
    scales: Tensor,
    group_of: Groups,
    ends: tuple[int, int],
) -> int:
    """As kernels.reference.descent.descend; all tensors on one device and contiguous."""
    return descend_for(codes.device.type)(codes, residual, hessian, added, scales, group_of, ends)


@cache
def descend_for(device: str) -> Descend:
    """The fastest way for a device of torch: cpu, cuda or another."""
    if device == "cpu":
        return _compiled
    if device == "cuda" and importlib.util.find_spec("triton") is not None:
        found: Any = importlib.import_module("kernels.gpu.triton_descent").descend
        return found  # type: ignore[no-any-return]
    return plain.descend


def _compiled(
    codes: Tensor,
    residual: Tensor,
    hessian: Tensor,
    added: float,
    scales: Tensor,
    group_of: Groups,
    ends: tuple[int, int],
) -> int:
    arrays = (codes.numpy(), residual.numpy(), hessian.numpy())
    return compiled.descend(*arrays, added, scales.numpy(), group_of, ends, torch.get_num_threads())

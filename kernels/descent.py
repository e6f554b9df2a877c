"""Coordinate descent on whatever device its tensors are: compiled for the processor, by Triton for a GPU.

kernels/reference/descent.py is the specification; kernels/gpu/descent.py takes every other device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kernels.by_device import fastest
from kernels.cpu import descent as compiled
from kernels.gpu import descent as plain

Groups = npt.NDArray[np.int64]
Descend = Callable[[Tensor, Tensor, Tensor, float, Tensor, Groups, tuple[int, int]], int]


@cache
def descend_for(device: str) -> Descend:
    """The fastest kernels.reference.descent.descend for a device of torch; its tensors are contiguous and there."""
    return fastest(device, _compiled, plain.descend)


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

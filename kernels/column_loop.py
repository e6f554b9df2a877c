"""The column loop of GPTQ on whatever device its tensors are: compiled for the processor, by Triton for a GPU.

On the processor it takes as many threads as torch does.

kernels/reference/columns.py is the specification; kernels/gpu/columns.py takes every other device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kernels.by_device import fastest
from kernels.cpu import columns as compiled
from kernels.gpu import columns as plain

Groups = npt.NDArray[np.int64]
Loop = Callable[[Tensor, Tensor, Tensor, Tensor, Groups, tuple[int, int]], tuple[Tensor, Tensor]]


def quantize_columns(
    w: Tensor, factor: Tensor, scales: Tensor, offsets: Tensor, group_of: Groups, ends: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """As kernels.reference.columns.quantize_columns; all tensors on one device, w contiguous and changed in place."""
    return loop_for(w.device.type)(w, factor, scales, offsets, group_of, ends)


@cache
def loop_for(device: str) -> Loop:
    """The fastest loop for a device of torch: cpu, cuda or another."""
    return fastest(device, _compiled, plain.quantize_columns)


def _compiled(
    w: Tensor, factor: Tensor, scales: Tensor, offsets: Tensor, group_of: Groups, ends: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    codes, errors = compiled.quantize_columns(
        w.numpy(), factor.numpy(), scales.numpy(), offsets.numpy(), group_of, ends, torch.get_num_threads()
    )
    return torch.from_numpy(codes), torch.from_numpy(errors)

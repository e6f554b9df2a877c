"""Arrays to the device that torch computes on, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def device() -> torch.device:
    """The machine's accelerator (CUDA, Apple, ...), or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def to_device(array: npt.NDArray[Any]) -> Tensor:
    """A tensor on the device; on the CPU it shares the array's memory where that is writable."""
    if not array.flags.writeable:  # torch knows no read-only tensors
        array = np.array(array)
    return torch.from_numpy(array).to(device())


def to_host(tensor: Tensor) -> npt.NDArray[Any]:
    """The tensor's values as an array in main memory."""
    array: npt.NDArray[Any] = tensor.cpu().numpy()
    return array

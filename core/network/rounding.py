"""Rounds what meets a matrix as the program that runs the checkpoint does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from core.network.ggml_rounding import ROUNDED
from core.sources.input_rounding import InputRounding
from core.sources.llama_rounding import GgmlRounding

Rounding = InputRounding | GgmlRounding
# Of a token that is all zero.
SMALLEST = 1e-5


def rounded(x: torch.Tensor, how: Rounding) -> torch.Tensor:
    """Inputs (…, tokens, columns) with the values that their integers stand for."""
    if isinstance(how, GgmlRounding):
        return ROUNDED[how.type](x)
    if how.threshold == float("inf"):
        return _rounded(x, x, how)
    # bitsandbytes begins with half precision; the other numbers of the columns that are kept count for a token's scale.
    half = x.half().float()
    large = half.abs() >= how.threshold
    return torch.where(large.any(-2, keepdim=True), x, _rounded(half, torch.where(large, 0.0, half), how))


def _rounded(x: torch.Tensor, counted: torch.Tensor, how: InputRounding) -> torch.Tensor:
    """counted: what scales are found on."""
    lowest, highest = -(1 << (how.bits - 1)), (1 << (how.bits - 1)) - 1
    scale, zero = _grid(counted, how, lowest, highest)
    codes = torch.clamp(torch.round(x / scale) + zero, lowest, highest)
    return (codes - zero) * scale


def _grid(x: torch.Tensor, how: InputRounding, lowest: int, highest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point, of all or of each token."""
    if how.scale is not None:
        return torch.tensor(how.scale, device=x.device), torch.tensor(how.zero, device=x.device)
    if how.symmetric:
        steps = (highest - lowest) / 2 if how.full_range else highest
        return x.abs().amax(-1, keepdim=True).clamp_min(SMALLEST) / steps, torch.tensor(0, device=x.device)
    low, high = x.amin(-1, keepdim=True).clamp_max(0), x.amax(-1, keepdim=True).clamp_min(0)
    scale = (high - low).clamp_min(SMALLEST) / (highest - lowest)
    return scale, torch.round(lowest - low / scale).clamp(lowest, highest)


def input_hook(how: Rounding) -> Callable[[torch.nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    """A forward pre-hook that rounds the first argument."""

    def hook(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return rounded(inputs[0], how), *inputs[1:]

    return hook

"""The grids of kernels.grids as tensors, kept on every device that asked for them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import grids


@dataclass(frozen=True, slots=True)
class GridTables:
    """One grid: codes int64 and values float32 (points, width), and the look-up tables of its neighbourhood, int64."""

    codes: Tensor
    values: Tensor
    places: Tensor
    starts: Tensor
    neighbours: Tensor


@functools.cache
def tables(name: str, device: torch.device) -> GridTables:
    """The tables of a grid on a device; see kernels.grids."""
    found = grids.neighbourhood(name)
    integers = (grids.codes(name), found.places, found.starts, found.neighbours)
    codes, places, starts, neighbours = (torch.tensor(table, dtype=torch.int64, device=device) for table in integers)
    return GridTables(codes, torch.tensor(grids.values(name), device=device), places, starts, neighbours)


@functools.cache
def even_signs(device: torch.device) -> Tensor:
    """All 8 sign bits for the 7 that are stored, int64 (128,)."""
    return torch.tensor(grids.even_signs(), dtype=torch.int64, device=device)

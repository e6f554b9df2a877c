"""The weights of the errors in a search with importance, in torch; described in kernels.reference.weights.

The sum over a whole row is taken in double precision where the device has it, in the order of the device: a row is too
long for one kernel per element. Where importance is uneven the last bit of σ² decides between candidates that are all
but equal, so that some blocks of Q4_0 .. Q5_1 are others than the specification's, and as good.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.gpu.search import quotient, root, sequential_sum


def of_rows(importance: Tensor, n_blocks: int) -> Tensor:
    """The importance of every element of `n_blocks` blocks, whole rows, float32 (n_blocks, elements)."""
    return importance.repeat(n_blocks // len(importance), 1)


def by_block(x: Tensor, importance: Tensor, factor: float) -> Tensor:
    """Weights of blocks x (n_blocks, elements), σ² = factor · the mean square of the block."""
    squares = x * x
    total = sequential_sum(squares.T.contiguous())[:, None]
    variance = quotient(factor * total, float(x.shape[1]))
    return root(squares.add_(variance)).mul_(of_rows(importance, len(x)))


def by_row(x: Tensor, importance: Tensor) -> Tensor:
    """Weights of blocks x (n_blocks, elements), σ² = the mean square of the row that a block belongs to."""
    squares = (x * x).view(-1, importance.numel())
    exact = torch.float32 if x.device.type == "mps" else torch.float64
    variance = quotient(squares.sum(dim=1, keepdim=True, dtype=exact), float(importance.numel())).float()
    return root(squares.add_(variance)).mul_(importance.view(1, -1)).view(x.shape)

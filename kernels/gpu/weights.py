"""The weights of the errors in a search with importance, in torch; described in kernels.reference.weights.

The sum over a whole row runs over its elements one after another too: where importance is uneven or the weights lie far
from zero, the last bit of σ² decides between candidates that are all but equal, and the rounding of what they decide to
halves then makes some percent of difference.
"""

from __future__ import annotations

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
    variance = quotient(sequential_sum(squares.T.contiguous())[:, None], float(importance.numel()))
    return root(squares.add_(variance)).mul_(importance.view(1, -1)).view(x.shape)

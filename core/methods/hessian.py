"""The second moments of a layer's inputs, and the factor of their inverse that GPTQ works with.

Sources: Frantar et al., GPTQ, arXiv 2210.17323; damping that grows until the factorisation succeeds, as in GPTQModel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.methods.calibration import DAMP

DAMP_STEP = 0.02
MOST_DAMP = 1.0
BLOCKS, LEAST_BLOCK = 8, 128


class Hessian:
    """H = sum of weight * x x' over inputs x, over the sum of the weights; float32 (columns, columns).

    H is its own transpose, so until it is asked for no more is summed up than blocks on and above its diagonal.
    """

    def __init__(self, columns: int, device: torch.device | str = "cpu") -> None:
        self._sum = torch.zeros(columns, columns, device=device)
        self._is_half = False
        self.weight = 0.0

    def add(self, x: torch.Tensor, weights: torch.Tensor | None = None, other: torch.Tensor | None = None) -> None:
        """Counts inputs (tokens, columns) in, each as often as its weight (tokens,) says, or once.

        other: what else stands before x' in place of x, (tokens, columns), every time or never.
        """
        x = x.to(self._sum.device, torch.float32)
        after = x if weights is None else x * weights.to(x.device, torch.float32)[:, None]
        if other is not None:
            self._sum.addmm_(other.to(x.device, torch.float32).T, after)
        else:
            self._is_half = True
            for part in blocks(len(self._sum)):
                self._sum[part, part.start :].addmm_(x[:, part].T, after[:, part.start :])
        self.weight += float(weights.sum()) if weights is not None else len(x)

    def blend(self, other: torch.Tensor, weight: float) -> None:
        """Counts moments (columns, columns) in as if so many inputs had them."""
        self._sum.add_(other, alpha=weight)
        self.weight += weight

    @staticmethod
    def of_all(parts: Sequence[Hessian]) -> torch.Tensor:
        """H of several together, which stay as they are."""
        total = Hessian(len(parts[0]._sum), parts[0]._sum.device)
        for part in parts:
            total._sum += part._sum
            total._is_half |= part._is_half
            total.weight += part.weight
        return total.mean()

    def mean(self) -> torch.Tensor:
        """H; all zero where nothing was counted. Nothing is to be counted in afterwards."""
        if self._is_half:
            for part in blocks(len(self._sum)):
                self._sum[part.stop :, part] = self._sum[part, part.stop :].T
            self._is_half = False
        self._sum /= max(self.weight, 1.0)
        self.weight = min(self.weight, 1.0)
        return self._sum


def blocks(columns: int) -> list[slice]:
    """Columns in a few runs, with which of a symmetric matrix little more than a half need be computed."""
    step = max(LEAST_BLOCK, -(-columns // BLOCKS))
    return [slice(first, min(first + step, columns)) for first in range(0, columns, step)]


@dataclass(frozen=True, slots=True)
class Factor:
    """U, upper triangular with inverse (H + damping) = U'U. damp: the share of the mean diagonal that was added.

    added: what was. dead: the columns that no input reached, bool (columns,). U and dead in the order asked for.
    """

    upper: torch.Tensor
    damp: float
    added: float
    dead: torch.Tensor


def _invert(lower: torch.Tensor) -> None:
    """Puts a lower triangular matrix' inverse in its place: both halves' own, and what follows of the square below.

    Half of the work of solving it for the unit matrix, of which most is a product of matrices.
    """
    if len(lower) <= LEAST_BLOCK:
        unit = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        lower.copy_(torch.linalg.solve_triangular(lower, unit, upper=False))
        return
    half = len(lower) // 2
    first, square, second = lower[:half, :half], lower[half:, :half], lower[half:, half:]
    between = torch.linalg.solve_triangular(second, square, upper=False)
    _invert(first)
    _invert(second)
    square.copy_(between @ first).neg_()


class NotDefinite(ValueError):
    """No damping made the moments positive definite: there are NaNs or infinities in them."""


def factor(hessian: torch.Tensor, damp: float = DAMP, columns: torch.Tensor | None = None) -> Factor:
    """The factor of a matrix of moments (columns, columns), in the order of `columns`. Raises NotDefinite.

    With H turned by half (both orders reversed) and its Cholesky factor turned back, H = R R' with R upper triangular,
    so U is R's inverse: one Cholesky and one triangular inverse, and no inverse of H. At no time are more than three
    matrices of its size held, H among them.
    """
    order = torch.arange(len(hessian)) if columns is None else columns
    backwards = order.flip(0).to(hessian.device)
    dead = hessian.diagonal() <= 0
    mean = torch.where(dead, 1.0, hessian.diagonal()).mean()
    while damp <= MOST_DAMP:
        turned = hessian[backwards][:, backwards]
        diagonal = turned.diagonal()
        diagonal[dead[backwards]] = 1.0
        diagonal += damp * mean
        lower, failed = torch.linalg.cholesky_ex(turned)
        del turned, diagonal
        if not failed and bool(torch.isfinite(lower.diagonal()).all()):
            _invert(lower)
            return Factor(lower.flip(0, 1), damp, float(damp * mean), dead[order.to(dead.device)])
        damp += DAMP_STEP if damp < 10 * DAMP_STEP else damp
    raise NotDefinite("the moments of the inputs are not positive definite")

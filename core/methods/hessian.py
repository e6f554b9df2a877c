"""The second moments of a layer's inputs, and the factor of their inverse that GPTQ works with.

Sources: Frantar et al., GPTQ, arXiv 2210.17323; damping that grows until the factorisation succeeds, as in GPTQModel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

DAMP = 0.01
DAMP_STEP = 0.02
MOST_DAMP = 1.0


class Hessian:
    """H = sum of weight * x x' over inputs x, over the sum of the weights; float32 (columns, columns)."""

    def __init__(self, columns: int, device: str = "cpu") -> None:
        self._sum = torch.zeros(columns, columns, device=device)
        self.weight = 0.0

    def add(self, x: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """Counts inputs (tokens, columns) in, each as often as its weight (tokens,) says, or once."""
        x = x.to(self._sum.device, torch.float32)
        if weights is not None:
            x = x * weights.to(x.device, torch.float32).sqrt()[:, None]
        self._sum.addmm_(x.T, x)
        self.weight += float(weights.sum()) if weights is not None else len(x)

    def mean(self) -> torch.Tensor:
        """H; all zero where nothing was counted."""
        return self._sum / max(self.weight, 1.0)


@dataclass(frozen=True, slots=True)
class Factor:
    """U, upper triangular with inverse (H + damping) = U'U. damp: the share of the mean diagonal that was added.

    dead: the columns that no input reached, bool (columns,).
    """

    upper: torch.Tensor
    damp: float
    dead: torch.Tensor


class NotDefinite(ValueError):
    """No damping made the moments positive definite: there are NaNs or infinities in them."""


def factor(hessian: torch.Tensor, damp: float = DAMP) -> Factor:
    """The factor of a matrix of moments (columns, columns). Raises NotDefinite.

    With H turned by half (both orders reversed) and its Cholesky factor turned back, H = R R' with R upper triangular,
    so U is R's inverse: one Cholesky and one triangular inverse, and no inverse of H.
    """
    h = hessian.clone()
    diagonal = h.diagonal()
    dead = diagonal <= 0
    diagonal[dead] = 1.0
    mean = diagonal.mean()
    added = 0.0
    while damp <= MOST_DAMP:
        diagonal += (damp - added) * mean
        added = damp
        lower, failed = torch.linalg.cholesky_ex(h.flip(0, 1))
        if not failed and bool(torch.isfinite(lower).all()):
            identity = torch.eye(len(h), device=h.device)
            return Factor(torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True), damp, dead)
        damp += DAMP_STEP if damp < 10 * DAMP_STEP else damp
    raise NotDefinite("the moments of the inputs are not positive definite")

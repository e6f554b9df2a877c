"""The searches of kernels.reference.search in torch: the same candidates, their errors from sums, not a second pass.

A candidate maps x to codes q = round((x - low)/step), which leaves e = (x - low)/step - q. With the step stretched by
1 + a and the minimum shifted by b steps, the weighted error in steps² follows from five sums over the group:

    Σ w·(a·q + b - e)² = Σwe² + a²·Σwq² + b²·Σw + 2ab·Σwq - 2a·Σwqe - 2b·Σwe

and the best a and b from the same sums. This is the closed form of least squares in the residuals: all its terms are
of the order of the error itself. Written in x and q the terms are a thousand times larger than their difference, and
in float32 a worse candidate wins a close race now and then.

Candidates whose range is a half-integer number of steps (30.5, ...) put the largest element exactly between two codes.
There only the correctly rounded quotient falls on the side on which ggml falls; hence `quotient`.

Only scales are returned: the codes are computed again from the stored scales anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.codecs import AffineSearch

GROUP_MAX_EPS = 1e-15
SINGULAR = 1e-6  # determinants below this share of their terms are noise of float32
NUDGES = tuple(k for k in range(-9, 10) if k != 0)


def quotient(numerator: float, divisor: Tensor) -> Tensor:
    """The numerator over the divisor, rounded once; torch itself would multiply with a rounded reciprocal."""
    return torch.full_like(divisor, numerator) / divisor


def signed_extreme(x: Tensor) -> Tensor:
    """Per row of x (groups, n) the first element of the largest magnitude, (groups, 1); a NaN is no maximum."""
    magnitude = torch.nan_to_num(x.abs(), nan=0.0, posinf=float("inf"))
    places = torch.arange(x.shape[1], device=x.device).expand_as(x)
    largest = magnitude == magnitude.amax(dim=1, keepdim=True)
    first = torch.where(largest, places, x.shape[1]).amin(dim=1, keepdim=True)
    return x.gather(1, first)


def make_qx_quants(x: Tensor, nmax: int) -> Tensor:
    """Scales (groups,), signed, for w = scale·q with q in -nmax..nmax-1 of x (groups, n), weighted by x²."""
    extreme = signed_extreme(x)
    weights = x * x
    scale = torch.zeros_like(extreme[:, 0])
    best = torch.full_like(scale, torch.inf)
    for nudge in (0, *NUDGES):
        inverse_step = quotient(-(nmax + 0.1 * nudge), extreme)
        scaled = x * inverse_step
        codes = scaled.round().clamp_(-nmax, nmax - 1)
        left = scaled.sub_(codes)
        weighted = weights * left
        we2 = left.mul_(weighted).sum(dim=1)
        wqe = weighted.mul_(codes).sum(dim=1)
        wq2 = codes.square_().mul_(weights).sum(dim=1)
        step, stretch = 1 / inverse_step[:, 0], wqe / wq2
        error = (we2 - stretch * wqe) * step * step
        better = (wq2 > 0) & (error < best)
        best = torch.where(better, error, best)
        scale = torch.where(better, step * (1 + stretch), scale)
    return torch.where(extreme[:, 0].abs() < GROUP_MAX_EPS, torch.zeros_like(scale), scale)


@dataclass(frozen=True)
class _Candidate:
    """The codes q of one candidate as sums over the group, all (groups,); e is what rounding left, in steps."""

    step: Tensor
    low: Tensor
    w: Tensor
    wq: Tensor
    wq2: Tensor
    we: Tensor
    wqe: Tensor
    we2: Tensor

    @classmethod
    def of(cls, x: Tensor, weights: Tensor, low: Tensor, inverse_step: Tensor, nmax: int) -> _Candidate:
        """Round (x - low)·inverse_step to 0..nmax; x and weights (groups, n), the others (groups,)."""
        scaled = (x - low[:, None]).mul_(inverse_step[:, None])
        codes = scaled.round().clamp_(0, nmax)
        left = scaled.sub_(codes)
        product = weights * codes
        wq = product.sum(dim=1)
        wq2 = product.mul_(codes).sum(dim=1)
        torch.mul(weights, left, out=product)
        we = product.sum(dim=1)
        wqe = codes.mul_(product).sum(dim=1)
        we2 = left.mul_(product).sum(dim=1)
        return cls(1 / inverse_step, low, weights.sum(dim=1), wq, wq2, we, wqe, we2)

    def error(self, stretch: Tensor | float, shift: Tensor | float) -> Tensor:
        """The weighted error when the step is stretched by 1 + `stretch` and the minimum moved by `shift` steps."""
        cross = shift * self.wq - self.wqe
        steps = self.we2 + stretch * (stretch * self.wq2 + 2 * cross) + shift * (shift * self.w - 2 * self.we)
        return steps * self.step * self.step

    def solve(self) -> tuple[Tensor, Tensor]:
        """The best stretch and shift such that the minimum stays <= 0; NaN where all codes are 0."""
        determinant = self.w * self.wq2 - self.wq * self.wq
        shift = (self.wq2 * self.we - self.wq * self.wqe) / determinant
        # With all codes (nearly) equal the difference above is rounding noise: leave the minimum where it is.
        shift = torch.where(determinant > SINGULAR * self.w * self.wq2, shift, torch.zeros_like(shift))
        shift = torch.minimum(shift, -self.low / self.step)
        return (self.wqe - shift * self.wq) / self.wq2, shift


def make_qkx2_quants(x: Tensor, weights: Tensor, search: AffineSearch) -> tuple[Tensor, Tensor]:
    """Scales (groups,) and negated minima (groups,) >= 0 for w = scale·q + min of x, weights (groups, n)."""
    low, high = x.aminmax(dim=1)
    low = low.clamp(max=0)
    flat, flat_low = high == low, low
    tried = _Candidate.of(x, weights, low, quotient(search.nmax, high - low), search.nmax)
    scale, best = tried.step, tried.error(0.0, 0.0)
    for k in range(search.steps + 1):
        levels = search.first + search.step * k + search.nmax
        tried = _Candidate.of(x, weights, low, quotient(levels, high - low), search.nmax)
        stretch, shift = tried.solve()
        error = tried.error(stretch, shift)
        better = error < best
        best = torch.where(better, error, best)
        scale = torch.where(better, tried.step * (1 + stretch), scale)
        low = torch.where(better, torch.clamp(tried.low + shift * tried.step, max=0), low)
    return torch.where(flat, torch.zeros_like(scale), scale), -torch.where(flat, flat_low, low)

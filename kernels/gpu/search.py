"""The searches of kernels.reference.search in torch, with the same sums in the same order on every device.

A closed form of the error (from Σwq, Σwq² and Σwxq, without a second pass over the weights) would save some work, and
was measured: on weights that lie on a grid, as those of a model that was quantized before, the last bit of a fitted
minimum decides which way its 6-bit multiple rounds, and some blocks then lose half of their accuracy against ggml
(Q5_K on the sample model: total squared error 1.004 times ggml's). So every sum here runs over the elements one after
another, vectorised over groups, and blocks come out equal to the byte. For that the elements of a group lie along the
first axis inside this module, (n, groups).

Torch multiplies by a rounded reciprocal where a number is divided by a tensor, and on CUDA also where a tensor is
divided by a number; `quotient` rounds once. Candidates of 30.5 levels put the largest element exactly between two
codes, and only the rounded quotient falls on ggml's side.

The K types compute their codes again from the stored scales; those that keep the codes of the search get them from
what it returns, which is small: the inverse scale (and minimum) that the best candidate rounded with.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kernels.codecs import AffineSearch
from kernels.gpu.fusing import fused
from kernels.gpu.steps import FINE_NUDGES, NUDGES, PASSES, stretched

GROUP_MAX_EPS = 1e-15
# Where on CUDA the same searches are, each as one kernel.
FUSED = "kernels.gpu.triton_search"
Loss = Callable[[Tensor], Tensor]


def quotient(a: Tensor | float, b: Tensor | float) -> Tensor:
    """The correctly rounded a / b of a tensor and a number, on the tensor's device."""
    if not isinstance(a, Tensor):
        assert isinstance(b, Tensor)
        return torch.full_like(b, a) / b
    return a / torch.full_like(a, b) if not isinstance(b, Tensor) else a / b


def root(x: Tensor) -> Tensor:
    """The correctly rounded square root, by way of float64; torch's own is off by a last bit on the CPU."""
    if x.device.type == "mps":  # Apple's GPU has no float64
        return x.sqrt()
    return x.double().sqrt().float()


@fused(FUSED, axis=-1)
def sequential_sum(terms: Tensor) -> Tensor:
    """Σ over axis 0 in float32, one after another."""
    total = terms[0].clone()
    for row in terms[1:]:
        total += row
    return total


def signed_extreme(x: Tensor) -> Tensor:
    """Per row of x (groups, n) the first element of the largest magnitude, (groups, 1); NaN is no maximum, -0 is +0."""
    magnitude = torch.nan_to_num(x.abs(), nan=0.0, posinf=float("inf"))
    places = torch.arange(x.shape[1], device=x.device).expand_as(x)
    largest = magnitude == magnitude.amax(dim=1, keepdim=True)
    first = torch.where(largest, places, x.shape[1]).amin(dim=1, keepdim=True)
    return x.gather(1, first) + 0.0


@fused(FUSED)
def make_qx_quants(x: Tensor, nmax: int, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scales (groups,), signed, and codes (groups, n) in -nmax..nmax-1 of w = scale·q for x, weights (groups, n).

    No weights means x². Groups of zeros get the scale 0 and codes of -nmax.
    """
    extreme = signed_extreme(x)[:, 0]
    x = x.T.contiguous()
    weights = x * x if weights is None else weights.T.contiguous()
    weighted = weights * x
    scale = best = torch.zeros_like(extreme)
    kept = quotient(float(-nmax), extreme)
    for nudge in (0, *NUDGES):
        inverse = quotient(-stretched(nmax, 0.0, 0.1, nudge), extreme)
        codes = (x * inverse).round_().clamp_(-nmax, nmax - 1)
        sum_lx = sequential_sum(weighted * codes)
        sum_l2 = sequential_sum((weights * codes).mul_(codes))
        # The first candidate is taken as it is; every other must be better than the best so far.
        better = sum_l2 != 0 if nudge == 0 else (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = torch.where(better, sum_lx / sum_l2, scale)
        best = torch.where(better, scale * sum_lx, best)
        kept = torch.where(better, inverse, kept)
    empty = extreme.abs() < GROUP_MAX_EPS
    codes = (x * kept).round_().clamp_(-nmax, nmax - 1).masked_fill_(empty, -nmax)
    return scale.masked_fill(empty, 0.0), codes.T


class _Coordinates:
    """A coordinate search as in kernels.reference.search: codes (n, groups), changed in place, and their sums."""

    def __init__(self, x: Tensor, weights: Tensor, codes: Tensor) -> None:
        """x, weights and codes, integral floats, (n, groups)."""
        self.x, self.weights, self.codes = x, weights, codes
        self.sum_lx = sequential_sum(weights * x * codes)
        self.sum_l2 = sequential_sum(weights * codes * codes)

    def scale(self) -> Tensor:
        """The least squares scale, 0 where all codes or weights are 0."""
        return torch.where(self.sum_l2 > 0, self.sum_lx / self.sum_l2, torch.zeros_like(self.sum_lx))

    def improve(self, i: int, low: int, high: int) -> None:
        """Give element i the code, in low..high, that fits the scale of the others, where (Σwxq)²/Σwq² grows by it."""
        x, weight, code = self.x[i], self.weights[i], self.codes[i]
        product = weight * x
        sum_lx, sum_l2 = self.sum_lx - product * code, self.sum_l2 - weight * code * code
        tried = (x * sum_l2 / sum_lx).round_().clamp_(low, high)
        possible = (sum_lx > 0) & (tried != code)
        if low == 0:
            possible &= sum_l2 > 0
        sum_lx, sum_l2 = sum_lx + product * tried, sum_l2 + weight * tried * tried
        better = possible & (sum_l2 > 0) & (sum_lx * sum_lx * self.sum_l2 > self.sum_lx * self.sum_lx * sum_l2)
        self.codes[i] = torch.where(better, tried, code)
        self.sum_lx = torch.where(better, sum_lx, self.sum_lx)
        self.sum_l2 = torch.where(better, sum_l2, self.sum_l2)


@fused(FUSED)
def make_q3_quants(x: Tensor, nmax: int) -> Tensor:
    """Scales (groups,), signed, of w = scale·q with q in -nmax..nmax-1 for x (groups, n), weighted by x²."""
    extreme = signed_extreme(x)[:, 0]
    x = x.T.contiguous()
    codes = (x * quotient(float(-nmax), extreme)).round_().clamp_(-nmax, nmax - 1)
    search = _Coordinates(x, x * x, codes)
    for i in list(range(len(x))) * PASSES:
        search.improve(i, -nmax, nmax - 1)
    return search.scale().masked_fill(extreme.abs() < GROUP_MAX_EPS, 0.0)


@fused(FUSED)
def make_qp_quants(x: Tensor, nmax: int, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Scales (groups, 1) and codes (groups, n) in 0..nmax, integral floats, for x >= 0 and weights (groups, n)."""
    x, weights = x.T.contiguous(), weights.T.contiguous()
    largest = torch.nan_to_num(x, nan=0.0, posinf=float("inf")).amax(dim=0)
    empty = largest < GROUP_MAX_EPS

    def error(inverse: Tensor) -> Tensor:
        difference = x - quotient(1.0, inverse) * (inverse * x).round_().clamp_(max=nmax)
        return sequential_sum(weights * difference * difference)

    inverse = quotient(float(nmax), largest)
    best = error(inverse)
    for nudge in FINE_NUDGES:
        tried = quotient(stretched(nmax, 0.0, 0.1, nudge), largest)
        tried_error = error(tried)
        better = tried_error < best
        inverse, best = torch.where(better, tried, inverse), torch.where(better, tried_error, best)
    search = _Coordinates(x, weights, (inverse * x).round_().clamp_(0, nmax))
    for i in list(range(len(x))) * PASSES:
        search.improve(i, 0, nmax)
    return search.scale().masked_fill(empty, 0.0)[:, None], search.codes.masked_fill(empty, 0.0).T


class _Groups:
    """Groups of weights (n, groups), with the sums over them that all candidates share."""

    def __init__(self, x: Tensor, weights: Tensor, nmax: int, loss: Loss) -> None:
        """Groups x and their weights, (groups, n) each; codes are 0..nmax; loss may overwrite what it is given."""
        self.x = x.T.contiguous()
        self.weights = weights.T.contiguous()
        self.nmax = nmax
        self.loss = loss
        self.sum_w = sequential_sum(self.weights)
        self.sum_x = sequential_sum(self.weights * self.x)

    def codes(self, inverse: Tensor, low: Tensor) -> Tensor:
        """The nearest codes, as float32."""
        return (self.x - low).mul_(inverse).round_().clamp_(0, self.nmax)

    def error(self, codes: Tensor, scale: Tensor, low: Tensor) -> Tensor:
        """The weighted error Σ w·loss(scale·q + low - x)."""
        difference = (codes * scale).add_(low).sub_(self.x)
        return sequential_sum(self.loss(difference).mul_(self.weights))

    def fit(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The least squares scale and minimum (<= 0) for given codes, and whether there is one."""
        products = torch.empty((len(codes), 3, codes.shape[1]), device=codes.device)
        torch.mul(self.weights, codes, out=products[:, 0])
        torch.mul(products[:, 0], codes, out=products[:, 1])
        torch.mul(products[:, 0], self.x, out=products[:, 2])
        sum_l, sum_l2, sum_xl = sequential_sum(products)
        determinant = self.sum_w * sum_l2 - sum_l * sum_l
        scale = (self.sum_w * sum_xl - self.sum_x * sum_l) / determinant
        low = (sum_l2 * self.sum_x - sum_l * sum_xl) / determinant
        scale = torch.where(low > 0, sum_xl / sum_l2, scale)
        return scale, torch.where(low > 0, torch.zeros_like(low), low), determinant > 0


@fused(FUSED)
def make_qkx2_quants(
    x: Tensor, weights: Tensor, search: AffineSearch, loss: Loss = torch.square_
) -> tuple[Tensor, Tensor, Tensor]:
    """Scales (groups,), negated minima (groups,) >= 0 and codes (groups, n) for w = scale·q + min of x, weights.

    loss: of the errors, torch.square_ or torch.abs_. Groups of one value get the scale 0 and codes of 0.
    """
    low, high = x.aminmax(dim=1)
    low = torch.where(low > 0, torch.zeros_like(low), low)
    flat, flat_low = high == low, low
    groups = _Groups(x, weights, search.nmax, loss)
    inverse = quotient(float(search.nmax), high - low)
    kept_inverse, kept_low = inverse, low
    scale = quotient(1.0, inverse)
    best = groups.error(groups.codes(inverse, low), scale, low)
    for k in range(search.steps + 1):
        levels = stretched(search.nmax, search.first, search.step, k)
        inverse = quotient(levels, high - low)
        codes = groups.codes(inverse, low)
        new_scale, new_low, solvable = groups.fit(codes)
        error = groups.error(codes, new_scale, new_low)
        better = solvable & (error < best)
        best = torch.where(better, error, best)
        kept_inverse, kept_low = torch.where(better, inverse, kept_inverse), torch.where(better, low, kept_low)
        scale, low = torch.where(better, new_scale, scale), torch.where(better, new_low, low)
    codes = groups.codes(kept_inverse, kept_low).masked_fill_(flat, 0.0)
    return scale.masked_fill(flat, 0.0), -torch.where(flat, flat_low, low), codes.T

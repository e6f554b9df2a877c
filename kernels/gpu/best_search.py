"""The searches of the level "best" in torch, as specified in kernels.reference.best_search.

Sums run in the device's order, so that where two candidates all but tie another may win, and one row in a thousand is
not the specification's to the byte. No block ends with more error than its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.best_search import EVERY, ScaleSearch, TrimSearch, WindowSearch


def as_half(x: Tensor) -> Tensor:
    """The nearest half of every number, as float32; infinite beyond the range of halves."""
    return x.half().float()


def reciprocal(d: Tensor) -> Tensor:
    """1/d, and 0 where d is 0."""
    return torch.where(d != 0, d.reciprocal(), torch.zeros_like(d))


def weighted_error(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    """Σ w·(x - y)² of every group; y is overwritten."""
    return y.sub_(x).square_().mul_(w).sum(dim=0)


def scale_codes(x: Tensor, d: Tensor, lowest: int, highest: int) -> Tensor:
    """The codes nearest to x/d."""
    return (x * reciprocal(d)).round_().clamp_(lowest, highest)


def affine_codes(x: Tensor, d: Tensor, m: Tensor, nmax: int) -> Tensor:
    """The codes nearest to (x - m)/d."""
    return (x - m).mul_(reciprocal(d)).round_().clamp_(0, nmax)


def best_scale(x: Tensor, w: Tensor, start: Tensor, search: ScaleSearch) -> tuple[Tensor, Tensor]:
    """Halves d (groups,), and where one was found that is better than `start`."""
    low, high = -search.nmax, search.nmax - 1
    extreme = x.gather(0, x.abs().argmax(dim=0, keepdim=True))[0]
    weighted = w * x

    def error(d: Tensor) -> Tensor:
        return weighted_error(x, w, scale_codes(x, d, low, high).mul_(d))

    best = first = error(start)
    scale = start
    for levels in search.levels:
        for sign in (-1, 1):
            q = scale_codes(x, extreme / (sign * levels), low, high)
            d = as_half((weighted * q).sum(dim=0) / (w * q).mul_(q).sum(dim=0))
            tried = error(d)
            better = tried < best
            best, scale = torch.where(better, tried, best), torch.where(better, d, scale)
    return scale, best < first


def _fit_affine(x: Tensor, w: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The least squares d and m of w = d·q + m for given codes; not finite where all codes are one."""
    weighted = w * q
    total, sum_x, sum_q = w.sum(dim=0), (w * x).sum(dim=0), weighted.sum(dim=0)
    sum_qq, sum_qx = (weighted * q).sum(dim=0), (weighted * x).sum(dim=0)
    determinant = total * sum_qq - sum_q * sum_q
    return (total * sum_qx - sum_x * sum_q) / determinant, (sum_qq * sum_x - sum_q * sum_qx) / determinant


def best_scale_and_minimum(
    x: Tensor, w: Tensor, start: tuple[Tensor, Tensor], search: TrimSearch
) -> tuple[Tensor, Tensor, Tensor]:
    """Halves d and m (groups,), and where a pair was found that is better than `start`."""

    def error(d: Tensor, m: Tensor) -> Tensor:
        return weighted_error(x, w, affine_codes(x, d, m, search.nmax).mul_(d).add_(m))

    scale, minimum = start
    best = first = error(scale, minimum)
    low, high = x.aminmax(dim=0)
    for below in search.trims:
        for above in search.trims:
            m = low + below * (high - low)
            d = (high - above * (high - low) - m) / search.nmax
            for _ in range(search.refits):
                d, m = _fit_affine(x, w, affine_codes(x, d, m, search.nmax))
            d, m = as_half(d), as_half(m)
            tried = error(d, m)
            better = tried < best
            best = torch.where(better, tried, best)
            scale, minimum = torch.where(better, d, scale), torch.where(better, m, minimum)
    return scale, minimum, best < first


@dataclass(slots=True)
class Multiples:
    """Super-blocks as halves and multiples: d, dmin (blocks, 1); s, m whole numbers (blocks, groups), all float32.

    Types without a minimum have dmin and m of 0.
    """

    d: Tensor
    dmin: Tensor
    s: Tensor
    m: Tensor


@dataclass(frozen=True, slots=True)
class Groups:
    """The weights of super-blocks by group, and what their errors count: (n, blocks, groups) each."""

    x: Tensor
    w: Tensor
    search: WindowSearch

    def codes(self, of: Multiples) -> Tensor:
        """The nearest codes, (n, blocks, groups)."""
        inverse = reciprocal(of.d * of.s)
        return (self.x + of.dmin * of.m).mul_(inverse).round_().clamp_(*self.search.codes)

    def errors(self, of: Multiples) -> Tensor:
        """Σ w·(x - y)² of every group, (blocks, groups)."""
        return weighted_error(self.x, self.w, self.codes(of).mul_(of.d * of.s).sub_(of.dmin * of.m))


def _candidates(multiples: Tensor, window: int, search: WindowSearch) -> Iterator[Tensor]:
    """What a round tries instead of these multiples."""
    first, last, step = search.tried(window)
    for k in range(first, last + 1, step):
        tried = torch.full_like(multiples, k) if window == EVERY else multiples + k
        yield tried.clamp_(*search.multiples)


def _search_multiples(groups: Groups, at: Multiples, window: int) -> None:
    """Change s and m of every group to the best pair within the window."""
    s, m, best = at.s, at.m, groups.errors(at)
    for tried_s in _candidates(s, window, groups.search):
        for tried_m in _candidates(m, window, groups.search) if groups.search.affine else (m,):
            error = groups.errors(Multiples(at.d, at.dmin, tried_s, tried_m))
            better = error < best
            best = torch.where(better, error, best)
            at.s, at.m = torch.where(better, tried_s, at.s), torch.where(better, tried_m, at.m)


def _fit_halves(groups: Groups, at: Multiples) -> None:
    """Change d and dmin to the least squares halves for the codes, where the error falls by it."""
    x, w = groups.x, groups.w
    a = groups.codes(at).mul_(at.s)
    b = (-at.m).expand_as(a)
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # Apple's GPU has no float64

    def total(terms: Tensor) -> Tensor:
        return terms.sum(dim=0).sum(dim=1, dtype=wide)[:, None]

    aa, ab, bb, ax, bx = total(w * a * a), total(w * a * b), total(w * b * b), total(w * a * x), total(w * b * x)
    determinant = aa * bb - ab * ab
    both = determinant > 1e-9 * aa * bb
    d = torch.where(both, (bb * ax - ab * bx) / determinant, (ax - at.dmin * ab) / aa)
    dmin = torch.where(both, (aa * bx - ab * ax) / determinant, at.dmin.to(wide))
    tried = Multiples(as_half(d.float()), as_half(dmin.float()), at.s, at.m)
    better = groups.errors(tried).sum(dim=1) < groups.errors(at).sum(dim=1)
    if groups.search.affine:
        better &= ((tried.d > 0) & (tried.dmin >= 0))[:, 0]
    at.d, at.dmin = torch.where(better[:, None], tried.d, at.d), torch.where(better[:, None], tried.dmin, at.dmin)


def refine_multiples(groups: Groups, start: Multiples) -> tuple[Multiples, Tensor]:
    """Halves and multiples of super-blocks, and where they are better than those of `start`; (blocks,)."""
    at = Multiples(start.d, start.dmin, start.s, start.m)
    for window in groups.search.windows:
        _search_multiples(groups, at, window)
        _fit_halves(groups, at)
    return at, groups.errors(at).sum(dim=1) < groups.errors(start).sum(dim=1)

"""The searches of the level "best": scales that are tried one after another and judged by the error as it decodes.

    best_scale              w = d·q        one half d for a group
    best_scale_and_minimum  w = d·q + m    two halves for a group
    refine_multiples        w = d·s·q - dmin·m, or d·s·q: a half (or two) and whole multiples for the groups of a block

The searches of ggml judge a candidate before its scale is stored; these round d and m to halves first. They are exact
in the multiples: within a window every pair (s, m) is tried with codes rounded for it, while ggml rounds the best scale
and the best minimum on their own.

Arrays have the weights of a group along the first axis, (n, groups). Constants are in kernels.best_search. Ideas: the
least squares refit after rounding and wider candidates of both signs, ikawrakow's ik_llama.cpp #295, and compilade's
llama.cpp #12557.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.best_search import EVERY, ScaleSearch, TrimSearch, WindowSearch
from kernels.reference.layout import Floats

Mask = npt.NDArray[np.bool_]


def as_half(x: Floats) -> Floats:
    """The nearest half of every number, as float32; infinite beyond the range of halves."""
    return x.astype(np.float16).astype(np.float32)


def reciprocal(d: Floats) -> Floats:
    """1/d, and 0 where d is 0."""
    return np.where(d != 0, np.float32(1) / d, np.float32(0)).astype(np.float32)


def weighted_error(x: Floats, w: Floats, y: Floats) -> Floats:
    """Σ w·(x - y)² of every group."""
    error: Floats = np.sum(w * np.square(x - y), axis=0, dtype=np.float32)
    return error


def scale_codes(x: Floats, d: Floats, lowest: int, highest: int) -> Floats:
    """The codes nearest to x/d."""
    codes: Floats = np.clip(np.rint(x * reciprocal(d)), lowest, highest)
    return codes


def affine_codes(x: Floats, d: Floats, m: Floats, nmax: int) -> Floats:
    """The codes nearest to (x - m)/d."""
    return scale_codes(x - m, d, 0, nmax)


def best_scale(x: Floats, w: Floats, start: Floats, search: ScaleSearch) -> tuple[Floats, Mask]:
    """Halves d (groups,), and where one was found that is better than `start`."""
    low, high = -search.nmax, search.nmax - 1
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=0)[None], axis=0)[0]

    def error(d: Floats) -> Floats:
        return weighted_error(x, w, d * scale_codes(x, d, low, high))

    best = first = error(start)
    scale = start
    for levels in search.levels:
        for sign in (-1, 1):
            q = scale_codes(x, extreme / np.float32(sign * levels), low, high)
            d = as_half(np.sum(w * x * q, axis=0) / np.sum(w * q * q, axis=0))
            tried = error(d)
            better = tried < best
            best, scale = np.where(better, tried, best), np.where(better, d, scale)
    return scale, best < first


def _fit_affine(x: Floats, w: Floats, q: Floats) -> tuple[Floats, Floats]:
    """The least squares d and m of w = d·q + m for given codes; not finite where all codes are one."""
    total, sum_x, sum_q = np.sum(w, axis=0), np.sum(w * x, axis=0), np.sum(w * q, axis=0)
    sum_qq, sum_qx = np.sum(w * q * q, axis=0), np.sum(w * q * x, axis=0)
    determinant = total * sum_qq - sum_q * sum_q
    return (total * sum_qx - sum_x * sum_q) / determinant, (sum_qq * sum_x - sum_q * sum_qx) / determinant


def best_scale_and_minimum(
    x: Floats, w: Floats, start: tuple[Floats, Floats], search: TrimSearch
) -> tuple[Floats, Floats, Mask]:
    """Halves d and m (groups,), and where a pair was found that is better than `start`."""

    def error(d: Floats, m: Floats) -> Floats:
        return weighted_error(x, w, d * affine_codes(x, d, m, search.nmax) + m)

    scale, minimum = start
    best = first = error(scale, minimum)
    low, high = x.min(axis=0), x.max(axis=0)
    for below in search.trims:
        for above in search.trims:
            m = low + np.float32(below) * (high - low)
            d = (high - np.float32(above) * (high - low) - m) / np.float32(search.nmax)
            for _ in range(search.refits):
                d, m = _fit_affine(x, w, affine_codes(x, d, m, search.nmax))
            d, m = as_half(d), as_half(m)
            tried = error(d, m)
            better = tried < best
            best = np.where(better, tried, best)
            scale, minimum = np.where(better, d, scale), np.where(better, m, minimum)
    return scale, minimum, best < first


@dataclass(slots=True)
class Multiples:
    """Super-blocks as halves and multiples: d, dmin (blocks, 1); s, m whole numbers (blocks, groups), all float32.

    Types without a minimum have dmin and m of 0.
    """

    d: Floats
    dmin: Floats
    s: Floats
    m: Floats


@dataclass(frozen=True, slots=True)
class Groups:
    """The weights of super-blocks by group, and what their errors count: (n, blocks, groups) each."""

    x: Floats
    w: Floats
    search: WindowSearch

    def codes(self, of: Multiples) -> Floats:
        """The nearest codes, (n, blocks, groups)."""
        scale = of.d * of.s
        return scale_codes(self.x + of.dmin * of.m, scale, *self.search.codes)

    def errors(self, of: Multiples) -> Floats:
        """Σ w·(x - y)² of every group, (blocks, groups)."""
        return weighted_error(self.x, self.w, of.d * of.s * self.codes(of) - of.dmin * of.m)


def _candidates(multiples: Floats, window: int, search: WindowSearch) -> Iterator[Floats]:
    """What a round tries instead of these multiples."""
    first, last, step = search.tried(window)
    for k in range(first, last + 1, step):
        tried = np.full_like(multiples, k) if window == EVERY else multiples + np.float32(k)
        yield np.clip(tried, *search.multiples)


def _search_multiples(groups: Groups, at: Multiples, window: int) -> None:
    """Change s and m of every group to the best pair within the window."""
    s, m, best = at.s, at.m, groups.errors(at)
    for tried_s in _candidates(s, window, groups.search):
        for tried_m in _candidates(m, window, groups.search) if groups.search.affine else (m,):
            error = groups.errors(Multiples(at.d, at.dmin, tried_s, tried_m))
            better = error < best
            best = np.where(better, error, best)
            at.s, at.m = np.where(better, tried_s, at.s), np.where(better, tried_m, at.m)


def _fit_halves(groups: Groups, at: Multiples) -> None:
    """Change d and dmin to the least squares halves for the codes, where the error falls by it."""
    x, w, q = groups.x, groups.w, groups.codes(at)
    a, b = at.s * q, np.broadcast_to(-at.m, q.shape)

    def total(terms: Floats) -> npt.NDArray[np.float64]:
        of_groups: Floats = np.sum(terms, axis=0, dtype=np.float32)
        totals: npt.NDArray[np.float64] = np.sum(of_groups, axis=1, dtype=np.float64, keepdims=True)
        return totals

    aa, ab, bb, ax, bx = total(w * a * a), total(w * a * b), total(w * b * b), total(w * a * x), total(w * b * x)
    determinant = aa * bb - ab * ab
    both = determinant > 1e-9 * aa * bb
    d = np.where(both, (bb * ax - ab * bx) / determinant, (ax - at.dmin * ab) / aa)
    dmin = np.where(both, (aa * bx - ab * ax) / determinant, at.dmin)
    tried = Multiples(as_half(d), as_half(dmin), at.s, at.m)
    better = groups.errors(tried).sum(axis=1) < groups.errors(at).sum(axis=1)
    if groups.search.affine:
        better &= ((tried.d > 0) & (tried.dmin >= 0))[:, 0]
    at.d, at.dmin = np.where(better[:, None], tried.d, at.d), np.where(better[:, None], tried.dmin, at.dmin)


def refine_multiples(groups: Groups, start: Multiples) -> tuple[Multiples, Mask]:
    """Halves and multiples of super-blocks, and where they are better than those of `start`; (blocks,)."""
    at = Multiples(start.d, start.dmin, start.s, start.m)
    for window in groups.search.windows:
        _search_multiples(groups, at, window)
        _fit_halves(groups, at)
    return at, groups.errors(at).sum(axis=1) < groups.errors(start).sum(axis=1)

"""The searches of kernels.gpu.search and kernels.gpu.nonlinear as kernels of Triton: one thread searches for one group.

Only `kernels.gpu.fusing` calls these functions; what they compute is described in kernels.reference.search, and they do
it in the same order, so that results are torch's to the bit: quotients are rounded once, and nothing is fused into
multiply-adds (`LAUNCH`). Elements of a group lie along the first axis, (n, groups), so that neighbouring threads read
neighbouring numbers; they are read again for every candidate, from the nearest cache. Codes that a search changes one
by one are kept in the array that they are returned in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.codecs import NONLINEAR_VALUES, AffineSearch
from kernels.gpu.steps import FINE_NUDGES, NUDGES, PASSES, TRIES, stretched

# Groups of one program, and how it is run: without fused multiply-adds, which round otherwise.
GROUPS = 256
LAUNCH: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}

# Adding it leaves no room for a fraction: numbers within ±2^22 become the nearest integer, ties to even.
ROUNDER = tl.constexpr(12582912.0)
WITHIN = tl.constexpr(4194304.0)
GROUP_MAX_EPS = tl.constexpr(1e-15)


def _run(which: Any, groups: int, *arguments: Any, **constants: Any) -> None:
    """Runs a kernel with as many programs as the groups need."""
    which[(triton.cdiv(groups, GROUPS),)](*arguments, groups, **constants, block=GROUPS, **LAUNCH)


@triton.jit  # type: ignore[untyped-decorator]
def _places(block: tl.constexpr) -> tl.tensor:
    """The groups of this program."""
    return tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)


@triton.jit  # type: ignore[untyped-decorator]
def _row(from_ptr: tl.tensor, i: tl.tensor, at: tl.tensor, groups: tl.tensor) -> tl.tensor:
    """Element i of the groups `at`; 0 beyond the last group."""
    return tl.load(from_ptr + i * groups + at, mask=at < groups, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _put(to_ptr: tl.tensor, i: tl.tensor, at: tl.tensor, groups: tl.tensor, value: tl.tensor) -> None:
    """Writes element i of the groups `at`."""
    tl.store(to_ptr + i * groups + at, value, mask=at < groups)


@triton.jit  # type: ignore[untyped-decorator]
def _clamped(x: tl.tensor, low: tl.tensor, high: tl.tensor) -> tl.tensor:
    """Within low..high; NaN stays."""
    x = tl.where(x < low, low, x)
    return tl.where(x > high, high, x)


@triton.jit  # type: ignore[untyped-decorator]
def _code(x: tl.tensor, low: tl.tensor, high: tl.tensor) -> tl.tensor:
    """The nearest integer, ties to even, within low..high, which are integers; NaN stays."""
    return (_clamped(x, low, high) + ROUNDER) - ROUNDER


@triton.jit  # type: ignore[untyped-decorator]
def _nearest(x: tl.tensor) -> tl.tensor:
    """The nearest integer, ties to even; beyond ±2^22 all numbers of those that occur are left as they are."""
    return tl.where(tl.abs(x) < WITHIN, (x + ROUNDER) - ROUNDER, x)


@triton.jit  # type: ignore[untyped-decorator]
def _magnitude(x: tl.tensor) -> tl.tensor:
    """|x|, and 0 for NaN."""
    x = tl.abs(x)
    return tl.where(x == x, x, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _extreme(x_ptr: tl.tensor, at: tl.tensor, groups: tl.tensor, length: tl.constexpr) -> tl.tensor:
    """The first element of the largest magnitude of every group; NaN is no maximum, -0 is +0."""
    extreme = _row(x_ptr, 0, at, groups)
    largest = _magnitude(extreme)
    for i in range(1, length):
        x = _row(x_ptr, i, at, groups)
        larger = _magnitude(x) > largest
        largest = tl.where(larger, _magnitude(x), largest)
        extreme = tl.where(larger, x, extreme)
    return extreme + 0.0


# ---------------------------------------------------------------- sums


@triton.jit  # type: ignore[untyped-decorator]
def _sum(x_ptr: tl.tensor, total_ptr: tl.tensor, groups: tl.tensor, length: tl.constexpr, block: tl.constexpr) -> None:
    at = _places(block)
    total = _row(x_ptr, 0, at, groups)
    for i in range(1, length):
        total += _row(x_ptr, i, at, groups)
    _put(total_ptr, 0, at, groups, total)


def sequential_sum(terms: Tensor) -> Tensor:
    """As kernels.gpu.search.sequential_sum."""
    terms = terms.contiguous()
    total = torch.empty_like(terms[0])
    _run(_sum, total.numel(), terms, total, length=len(terms))
    return total


# ---------------------------------------------------------------- symmetric steps


@triton.jit  # type: ignore[untyped-decorator]
def _qx(
    x_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    levels_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.tensor,
    nmax: tl.constexpr,
    squares: tl.constexpr,
    candidates: tl.constexpr,
    length: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = _places(block)
    extreme = _extreme(x_ptr, at, groups, length)
    scale = tl.zeros((block,), tl.float32)
    best = tl.zeros((block,), tl.float32)
    kept = tl.div_rn(tl.full((block,), -nmax, tl.float32), extreme)
    for candidate in range(candidates):
        inverse = tl.div_rn(tl.zeros((block,), tl.float32) - tl.load(levels_ptr + candidate), extreme)
        sum_lx = tl.zeros((block,), tl.float32)
        sum_l2 = tl.zeros((block,), tl.float32)
        for i in range(length):
            x = _row(x_ptr, i, at, groups)
            weight = x * x if squares else _row(weights_ptr, i, at, groups)
            code = _code(x * inverse, -nmax, nmax - 1)
            sum_lx += (weight * x) * code
            sum_l2 += (weight * code) * code
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        # The first candidate is taken as it is.
        better = tl.where(candidate == 0, sum_l2 != 0, better)
        scale = tl.where(better, tl.div_rn(sum_lx, sum_l2), scale)
        best = tl.where(better, scale * sum_lx, best)
        kept = tl.where(better, inverse, kept)
    empty = tl.abs(extreme) < GROUP_MAX_EPS
    _put(scale_ptr, 0, at, groups, tl.where(empty, 0.0, scale))
    for i in range(length):
        x = _row(x_ptr, i, at, groups)
        code = tl.where(empty, -nmax, _code(x * kept, -nmax, nmax - 1))
        _put(codes_ptr, i, at, groups, code)


def make_qx_quants(x: Tensor, nmax: int, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """As kernels.gpu.search.make_qx_quants."""
    x = x.T.contiguous()
    levels = _levels(x, nmax, (0, *NUDGES))
    scale, codes = torch.empty_like(x[0]), torch.empty_like(x)
    counted = x if weights is None else weights.T.contiguous()
    constants = {"nmax": nmax, "squares": weights is None, "candidates": len(levels), "length": len(x)}
    _run(_qx, x.shape[1], x, counted, levels, scale, codes, **constants)
    return scale, codes.T


def _levels(like: Tensor, nmax: int, nudges: tuple[int, ...]) -> Tensor:
    """The stretched numbers of levels of candidates in steps of 0.1."""
    return torch.tensor([stretched(nmax, 0.0, 0.1, nudge) for nudge in nudges], device=like.device)


# ---------------------------------------------------------------- one code after another


@triton.jit  # type: ignore[untyped-decorator]
def _improved(
    x_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    at: tl.tensor,
    groups: tl.tensor,
    low: tl.constexpr,
    high: tl.constexpr,
    squares: tl.constexpr,
    turns: tl.constexpr,
    length: tl.constexpr,
) -> tl.tensor:
    """Σwxq and Σwq² after the codes were improved one by one (kernels.reference.search), in place."""
    sum_lx = tl.zeros_like(_row(x_ptr, 0, at, groups))
    sum_l2 = tl.zeros_like(sum_lx)
    for i in range(length):
        x = _row(x_ptr, i, at, groups)
        weight = x * x if squares else _row(weights_ptr, i, at, groups)
        code = _row(codes_ptr, i, at, groups)
        sum_lx += (weight * x) * code
        sum_l2 += (weight * code) * code
    for turn in range(turns * length):
        i = turn % length
        x = _row(x_ptr, i, at, groups)
        weight = x * x if squares else _row(weights_ptr, i, at, groups)
        code = _row(codes_ptr, i, at, groups)
        product = weight * x
        other_lx = sum_lx - product * code
        other_l2 = sum_l2 - (weight * code) * code
        tried = _code(tl.div_rn(x * other_l2, other_lx), low, high)
        possible = (other_lx > 0) & (tried != code)
        if low == 0:
            possible = possible & (other_l2 > 0)
        new_lx = other_lx + product * tried
        new_l2 = other_l2 + (weight * tried) * tried
        better = possible & (new_l2 > 0) & ((new_lx * new_lx) * sum_l2 > (sum_lx * sum_lx) * new_l2)
        _put(codes_ptr, i, at, groups, tl.where(better, tried, code))
        sum_lx = tl.where(better, new_lx, sum_lx)
        sum_l2 = tl.where(better, new_l2, sum_l2)
    return sum_lx, sum_l2


@triton.jit  # type: ignore[untyped-decorator]
def _q3(
    x_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.tensor,
    nmax: tl.constexpr,
    turns: tl.constexpr,
    length: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = _places(block)
    extreme = _extreme(x_ptr, at, groups, length)
    inverse = tl.div_rn(tl.full((block,), -nmax, tl.float32), extreme)
    for i in range(length):
        x = _row(x_ptr, i, at, groups)
        _put(codes_ptr, i, at, groups, _code(x * inverse, -nmax, nmax - 1))
    sum_lx, sum_l2 = _improved(x_ptr, x_ptr, codes_ptr, at, groups, -nmax, nmax - 1, True, turns, length)
    scale = tl.where(sum_l2 > 0, tl.div_rn(sum_lx, sum_l2), 0.0)
    _put(scale_ptr, 0, at, groups, tl.where(tl.abs(extreme) < GROUP_MAX_EPS, 0.0, scale))


def make_q3_quants(x: Tensor, nmax: int) -> Tensor:
    """As kernels.gpu.search.make_q3_quants."""
    x = x.T.contiguous()
    scale = torch.empty_like(x[0])
    _run(_q3, x.shape[1], x, scale, torch.empty_like(x), nmax=nmax, turns=PASSES, length=len(x))
    return scale


@triton.jit  # type: ignore[untyped-decorator]
def _qp(
    x_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    levels_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.tensor,
    nmax: tl.constexpr,
    candidates: tl.constexpr,
    turns: tl.constexpr,
    length: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = _places(block)
    largest = _row(x_ptr, 0, at, groups)
    largest = tl.where(largest == largest, largest, 0.0)
    for i in range(1, length):
        x = _row(x_ptr, i, at, groups)
        largest = tl.where(x > largest, x, largest)
    kept = tl.zeros((block,), tl.float32)
    best = tl.zeros((block,), tl.float32)
    for candidate in range(candidates):
        inverse = tl.div_rn(tl.zeros((block,), tl.float32) + tl.load(levels_ptr + candidate), largest)
        step = tl.div_rn(tl.full((block,), 1.0, tl.float32), inverse)
        error = tl.zeros((block,), tl.float32)
        for i in range(length):
            x = _row(x_ptr, i, at, groups)
            weight = _row(weights_ptr, i, at, groups)
            code = _nearest(inverse * x)
            difference = x - step * tl.where(code > nmax, nmax, code)
            error += (weight * difference) * difference
        better = (error < best) | (candidate == 0)
        kept = tl.where(better, inverse, kept)
        best = tl.where(better, error, best)
    for i in range(length):
        x = _row(x_ptr, i, at, groups)
        _put(codes_ptr, i, at, groups, _code(kept * x, 0, nmax))
    sum_lx, sum_l2 = _improved(x_ptr, weights_ptr, codes_ptr, at, groups, 0, nmax, False, turns, length)
    scale = tl.where(sum_l2 > 0, tl.div_rn(sum_lx, sum_l2), 0.0)
    empty = largest < GROUP_MAX_EPS
    _put(scale_ptr, 0, at, groups, tl.where(empty, 0.0, scale))
    for i in range(length):
        code = _row(codes_ptr, i, at, groups)
        _put(codes_ptr, i, at, groups, tl.where(empty, 0.0, code))


def make_qp_quants(x: Tensor, nmax: int, weights: Tensor) -> tuple[Tensor, Tensor]:
    """As kernels.gpu.search.make_qp_quants."""
    x, weights = x.T.contiguous(), weights.T.contiguous()
    levels = _levels(x, nmax, (0, *FINE_NUDGES))
    scale, codes = torch.empty_like(x[0]), torch.empty_like(x)
    constants = {"nmax": nmax, "candidates": len(levels), "turns": PASSES, "length": len(x)}
    _run(_qp, x.shape[1], x, weights, levels, scale, codes, **constants)
    return scale[:, None], codes.T


# ---------------------------------------------------------------- steps with a minimum


@triton.jit  # type: ignore[untyped-decorator]
def _affine_error(
    x_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    inverse: tl.tensor,
    start: tl.tensor,
    scale: tl.tensor,
    low: tl.tensor,
    at: tl.tensor,
    groups: tl.tensor,
    nmax: tl.constexpr,
    absolute: tl.constexpr,
    length: tl.constexpr,
) -> tl.tensor:
    """Σ w·loss(scale·q + low - x) of the codes nearest to (x - start)·inverse."""
    error = tl.zeros_like(low)
    for i in range(length):
        x = _row(x_ptr, i, at, groups)
        weight = _row(weights_ptr, i, at, groups)
        difference = (_code((x - start) * inverse, 0, nmax) * scale + low) - x
        loss = tl.abs(difference) if absolute else difference * difference
        error += loss * weight
    return error


@triton.jit  # type: ignore[untyped-decorator]
def _qkx2(
    x_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    levels_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    low_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    groups: tl.tensor,
    nmax: tl.constexpr,
    absolute: tl.constexpr,
    candidates: tl.constexpr,
    length: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = _places(block)
    low = _row(x_ptr, 0, at, groups)
    high = low
    sum_w = tl.zeros((block,), tl.float32)
    sum_x = tl.zeros((block,), tl.float32)
    for i in range(length):
        x = _row(x_ptr, i, at, groups)
        weight = _row(weights_ptr, i, at, groups)
        # NaN, once met, stays.
        low = tl.where((x < low) | (x != x), x, low)
        high = tl.where((x > high) | (x != x), x, high)
        sum_w += weight
        sum_x += weight * x
    low = tl.where(low > 0, 0.0, low)
    flat, flat_low = high == low, low
    inverse = tl.div_rn(tl.full((block,), nmax, tl.float32), high - low)
    kept_inverse, kept_low = inverse, low
    scale = tl.div_rn(tl.full((block,), 1.0, tl.float32), inverse)
    best = _affine_error(x_ptr, weights_ptr, inverse, low, scale, low, at, groups, nmax, absolute, length)
    for candidate in range(candidates):
        inverse = tl.div_rn(tl.zeros((block,), tl.float32) + tl.load(levels_ptr + candidate), high - low)
        sum_l = tl.zeros((block,), tl.float32)
        sum_l2 = tl.zeros((block,), tl.float32)
        sum_xl = tl.zeros((block,), tl.float32)
        for i in range(length):
            x = _row(x_ptr, i, at, groups)
            weighted = _row(weights_ptr, i, at, groups)
            code = _code((x - low) * inverse, 0, nmax)
            weighted = weighted * code
            sum_l += weighted
            sum_l2 += weighted * code
            sum_xl += weighted * x
        determinant = sum_w * sum_l2 - sum_l * sum_l
        new_scale = tl.div_rn(sum_w * sum_xl - sum_x * sum_l, determinant)
        new_low = tl.div_rn(sum_l2 * sum_x - sum_l * sum_xl, determinant)
        new_scale = tl.where(new_low > 0, tl.div_rn(sum_xl, sum_l2), new_scale)
        new_low = tl.where(new_low > 0, 0.0, new_low)
        error = _affine_error(x_ptr, weights_ptr, inverse, low, new_scale, new_low, at, groups, nmax, absolute, length)
        better = (determinant > 0) & (error < best)
        best = tl.where(better, error, best)
        kept_inverse = tl.where(better, inverse, kept_inverse)
        kept_low = tl.where(better, low, kept_low)
        scale = tl.where(better, new_scale, scale)
        low = tl.where(better, new_low, low)
    _put(scale_ptr, 0, at, groups, tl.where(flat, 0.0, scale))
    _put(low_ptr, 0, at, groups, -tl.where(flat, flat_low, low))
    for i in range(length):
        x = _row(x_ptr, i, at, groups)
        code = _code((x - kept_low) * kept_inverse, 0, nmax)
        _put(codes_ptr, i, at, groups, tl.where(flat, 0.0, code))


def make_qkx2_quants(
    x: Tensor, weights: Tensor, search: AffineSearch, loss: Callable[[Tensor], Tensor] = torch.square_
) -> tuple[Tensor, Tensor, Tensor]:
    """As kernels.gpu.search.make_qkx2_quants."""
    x, weights = x.T.contiguous(), weights.T.contiguous()
    steps = [stretched(search.nmax, search.first, search.step, k) for k in range(search.steps + 1)]
    levels = torch.tensor(steps, device=x.device)
    scale, low, codes = torch.empty_like(x[0]), torch.empty_like(x[0]), torch.empty_like(x)
    constants = {"nmax": search.nmax, "absolute": loss is torch.abs_, "candidates": len(steps), "length": len(x)}
    _run(_qkx2, x.shape[1], x, weights, levels, scale, low, codes, **constants)
    return scale, low, codes.T


# ---------------------------------------------------------------- steps of uneven levels


@triton.jit  # type: ignore[untyped-decorator]
def _values(
    x_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    tries_ptr: tl.tensor,
    values_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    groups: tl.tensor,
    first: tl.constexpr,
    candidates: tl.constexpr,
    length: tl.constexpr,
    block: tl.constexpr,
) -> None:
    at = _places(block)
    extreme = _extreme(x_ptr, at, groups, length)
    scale = tl.zeros((block,), tl.float32)
    best = tl.zeros((block,), tl.float32)
    start = tl.div_rn(-extreme, tl.full((block,), first, tl.float32))
    for candidate in range(candidates):
        inverse = tl.div_rn(tl.zeros((block,), tl.float32) + tl.load(tries_ptr + candidate), extreme)
        if candidate == 0:
            inverse = tl.div_rn(tl.full((block,), 1.0, tl.float32), start)
        sum_qx = tl.zeros((block,), tl.float32)
        sum_q2 = tl.zeros((block,), tl.float32)
        for i in range(length):
            x = _row(x_ptr, i, at, groups)
            weight = _row(weights_ptr, i, at, groups)
            scaled = inverse * x
            # How many borders between neighbouring values are not above it; NaN is above all.
            code = tl.zeros((block,), tl.int32)
            for border in tl.static_range(15):
                middle = tl.load(values_ptr + border) + tl.load(values_ptr + border + 1)
                code += tl.where((scaled + scaled < middle), 0, 1)
            level = tl.load(values_ptr + code)
            weighted = weight * level
            sum_qx += weighted * x
            sum_q2 += weighted * level
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        # The first candidate is taken as it is.
        better = tl.where(candidate == 0, sum_q2 > 0, better)
        scale = tl.where(better, tl.div_rn(sum_qx, sum_q2), scale)
        best = tl.where(better | (candidate == 0), scale * sum_qx, best)
    _put(scale_ptr, 0, at, groups, tl.where(tl.abs(extreme) < GROUP_MAX_EPS, 0.0, scale))


def search_values(x: Tensor, weights: Tensor) -> Tensor:
    """As kernels.gpu.nonlinear.search_values."""
    x, weights = x.T.contiguous(), weights.T.contiguous()
    values = torch.tensor(NONLINEAR_VALUES, dtype=torch.float32, device=x.device)
    first = float(NONLINEAR_VALUES[0])
    tries = torch.tensor([1.0, *(k + first for k in TRIES)], device=x.device)
    scale = torch.empty_like(x[0])
    constants = {"first": first, "candidates": len(tries), "length": len(x)}
    _run(_values, x.shape[1], x, weights, tries, values, scale, **constants)
    return scale[:, None]

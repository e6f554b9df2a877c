"""GPTQ: rounds a layer's columns one after another and lets the ones that follow make up for each one's error.

The error that counts is that of the layer's output, tr(dW H dW') with H the moments of its inputs. Source: Frantar et
al., GPTQ, arXiv 2210.17323. Grids are fitted group by group on the weights as they are when the loop arrives there,
columns counted by H's diagonal. The order of columns is a matter of the loop alone: groups keep their natural members,
so nothing about the order is stored. Where plain rounding has the smaller error, it is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from core.methods.hessian import DAMP, factor
from core.methods.linear import Floats, Linear, Scheme, grid
from core.methods.ranges import RULES, RangeSetting
from core.methods.table import CHANNEL, TENSOR
from kernels.cpu.columns import quantize_columns

# Columns between two updates of all that follow: within them only these are updated, which stays in the cache.
BLOCK = 128
SEARCHED = RangeSetting("mse")
Order = Literal["natural", "groups", "columns"]
# (weights of one group (rows, g), importance of its columns (g,)) -> scales, zero points: float32 (rows,)
Fit = Callable[[Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Setting:
    """How GPTQ works. ranges: how grids are fitted. damp: the share of the mean that is added to H's diagonal.

    order: which columns come first. `columns`: those that matter most, with every group's grid fitted beforehand;
    `groups`: whole groups, and inside each its columns, with grids fitted as the loop arrives; `natural`: as they are.
    """

    ranges: RangeSetting = SEARCHED
    order: Order = "columns"
    damp: float = DAMP


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """A layer's result. loss: tr(dW H dW') of what is given back, rounded_loss: of plain rounding, energy: of all of W.

    damp: what was added in the end. guarded: plain rounding was better, and is what is given back.
    """

    linear: Linear
    loss: float
    rounded_loss: float
    energy: float
    damp: float
    guarded: bool


def quantize(w: Floats, hessian: torch.Tensor, scheme: Scheme, setting: Setting) -> Solved:
    """A matrix (rows, columns) as linear integers, given the moments of its inputs, float32 (columns, columns).

    Raises ValueError where groups do not divide the rows or are the whole tensor, NotDefinite.
    """
    if scheme.group == TENSOR:
        raise ValueError("GPTQ fits grids row by row, not for a whole tensor")
    length = w.shape[1] if scheme.group == CHANNEL else scheme.group
    if w.shape[1] % length:
        raise ValueError(f"rows of {w.shape[1]} weights cannot be divided into groups of {length}")
    importance = np.maximum(hessian.diagonal().cpu().numpy().astype(np.float32), 0)
    plan = _Plan.of(importance, length, setting.order)
    turned = torch.from_numpy(plan.columns)
    factored = factor(hessian[turned][:, turned], setting.damp)
    current = np.ascontiguousarray(w[:, plan.columns], np.float32)
    current[:, factored.dead.cpu().numpy()] = 0
    fit = _fit(scheme, setting.ranges)
    loop = _Loop(current, factored.upper.cpu().numpy(), plan, scheme, fit, importance)
    compensated = loop.run(w)
    rounded = _assembled(w, _all_grids(w, importance, length, fit), scheme)
    losses = [loss(w - item.values(), hessian) for item in (compensated, rounded)]
    guarded = not losses[0] < losses[1]
    return Solved(rounded if guarded else compensated, min(losses), losses[1], loss(w, hessian), factored.damp, guarded)


def loss(difference: Floats, hessian: torch.Tensor) -> float:
    """The error of a layer's output per input, tr(dW H dW')."""
    d = torch.from_numpy(difference).to(hessian.device)
    return float(((d @ hessian) * d).sum(dtype=torch.float64))


def _fit(scheme: Scheme, ranges: RangeSetting) -> Fit:
    own = Scheme(scheme.bits, CHANNEL, scheme.symmetric, scheme.full_range, scheme.scale_type, scheme.first_zero)

    def fit(group: Floats, importance: Floats) -> tuple[Floats, Floats]:
        group = np.ascontiguousarray(group)
        # A group that no input reaches counts its columns alike.
        weights = importance if importance.any() else np.ones_like(importance)
        return grid(*RULES[ranges.rule](group, weights / weights.max(), own, ranges), own)

    return fit


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The order of the loop. columns: the natural column at each place. group_of: the natural group of each place.

    fitted_first: whether grids are fitted before the loop, because columns of several groups take turns.
    """

    columns: NDArray[np.int64]
    group_of: NDArray[np.int64]
    length: int
    fitted_first: bool

    @classmethod
    def of(cls, importance: Floats, length: int, order: Order) -> _Plan:
        natural = np.arange(len(importance))
        groups = importance.reshape(-1, length)
        if order == "columns":
            columns = np.argsort(-importance, kind="stable")
        elif order == "groups":
            inside = np.argsort(-groups, axis=1, kind="stable") + length * np.arange(len(groups))[:, None]
            columns = inside[np.argsort(-groups.mean(axis=1), kind="stable")].reshape(-1)
        else:
            columns = natural
        return cls(columns, columns // length, length, order == "columns" or length == len(importance))


@dataclass(frozen=True, slots=True, eq=False)
class _Loop:
    """One matrix on its way through the columns; `w` and `upper` in the order of the loop."""

    w: Floats
    upper: Floats
    plan: _Plan
    scheme: Scheme
    fit: Fit
    importance: Floats

    def run(self, original: Floats) -> Linear:
        """Every block of columns, then what it leaves to all that follow."""
        plan, columns = self.plan, self.w.shape[1]
        codes = np.empty(self.w.shape, np.int8)
        scales, zeros = (np.ones((len(self.w), columns // plan.length), np.float32) for _ in range(2))
        if plan.fitted_first:
            scales, zeros = _all_grids(original, self.importance, plan.length, self.fit)
        for start in range(0, columns, BLOCK):
            end = min(start + BLOCK, columns)
            errors = self._block(start, end, codes, scales, zeros)
            later = torch.from_numpy(self.w[:, end:])
            later -= torch.from_numpy(errors) @ torch.from_numpy(self.upper[start:end, end:])
        natural = np.empty_like(codes)
        natural[:, plan.columns] = codes
        shape = self.scheme.scale_shape(*self.w.shape)
        return Linear(self.scheme, natural, scales.reshape(shape), zeros.astype(np.int8).reshape(shape))

    def _block(self, start: int, end: int, codes: NDArray[np.int8], scales: Floats, zeros: Floats) -> Floats:
        """Rounds columns [start, end), group by group: their errors over the factor's diagonal, (rows, columns)."""
        plan, block = self.plan, np.ascontiguousarray(self.w[:, start:end])
        errors = np.empty_like(block)
        at = start
        while at < end:
            stop = end if plan.fitted_first else min(end, (at // plan.length + 1) * plan.length)
            if not plan.fitted_first and at % plan.length == 0:
                self._fit_group(at, block, start, scales, zeros)
            rest = np.ascontiguousarray(block[:, at - start :])
            factor_part = self.upper[at:end, at:end]
            ends = (self.scheme.lowest, self.scheme.highest)
            group_of = plan.group_of[at:stop]
            codes[:, at:stop], errors[:, at - start : stop - start] = quantize_columns(
                rest, factor_part, scales, -scales * zeros, group_of, ends
            )
            block[:, at - start :] = rest
            at = stop
        return errors

    def _fit_group(self, at: int, block: Floats, start: int, scales: Floats, zeros: Floats) -> None:
        """The grid of the group that begins at a place, on its weights as they are now."""
        stop = at + self.plan.length
        inside = min(stop, start + block.shape[1])
        now = np.concatenate([block[:, at - start : inside - start], self.w[:, inside:stop]], axis=1)
        group = self.plan.group_of[at]
        scales[:, group], zeros[:, group] = self.fit(now, self.importance[self.plan.columns[at:stop]])


def _all_grids(w: Floats, importance: Floats, length: int, fit: Fit) -> tuple[Floats, Floats]:
    """Every group's grid on the weights as they came: float32 (rows, groups) each."""
    parts = [slice(first, first + length) for first in range(0, w.shape[1], length)]
    grids = [fit(w[:, part], importance[part]) for part in parts]
    scales, zeros = (np.ascontiguousarray(np.stack(values, axis=1)) for values in zip(*grids, strict=True))
    return scales, zeros


def _assembled(w: Floats, grids: tuple[Floats, Floats], scheme: Scheme) -> Linear:
    """Plain rounding to given grids (rows, groups)."""
    scales, zeros = grids
    length = w.shape[1] // scales.shape[1]
    scale, zero = np.repeat(scales, length, axis=1), np.repeat(zeros, length, axis=1)
    codes = np.clip(np.rint(w / scale) + zero, scheme.lowest, scheme.highest).astype(np.int8)
    return Linear(scheme, codes, scales, zeros.astype(np.int8))

"""GPTQ: rounds a layer's columns one after another and lets the ones that follow make up for each one's error.

The error that counts is that of the layer's output, tr(dW H dW') with H the moments of its inputs. Source: Frantar et
al., GPTQ, arXiv 2210.17323. The grid is given; its blocks are fitted on the weights as they are when the loop arrives
there, columns counted by H's diagonal. The order of columns is a matter of the loop alone: blocks keep their natural
members, so nothing about the order is stored. Where plain rounding has the smaller error, it is taken.

With `drift` the target is what the original layer made of the original inputs instead of the inputs as they have become
(Li et al., GPTAQ, arXiv 2504.02692): with X the inputs now and X0 those of the original model, W X0 is best met by
W + W (X0 X' - X X') H^-1.

What the loop has made is its best step by step, not the best there is. So a few passes of coordinate descent follow
(Behdin et al., QuantEase, arXiv 2309.01885): each weight in turn goes to the level that is best with all others as they
are now, those behind it among them.

Rows do not know each other, so a few are worked on at a time, and what is held beside the matrix is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.methods.at_once import at_once
from core.methods.calibration import DAMP, PASSES, Order
from core.methods.grids import Codes, Fitted, Grid
from core.methods.hessian import Factor, blocks, factor
from core.methods.linear import Floats
from kernels.column_loop import quantize_columns
from kernels.descent import descend_for

# Columns between two updates of all that follow: within them only these are updated, which stays in the cache.
BLOCK = 128
# Weights that are worked on at a time, by all threads together and on a GPU, and the fewest rows worth a thread.
CHUNK, DEVICE_CHUNK = 1 << 21, 1 << 22
LEAST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Setting:
    """How GPTQ works. damp: the share of the mean that is added to H's diagonal, at least.

    order: which columns come first. `static`: those that matter most, with every block's grid fitted beforehand;
    `groups`: whole blocks, and inside each its columns, with grids fitted as the loop arrives; `off`: as they are.
    passes: of coordinate descent after the loop, at most.
    """

    order: Order = "groups"
    damp: float = DAMP
    passes: int = PASSES


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """A layer's result: `made`, what the grid makes of a matrix. loss: tr(dW H dW') of what is given back.

    rounded_loss: of plain rounding. energy: of all of W. damp: what was added in the end. guarded: plain rounding was
    better, and is what is given back.
    """

    made: Any
    loss: float
    rounded_loss: float
    energy: float
    damp: float
    guarded: bool


class Inputs:
    """What matrices that share their inputs are solved with: moments, float32 (columns, columns), on any device.

    Their factor is made once and kept for the next matrix whose columns come in the same order.
    """

    def __init__(self, hessian: torch.Tensor) -> None:
        self.hessian = hessian
        self.importance: Floats = np.maximum(hessian.diagonal().cpu().numpy().astype(np.float32), 0)
        self._made: tuple[NDArray[np.int64], float, Factor] | None = None

    def factored(self, columns: NDArray[np.int64], damp: float) -> Factor:
        """The factor in an order of columns. Raises NotDefinite."""
        known = self._made
        if known is None or known[1] != damp or not np.array_equal(known[0], columns):
            self._made = known = None  # which gives its memory back before the next is made
            self._made = known = (columns, damp, factor(self.hessian, damp, torch.from_numpy(columns)))
        return known[2]


def quantize(w: Floats, inputs: Inputs, grid: Grid, setting: Setting, drift: Floats | None = None) -> Solved:
    """A matrix (rows, columns) on a grid.

    drift: W (X0 X' - X X') as above, as much of it as is wanted, (rows, columns). Raises NotDefinite.
    """
    plan = _Plan.of(inputs.importance, grid, setting.order)
    work = _Work(inputs.hessian, plan, grid, inputs.importance, setting.passes)
    on_cpu = inputs.hessian.device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    parts = _shares(w, threads, CHUNK if on_cpu else DEVICE_CHUNK)
    factored = inputs.factored(plan.columns, setting.damp)
    plain = at_once([partial(work.rounded, w[part]) for part in parts], threads)
    found = at_once(
        [
            partial(work.compensated, w[part], None if drift is None else drift[part], own.grids, factored)
            for part, own in zip(parts, plain, strict=True)
        ],
        threads,
    )
    compensated, rounded = sum(part.loss for part in found), sum(part.loss for part in plain)
    guarded = not compensated < rounded
    made = grid.joined([part.made for part in (plain if guarded else found)])
    energy = sum(part.energy for part in plain)
    return Solved(made, min(compensated, rounded), rounded, energy, factored.damp, guarded)


def _shares(w: Floats, threads: int, chunk: int) -> list[slice]:
    """Rows that are worked on together: as many shares as threads, or more where they would be too large."""
    rows, columns = w.shape
    step = max(1, min(max(LEAST_ROWS, -(-rows // threads)), chunk // threads // columns))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def loss(difference: Floats | torch.Tensor, hessian: torch.Tensor) -> float:
    """The error of a layer's output per input, tr(dW H dW')."""
    d = torch.as_tensor(difference).to(hessian.device)
    total = 0.0
    for part in blocks(len(hessian)):
        # What the columns of a block have in common with those behind them counts for both.
        own, behind = d[:, part], d[:, part.stop :]
        product = torch.addmm(behind @ hessian[part.stop :, part], own, hessian[part, part], beta=2)
        total += float(product.mul_(own).sum(dtype=torch.float64))
    return total


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The order of the loop. columns: the natural column at each place. group_of: which scale each place has.

    fitted_first: whether grids are fitted before the loop, because columns of several blocks take turns.
    """

    columns: NDArray[np.int64]
    group_of: NDArray[np.int64]
    fitted_first: bool

    @classmethod
    def of(cls, importance: Floats, grid: Grid, order: Order) -> _Plan:
        length = grid.length
        groups = importance.reshape(-1, length)
        if order == "static":
            columns = np.argsort(-importance, kind="stable")
        elif order == "groups":
            inside = np.argsort(-groups, axis=1, kind="stable") + length * np.arange(len(groups))[:, None]
            columns = inside[np.argsort(-groups.mean(axis=1), kind="stable")].reshape(-1)
        else:
            columns = np.arange(len(importance))
        return cls(columns, columns // grid.step, order == "static" or length == len(importance))


@dataclass(frozen=True, slots=True, eq=False)
class _Rounded:
    """Some rows, plainly rounded. grids: of all blocks of columns, as the weights are. energy: of the weights."""

    made: Any
    grids: list[Fitted]
    loss: float
    energy: float


@dataclass(frozen=True, slots=True, eq=False)
class _Compensated:
    """The same rows as the loop makes them."""

    made: Any
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """A matrix' inputs, and the grid its rows are to be brought to.

    importance: H's diagonal, (columns,). passes: of coordinate descent, at most.
    """

    hessian: torch.Tensor
    plan: _Plan
    grid: Grid
    importance: Floats
    passes: int

    def rounded(self, w: Floats) -> _Rounded:
        """A few rows without any compensation."""
        grids = self.grid.fits(w, self.importance)
        made = self.grid.assembled(self._codes(w, grids), grids)
        return _Rounded(made, grids, loss(w - made.values(), self.hessian), loss(w, self.hessian))

    def compensated(self, w: Floats, drift: Floats | None, grids: list[Fitted], factored: Factor) -> _Compensated:
        """A few rows column by column. grids: of the weights as they are."""
        device = self.hessian.device
        order = torch.from_numpy(self.plan.columns).to(device)
        wanted = torch.from_numpy(w).to(device)[:, order]
        if drift is not None:
            wanted += torch.from_numpy(drift).to(device)[:, order] @ factored.upper.T @ factored.upper
        current = wanted.clone()
        current[:, factored.dead] = 0
        codes, fitted = _Loop(current, self, factored, grids).run()
        del current
        natural = torch.empty_like(wanted)
        natural[:, order] = wanted
        del wanted
        if self.passes:
            return self._descended(natural, codes, fitted, factored.added)
        made = self.grid.assembled(codes, fitted)
        return _Compensated(made, loss(_less(natural, made), self.hessian))

    def _descended(self, wanted: torch.Tensor, codes: Codes, fitted: list[Fitted], added: float) -> _Compensated:
        """Rows (rows, columns) in natural order, from what the loop has made of them. added: to H's diagonal."""
        device = wanted.device
        numbers, scales = torch.from_numpy(codes).to(device), torch.from_numpy(_tables(fitted)[0]).to(device)
        group_of = np.arange(codes.shape[1]) // self.grid.step
        difference = _less(wanted, self.grid.assembled(codes, fitted))
        residual = torch.addmm(difference, difference, self.hessian, beta=added)
        del difference
        descend = descend_for(device.type)
        for _ in range(self.passes):
            if not descend(numbers, residual, self.hessian, added, scales, group_of, self.grid.ends):
                break
        made = self.grid.assembled(numbers.cpu().numpy(), fitted)
        left = _less(wanted, made)
        # Without the damping, which is what was added of the squares of all differences.
        error = residual.sub_(left, alpha=added).mul_(left).sum(dtype=torch.float64)
        return _Compensated(made, float(error))

    def _codes(self, w: Floats, grids: list[Fitted]) -> Codes:
        scales, offsets = _tables(grids)
        scale, offset = (np.repeat(table, self.grid.step, axis=1) for table in (scales, offsets))
        codes: Codes = np.clip(np.rint((w - offset) / scale), *self.grid.ends).astype(np.int8)
        return codes


def _less(w: torch.Tensor, made: Any) -> torch.Tensor:
    """What a matrix that was made leaves of the weights."""
    return w - torch.from_numpy(made.values()).to(w.device)


def _tables(grids: list[Fitted]) -> tuple[Floats, Floats]:
    """Scales and offsets of all columns, (rows, groups of columns) each."""
    scales, offsets = (
        np.concatenate([getattr(part, name) for part in grids], axis=1) for name in ("scales", "offsets")
    )
    return np.ascontiguousarray(scales, np.float32), np.ascontiguousarray(offsets, np.float32)


class _Loop:
    """Rows (rows, columns) in the order of the loop on their way through the columns, which changes them."""

    def __init__(self, w: torch.Tensor, work: _Work, factored: Factor, grids: list[Fitted]) -> None:
        self._w, self._plan, self._grid, self._importance = w, work.plan, work.grid, work.importance
        self._upper = factored.upper
        self._grids = list(grids)
        self._scales, self._offsets = (torch.from_numpy(table).to(w.device) for table in _tables(grids))

    def run(self) -> tuple[Codes, list[Fitted]]:
        """Every block of columns, then what it leaves to all that follow: q in natural order, and the grids."""
        columns = self._w.shape[1]
        codes = torch.empty(self._w.shape, dtype=torch.int8, device=self._w.device)
        for start in range(0, columns, BLOCK):
            end = min(start + BLOCK, columns)
            errors = self._block(start, end, codes)
            self._w[:, end:].addmm_(errors, self._upper[start:end, end:], alpha=-1)
        natural = np.empty(codes.shape, np.int8)
        natural[:, self._plan.columns] = codes.cpu().numpy()
        return natural, self._grids

    def _block(self, start: int, end: int, codes: torch.Tensor) -> torch.Tensor:
        """Rounds columns [start, end), grid by grid: their errors over the factor's diagonal, (rows, columns)."""
        block = self._w[:, start:end].contiguous()
        errors = torch.empty_like(block)
        length, at = self._grid.length, start
        while at < end:
            stop = end
            if not self._plan.fitted_first:
                stop = min(end, (at // length + 1) * length)
                if at % length == 0:
                    self._fit(at, block, start)
            rest = block[:, at - start :].contiguous()
            found = quantize_columns(
                rest,
                self._upper[at:end, at:end].contiguous(),
                self._scales,
                self._offsets,
                self._plan.group_of[at:stop],
                self._grid.ends,
            )
            codes[:, at:stop], errors[:, at - start : stop - start] = found
            block[:, at - start :] = rest
            at = stop
        return errors

    def _fit(self, at: int, block: torch.Tensor, start: int) -> None:
        """The grid of the block of columns that begins at a place, on its weights as they are now."""
        stop = at + self._grid.length
        inside = min(stop, start + block.shape[1])
        now = torch.cat([block[:, at - start : inside - start], self._w[:, inside:stop]], dim=1)
        places = self._plan.columns[at:stop]
        number = int(places.min()) // self._grid.length
        # A grid knows its columns in their natural order.
        natural = np.argsort(places, kind="stable")
        found = self._grid.fit(now.cpu().numpy()[:, natural], self._importance[places[natural]])
        self._grids[number] = found
        groups = found.scales.shape[1]
        part = slice(number * groups, (number + 1) * groups)
        self._scales[:, part] = torch.from_numpy(found.scales).to(self._w.device)
        self._offsets[:, part] = torch.from_numpy(found.offsets).to(self._w.device)

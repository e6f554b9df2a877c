"""The column loop of GPTQ against the same loop in plain torch, and what a whole layer costs.

Usage: `python -m bench.gptq [--rows N] [--columns N]`. One 4096 x 4096 layer in 4 bits, groups of 128: blocks of 128
columns, each rounded column by column. Both loops do the same arithmetic in the same run, in turns, with the same
threads, medians; the matrix products between the blocks, which are torch's in either case, are timed apart.

The plain loop is the inner loop of the published implementation, all rows at once, one column after another: round,
error, product of error and factor's row off the columns behind. What that has beside it is left out here: copies of the
block, each column's loss, the fit of a group's scale. The product is taken off in place, where the published one makes
a matrix of it first.

Where there is a GPU, a second table has the seconds of layers of 4096 x 4096 and 4096 x 14336 on it, and the share of
them that products and factors of matrices alone take.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.gpu import wait
from bench.report import Figure, show
from core.methods import gptq
from core.methods.grids import IntegerGrid
from core.methods.hessian import factor
from core.methods.linear import Scheme
from core.methods.ranges import RangeSetting
from kernels.cpu import columns as ours
from kernels.cpu.parallel import available_threads
from kernels.gpu import columns as plain
from kernels.gpu.transfer import device

BLOCK, GROUP, ROUNDS, SAMPLED_BLOCKS = 128, 128, 3, 4
TARGET = 10
GPU_LAYERS = ((4096, 4096), (4096, 14336))


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call, until the device has done it."""
    wait()
    began = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - began


def moments(columns: int) -> torch.Tensor:
    """Second moments of correlated inputs, as many as there are columns."""
    x = torch.randn(columns, columns, generator=torch.Generator().manual_seed(0))
    x = x * torch.exp(0.5 * torch.randn(columns, generator=torch.Generator().manual_seed(1)))
    x = x + 0.5 * x.roll(1, 1)
    return x.T @ x / columns


def loops(w: np.ndarray[Any, Any], upper: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Seconds of all column loops of a layer, ours and plain torch's, from the median of a few blocks."""
    columns = w.shape[1]
    scales = (np.abs(w[:, :GROUP]).max(axis=1, keepdims=True) / 7.5).astype(np.float32)
    zeros = np.zeros_like(scales)
    part = np.ascontiguousarray(upper[:BLOCK, :BLOCK])
    tensors = [torch.from_numpy(array) for array in (part, scales, zeros)]
    group_of = np.zeros(BLOCK, np.int64)

    def run_ours() -> float:
        block = w[:, :BLOCK].copy()  # both change it; to copy it is no part of either loop
        return timed(lambda: ours.quantize_columns(block, part, scales, zeros, group_of, (-8, 7)))

    def run_plain() -> float:
        block = torch.from_numpy(w[:, :BLOCK].copy())
        return timed(lambda: plain.quantize_columns(block, *tensors, group_of, (-8, 7)))

    run_ours()  # compiles
    run_plain()
    pairs = [(run_ours(), run_plain()) for _ in range(ROUNDS * SAMPLED_BLOCKS)]
    blocks = columns / BLOCK
    return tuple(blocks * statistics.median(column) for column in zip(*pairs, strict=True))  # type: ignore[return-value]


def main() -> int:
    """Measures and prints; the number of missed targets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    options = parser.parse_args()
    torch.set_num_threads(available_threads())
    w, h = weights(options.rows, options.columns), moments(options.columns)
    factored = factor(h)
    our_loop, plain_loop = loops(w, factored.upper.numpy())
    figures = [
        Figure("column loops of the layer, ours", our_loop, "s"),
        Figure("column loops of the layer, plain torch", plain_loop, "s"),
        Figure("times as fast", plain_loop / our_loop, "x", TARGET),
        Figure("factor of the inverse moments", timed(lambda: factor(h)), "s"),
        Figure("matrix products between the blocks", timed(lambda: _products(w, factored.upper)), "s"),
        Figure("whole layer without passes of coordinate descent", timed(lambda: _layer(w, h, 0)), "s"),
        Figure("whole layer", timed(lambda: _layer(w, h)), "s"),
    ]
    missed = show(f"GPTQ, {options.rows} x {options.columns}, 4 bits, groups of {GROUP}", figures)
    if torch.cuda.is_available():
        figures = [figure for rows, columns in GPU_LAYERS for figure in on_device(rows, columns, device())]
        missed += show("GPTQ on the GPU, 4 bits", figures)
    return missed


def on_device(rows: int, columns: int, place: torch.device) -> list[Figure]:
    """What a layer takes on a device, and the share of it that is work on matrices: factor, products, residual."""
    w, h = weights(rows, columns), moments(columns).to(place)
    _layer(w, h)  # compiles, and takes memory
    factored, difference = factor(h), torch.from_numpy(w).to(place)
    matrices = [
        timed(lambda: factor(h)),
        timed(lambda: _products(w, factored.upper)),
        timed(lambda: [difference @ h for _ in range(1 + gptq.Setting().passes)]),
    ]
    whole = timed(lambda: _layer(w, h))
    return [
        Figure(f"{rows} x {columns}: whole layer", whole, "s"),
        Figure(f"{rows} x {columns}: share that is work on matrices", 100 * sum(matrices) / whole, "%"),
    ]


def weights(rows: int, columns: int) -> np.ndarray[Any, Any]:
    """Random, float32 (rows, columns)."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(2)).numpy() * np.float32(0.02)


def _layer(w: np.ndarray[Any, Any], h: torch.Tensor, passes: int = gptq.Setting().passes) -> gptq.Solved:
    grid = IntegerGrid(Scheme(4, GROUP), RangeSetting("mse"), w.shape[1])
    return gptq.quantize(w, gptq.Inputs(h), grid, gptq.Setting(passes=passes))


def _products(w: np.ndarray[Any, Any], upper: torch.Tensor) -> None:
    current = torch.from_numpy(w.copy()).to(upper.device)
    for start in range(0, w.shape[1], BLOCK):
        end = start + BLOCK
        current[:, end:] -= current[:, start:end] @ upper[start:end, end:]


if __name__ == "__main__":
    raise SystemExit(main())

"""Short measurements of what core.estimate.walking counts: products, factors, the solver, rounding, packing.

Each is timed on made-up numbers of a size at which it is as fast as in a job; core.speed keeps what comes out.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from core.checkpoints.layouts import LAYOUTS, Matrix
from core.checkpoints.settings import Settings, settled
from core.checkpoints.solve import SOLVERS
from core.estimate.timing import How, Operation
from core.jobs import MethodOptions
from core.methods.activations import Observed
from core.methods.awq import clipped
from core.methods.block_grids import BlockGrid
from core.methods.gptq import Inputs, Setting, quantize
from core.methods.grids import Grid, IntegerGrid
from core.methods.hessian import factor
from core.methods.linear import Floats
from core.methods.table import METHOD
from kernels import dispatch

SEED = 5
TOKENS, WIDTH, FACTORED, ROWS = 2048, 1024, 1280, 256
# Columns of the two matrices whose times say what the solver takes for a weight, and for a weight and column.
NARROW, WIDE = 512, 2048
# Loading the libraries that compute a model, in a process that has torch already.
IMPORTS = """
import time, torch
began = time.perf_counter()
from transformers import AutoConfig, AutoModelForCausalLM, initialization
import transformers.models.llama.modeling_llama
import xllamacpp
print(time.perf_counter() - began)
"""
# (a call to be timed, how much of the operation it does)
Timed = tuple[Callable[[], Any], int]
# As the best of a few calls (core.speed).
BestOf = Callable[[Callable[[], Any]], float]


def seconds_each(operation: Operation, how: How, best_of: BestOf) -> float:
    """Seconds for one of the operation's units."""
    if operation.kind == "start":
        found = subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True)
        return float(found.stdout)
    if how.threads:
        torch.set_num_threads(how.threads)
    with torch.no_grad():
        if operation.kind in ("solve", "solve_columns"):
            return _solver(operation, how, best_of)
        call, amount = _CALLS[operation.kind](operation, how)
        call()
        return best_of(call) / amount


def _settings(words: str) -> tuple[Settings, str]:
    """The settings of Settings.words, and the order of columns."""
    method, export, bits, group, symmetric, activations, rule, flags, order = words.split()
    row = METHOD[method]
    options = MethodOptions(
        method=method,
        export=export,
        bits=int(bits),
        group=int(group) if row.groups else None,
        asymmetric=bool(row.groups) and symmetric == "0" and True in row.symmetric,
        activations=activations.strip("-"),
        range=(rule if rule != "given" else "minmax") if row.ranges else "",
        restricted="r" in flags,
        double_quant="d" in flags,
    )
    return settled(options), order


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def _on(how: How, *shape: int) -> torch.Tensor:
    return _random(*shape).to(how.device)


def _finished(how: How, call: Callable[[], Any]) -> Callable[[], Any]:
    """The call until the device has done it."""
    if how.device == "cpu":
        return call

    def waited() -> None:
        call()
        torch.cuda.synchronize()

    return waited


def _macs(operation: Operation, how: How) -> Timed:
    x, w = _on(how, TOKENS, WIDTH), _on(how, WIDTH, WIDTH)
    return _finished(how, lambda: x @ w), TOKENS * WIDTH**2


def _spread(operation: Operation, how: How) -> Timed:
    x, y = _on(how, TOKENS, WIDTH), _on(how, TOKENS, WIDTH)
    return _finished(how, lambda: torch.nn.functional.silu(x) * y + x), x.numel()


def _squares(operation: Operation, how: How) -> Timed:
    x = _on(how, TOKENS, WIDTH)
    return _finished(how, lambda: x.square().sum(0, dtype=torch.float64)), x.numel()


def _watch(operation: Operation, how: How) -> Timed:
    x, observed = _on(how, TOKENS, WIDTH), Observed(WIDTH)
    return lambda: observed.add(x), x.numel()


def _factor(operation: Operation, how: How) -> Timed:
    x = _on(how, FACTORED, FACTORED)
    moments = x.T @ x / FACTORED
    return _finished(how, lambda: factor(moments)), FACTORED**3


def _solver(operation: Operation, how: How, best_of: BestOf) -> float:
    """A line through the times of a weight in a narrow matrix and in a wide one; its factor is made before."""
    times = []
    for columns in (NARROW, WIDE):
        x = _on(how, 2 * columns, columns)
        inputs = Inputs(x.T @ x / len(x))
        grid, order = _grid(operation.type_name, columns)
        w = (0.02 * _random(ROWS, columns)).numpy()
        setting = Setting(order)
        quantize(w, inputs, grid, setting)
        times.append(best_of(lambda: quantize(w, inputs, grid, setting)) / w.size)  # noqa: B023 - called at once
    slope = max(0.0, (times[1] - times[0]) / (WIDE - NARROW))
    return slope if operation.kind == "solve_columns" else max(0.0, times[0] - slope * NARROW)


def _grid(words: str, columns: int) -> tuple[Grid, Any]:
    if words.startswith("block "):
        _, kind, search, order = words.split()
        return BlockGrid(kind, columns, search), order  # type: ignore[arg-type]  # a level of core.jobs.Fit
    settings, order = _settings(words)
    return IntegerGrid(settings.scheme("F16"), settings.ranges, columns), order


def _weights() -> Floats:
    w: Floats = (0.02 * _random(ROWS, WIDE)).numpy()
    return w


def _round(operation: Operation, how: How) -> Timed:
    settings, _ = _settings(operation.type_name)
    w = _weights()
    if settings.choice.method == "awq":
        x = _random(2 * WIDE, WIDE)
        moments = x.T @ x / len(x)
        return lambda: clipped(w, moments, settings.scheme("F16")), w.size
    return lambda: SOLVERS[settings.choice.method](w, settings, "F16", None), w.size


def _pack(operation: Operation, how: How) -> Timed:
    """What is done to a matrix that is solved: its error, and its arrays."""
    settings, _ = _settings(operation.type_name)
    w = _weights()
    matrix = Matrix("model.layers.0.mlp.up_proj", "F16", (ROWS, WIDE), "float16")
    solver = SOLVERS.get(settings.choice.method, SOLVERS["int"])
    made = solver(w, settings, "F16", None)

    def packed() -> None:
        dispatch.measure(w, made.values())
        LAYOUTS[settings.choice.export].arrays(settings, matrix, made)

    return packed, w.size


_CALLS: dict[str, Callable[[Operation, How], Timed]] = {
    "macs": _macs,
    "spread": _spread,
    "squares": _squares,
    "watch": _watch,
    "factor": _factor,
    "round": _round,
    "pack": _pack,
}

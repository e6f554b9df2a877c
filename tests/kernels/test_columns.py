"""The column loop of GPTQ: compiled and in torch against its specification, and a worked example."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kernels import column_loop
from kernels.cpu import columns as cpu
from kernels.gpu import columns as gpu
from kernels.reference import columns as reference
from tests.kernels import triton_scripts


def case(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights, an upper triangular factor, and the scales and offsets of two groups."""
    chance = np.random.default_rng(seed)
    w = chance.standard_t(5, (rows, columns)).astype(np.float32)
    factor = np.triu(chance.normal(0, 0.2, (columns, columns)), 1) + np.diag(chance.uniform(0.5, 2, columns))
    scales = np.repeat(np.abs(w).max(axis=1, keepdims=True) / 7, 2, axis=1) * np.float32([1, 0.8])
    offsets = chance.normal(0, 0.3, scales.shape)
    return w, factor.astype(np.float32), scales.astype(np.float32), offsets.astype(np.float32)


@pytest.mark.parametrize(("rows", "columns", "count"), [(1, 1, 1), (31, 16, 5), (32, 128, 128), (70, 128, 32)])
@pytest.mark.parametrize("ends", [(-8, 7), (0, 3)])
def test_every_backend_is_the_specification(rows: int, columns: int, count: int, ends: tuple[int, int]) -> None:
    w, factor, scales, offsets = case(rows, columns)
    group_of = np.arange(count) % 2
    wanted = w.copy()
    codes, errors = reference.quantize_columns(wanted, factor, scales, offsets, group_of, ends)
    found = w.copy()
    compiled = cpu.quantize_columns(found, factor, scales, offsets, group_of, ends, threads=2)
    assert np.array_equal(compiled[0], codes)
    assert np.array_equal(compiled[1], errors)
    assert np.array_equal(found[:, count:], wanted[:, count:])
    tensors = [torch.from_numpy(array.copy()) for array in (w, factor, scales, offsets)]
    turned = gpu.quantize_columns(*tensors, group_of, ends)
    assert np.mean(turned[0].numpy() == codes) > 0.999
    if np.array_equal(turned[0].numpy(), codes):
        assert np.allclose(tensors[0].numpy()[:, count:], wanted[:, count:], atol=1e-4)


def test_the_loop_for_each_device() -> None:
    assert column_loop.loop_for("mps") is gpu.quantize_columns
    arrays = case(40, 16)
    codes, errors = reference.quantize_columns(arrays[0].copy(), *arrays[1:], np.zeros(16, np.int64), (-8, 7))
    found = column_loop.quantize_columns(*(torch.from_numpy(a) for a in arrays), np.zeros(16, np.int64), (-8, 7))
    assert np.array_equal(found[0], codes)
    assert np.array_equal(found[1], errors)


INTERPRETED = """
import numpy as np, torch
from kernels.gpu import columns, triton_columns
from tests.kernels.test_columns import case
for rows, count, ends in ((1, 1, (0, 3)), (31, 5, (-8, 7)), (33, 16, (0, 3))):
    arrays, group_of = case(rows, 16), np.arange(count) % 2
    wanted, found = ([torch.from_numpy(array.copy()) for array in arrays] for _ in range(2))
    codes, errors = columns.quantize_columns(*wanted, group_of, ends)
    ours = triton_columns.quantize_columns(*found, group_of, ends)
    assert torch.equal(ours[0], codes)
    assert torch.allclose(ours[1], errors, atol=1e-5)
    assert torch.allclose(found[0][:, count:], wanted[0][:, count:], atol=1e-5)
"""
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kernels.gpu.triton_columns import ROWS, _columns
pointers = {"w": "*fp32", "factor": "*fp32", "scales": "*fp32", "offsets": "*fp32", "group_of": "*i32"}
numbers = dict.fromkeys(("rows", "columns", "count", "groups", "factor_stride"), "i32")
sizes = {"row_count": ROWS, "column_count": 128}
signature = pointers | {"codes": "*i8", "errors": "*fp32"} | numbers | {"lowest": "fp32", "highest": "fp32"}
source = ASTSource(fn=_columns, signature=signature | dict.fromkeys(sizes, "constexpr"), constexprs=sizes)
made = triton.compile(source, target=GPUTarget("cuda", 80, 32))
assert ".local" not in made.asm["ptx"], "the tile of a program does not fit its registers"
"""


@triton_scripts.needs_triton
@pytest.mark.parametrize(("script", "interpreted"), [(INTERPRETED, "1"), (COMPILED, "0")])
def test_triton_is_the_specification(script: str, interpreted: str) -> None:
    """In its interpreter, and compiled for a GPU, which need not be there."""
    triton_scripts.run(script, interpreted)


def test_worked_example() -> None:
    """The example of introductions to GPTQ: 0.5 rounded to 0.3 with h = 0.2 and 0.8, so 0.3 becomes 0.3 + q * 0.8.

    They round 0.5 to 0.297 and print q = 0.203 and 0.4624: (0.5 - 0.297) / 0.2 is 1.015, and what they print left the
    division out. The formulas are what is followed.
    """
    w = np.float32([[0.5, 0.3]])
    factor = np.float32([[0.2, -0.8], [0, 1]])
    scales, offsets = np.float32([[0.297]]), np.zeros((1, 1), np.float32)
    codes, errors = cpu.quantize_columns(w, factor, scales, offsets, np.zeros(1, np.int64), (0, 1))
    assert codes.tolist() == [[1]]
    assert errors[0, 0] == pytest.approx((0.5 - 0.297) / 0.2, rel=1e-5)
    assert w[0, 1] == pytest.approx(0.3 + 1.015 * 0.8, rel=1e-5)

"""Coordinate descent over rounded numbers: every backend against the specification, and what it promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kernels import descent
from kernels.cpu import descent as cpu
from kernels.gpu import descent as gpu
from kernels.reference import descent as reference
from tests.kernels import triton_scripts

ADDED = 0.01
Case = tuple[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray]


def case(rows: int, columns: int, ends: tuple[int, int], seed: int = 0) -> Case:
    """Weights rounded with one step for each of two groups: codes, residual, H with a dead column, added, scales."""
    chance = np.random.default_rng(seed)
    inputs = chance.normal(0, 1, (3 * columns, columns)) @ chance.normal(0, 1, (columns, columns))
    inputs[:, columns // 2] = 0 if columns > 1 else 1
    hessian = (inputs.T @ inputs / len(inputs)).astype(np.float32)
    w = chance.standard_t(5, (rows, columns)).astype(np.float32)
    scales = np.abs(w).max(axis=1, keepdims=True) / ends[1] * np.float32([1, 0.8])
    step = scales[:, np.arange(columns) % 2]
    codes = np.clip(np.rint(w / step), *ends).astype(np.int8)
    return codes, residual_of(w - codes * step, hessian), hessian, ADDED, scales.astype(np.float32)


def residual_of(difference: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    return (difference @ hessian + np.float32(ADDED) * difference).astype(np.float32)


def copied(arrays: Case) -> list[np.ndarray | float]:
    return [part.copy() if isinstance(part, np.ndarray) else part for part in arrays]


def tensors(arrays: Case) -> list[torch.Tensor | float]:
    return [torch.from_numpy(part.copy()) if isinstance(part, np.ndarray) else part for part in arrays]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (31, 16), (70, 150), (300, 256)])
@pytest.mark.parametrize("ends", [(-8, 7), (0, 3)])
def test_every_backend_is_the_specification(rows: int, columns: int, ends: tuple[int, int]) -> None:
    arrays, group_of = case(rows, columns, ends), np.arange(columns) % 2
    wanted, found = copied(arrays), copied(arrays)
    changed = reference.descend(*wanted, group_of, ends)
    assert changed > 0 or columns == 1
    assert cpu.descend(*found, group_of, ends, threads=2) == changed
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])
    turned = tensors(arrays)
    gpu.descend(*turned, group_of, ends)
    assert np.mean(turned[0].numpy() == wanted[0]) > 0.999
    if np.array_equal(turned[0].numpy(), wanted[0]):
        assert np.allclose(turned[1].numpy(), wanted[1], atol=1e-3 * np.abs(arrays[1]).max())


def test_the_error_falls_with_every_pass_until_no_code_alone_can_do_better() -> None:
    ends, group_of = (-4, 3), np.arange(48) % 2
    codes, residual, hessian, added, scales = case(20, 48, ends)
    step = scales[:, group_of]
    full = hessian + added * np.eye(48, dtype=np.float32)
    w = codes * step + np.linalg.solve(full.astype(np.float64), residual.T.astype(np.float64)).T
    errors = [error(w - codes * step, full)]
    while cpu.descend(codes, residual, hessian, added, scales, group_of, ends):
        errors.append(error(w - codes * step, full))
        assert np.allclose(residual, (w - codes * step) @ full, atol=2e-2)
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert len(errors) > 2
    for j in (0, 7, 40):
        for other in (-1, 1):
            moved = codes.astype(np.int64)
            moved[:, j] = np.clip(moved[:, j] + other, *ends)
            assert error(w - moved * step, full) >= errors[-1] * (1 - 1e-5)


def error(difference: np.ndarray, full: np.ndarray) -> float:
    return float(((difference @ full) * difference).sum())


def test_a_column_that_no_input_reaches_stays() -> None:
    codes, residual, hessian, added, scales = case(20, 16, (-8, 7))
    before = codes.copy()
    residual[:, 8] = 1e6
    for backend in (reference.descend, cpu.descend):
        backend(codes, residual, hessian, added, scales, np.arange(16) % 2, (-8, 7))
        assert np.array_equal(codes[:, 8], before[:, 8])


def test_the_way_for_each_device() -> None:
    assert descent.descend_for("mps") is gpu.descend
    arrays, group_of = case(40, 16, (-8, 7)), np.arange(16) % 2
    wanted, found = copied(arrays), tensors(arrays)
    assert descent.descend_for("cpu")(*found, group_of, (-8, 7)) == reference.descend(*wanted, group_of, (-8, 7))
    assert np.array_equal(found[0].numpy(), wanted[0])


INTERPRETED = """
import numpy as np, torch
from kernels.gpu import descent, triton_descent
from tests.kernels.test_descent import case, tensors
for rows, columns, ends in ((1, 1, (0, 3)), (31, 5, (-8, 7)), (33, 16, (0, 3))):
    arrays, group_of = case(rows, columns, ends), np.arange(columns) % 2
    wanted, found = tensors(arrays), tensors(arrays)
    changed = descent.descend(*wanted, group_of, ends)
    assert triton_descent.descend(*found, group_of, ends) == changed
    assert torch.equal(found[0], wanted[0])
    assert torch.allclose(found[1], wanted[1], rtol=1e-4, atol=1e-4)
"""
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kernels.gpu.triton_descent import ROWS, _within
pointers = {"codes": "*i8", "residual": "*fp32", "hessian": "*fp32", "shares": "*fp32", "scales": "*fp32"}
numbers = dict.fromkeys(("rows", "columns", "groups"), "i32")
sizes = {"row_count": ROWS, "column_count": 128}
signature = pointers | {"group_of": "*i32", "moved": "*fp32"} | numbers | {"lowest": "fp32", "highest": "fp32"}
source = ASTSource(fn=_within, signature=signature | dict.fromkeys(sizes, "constexpr"), constexprs=sizes)
made = triton.compile(source, target=GPUTarget("cuda", 80, 32))
assert ".local" not in made.asm["ptx"], "the tile of a program does not fit its registers"
"""


@triton_scripts.needs_triton
@pytest.mark.parametrize(("script", "interpreted"), [(INTERPRETED, "1"), (COMPILED, "0")])
def test_triton_is_the_specification(script: str, interpreted: str) -> None:
    """In its interpreter, and compiled for a GPU, which need not be there."""
    triton_scripts.run(script, interpreted)

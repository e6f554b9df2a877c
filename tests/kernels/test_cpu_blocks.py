"""The compiled kernels against ggml, byte for byte: every search with importance, and scales of every magnitude."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from kernels.codecs import CODECS, Codec
from kernels.cpu import parallel
from tests import ggml_oracle
from tests.kernels import samples

needs_ggml = pytest.mark.skipif(not ggml_oracle.available(), reason="ggml's functions are not installed")
COMPILED = [row for row in CODECS.values() if "cpu" in row.backends]
LANE_MODULES = ("kquants_small", "nonlinear", "ternary", "microscaling")
EXACT = [row for row in COMPILED if row.module in LANE_MODULES]
# The types of grids have tests of their own.
WEIGHTED = [row for row in COMPILED if row.importance == "used" and "cpu" in row.weighted and row.module[:2] != "iq"]
ROW = 768  # three super-blocks, so that batches of sixteen blocks begin anywhere in a row
by_name = {"ids": lambda row: row.format.name}


def encoder(row: Codec):
    return getattr(importlib.import_module(f"kernels.cpu.{row.module}"), row.encode)


def importance() -> np.ndarray:
    random = np.random.default_rng(8)
    return (random.gamma(0.5, 1.0, ROW) ** 2).astype(np.float32)


def rows(distribution: str) -> np.ndarray:
    values = samples.weights(distribution)[: 1 << 17]
    return values[: values.size // ROW * ROW].reshape(-1, ROW)


def share_of_equal_blocks(row: Codec, x: np.ndarray, weights: np.ndarray | None) -> float:
    """How many blocks of rows are those of ggml."""
    elements, size = row.format.elements, row.format.bytes
    theirs = ggml_oracle.quantize_chunk(row.format.name, x, weights).reshape(-1, size)
    options = {} if weights is None else {"importance": weights.reshape(-1, elements)}
    ours = encoder(row)(np.ascontiguousarray(x).reshape(-1, elements), **options)
    return float((ours == theirs).all(axis=1).mean())


@needs_ggml
@pytest.mark.parametrize("distribution", ["normal", "student-t 3", "real"])
@pytest.mark.parametrize("row", EXACT, **by_name)
def test_blocks_are_those_of_ggml(row, distribution):
    assert share_of_equal_blocks(row, rows(distribution), None) >= 0.999


@needs_ggml
@pytest.mark.parametrize("distribution", ["normal", "student-t 3", "real"])
@pytest.mark.parametrize("row", WEIGHTED, **by_name)
def test_weighted_blocks_are_those_of_ggml(row, distribution):
    assert share_of_equal_blocks(row, rows(distribution), importance()) >= 0.999


@needs_ggml
@pytest.mark.parametrize("row", [row for row in EXACT if row.importance == "ignored"], **by_name)
def test_blocks_of_every_magnitude_are_those_of_ggml(row):
    random = np.random.default_rng(9)
    elements = row.format.elements
    scales = np.exp2(random.uniform(-24, 40, (2000, 1)))
    x = (random.uniform(-1, 1, (2000, elements)) * scales).astype(np.float32)
    x[:100, 0] = np.exp2(random.integers(-14, 15, 100))  # powers of two, and the floats on either side of them
    x[100:200, 0] = np.nextafter(x[:100, 0], np.float32(np.inf))
    x[200:300, 0] = np.nextafter(x[:100, 0], np.float32(0))
    np.testing.assert_array_equal(encoder(row)(x), ggml_oracle.encode(row.format.name, x))


@pytest.mark.parametrize("row", WEIGHTED, **by_name)
def test_threads_and_number_of_rows_do_not_change_a_weighted_byte(row, monkeypatch):
    monkeypatch.setattr(parallel, "MIN_ELEMENTS_PER_TASK", 1 << 10)
    elements = row.format.elements
    x = samples.weights("normal")[: 11 * ROW].reshape(-1, elements)
    weights = importance().reshape(-1, elements)
    blocks = encoder(row)(x, weights, threads=1)
    for threads in (0, 2, 5):
        np.testing.assert_array_equal(encoder(row)(x, weights, threads=threads), blocks)
    per_row = len(weights)
    for count in (0, 1, 3):
        np.testing.assert_array_equal(encoder(row)(x[: count * per_row], weights), blocks[: count * per_row])


@pytest.mark.parametrize("row", WEIGHTED, **by_name)
def test_importance_of_zero_and_not_finite_weights_leave_other_rows_alone(row):
    elements = row.format.elements
    x = samples.weights("normal")[: 3 * ROW].reshape(3, ROW).copy()
    weights = importance().reshape(-1, elements)
    expected = encoder(row)(x.reshape(-1, elements), weights).reshape(3, -1)
    for value in (np.nan, np.inf, -3e38, 1e-40):
        x[1] = value
        blocks = encoder(row)(x.reshape(-1, elements), weights).reshape(3, -1)
        np.testing.assert_array_equal(blocks[[0, 2]], expected[[0, 2]])
    assert encoder(row)(x.reshape(-1, elements), np.zeros_like(weights)).shape == (x.size // elements, row.format.bytes)


@pytest.mark.parametrize("row", WEIGHTED, **by_name)
def test_importance_of_another_shape_is_refused(row):
    elements = row.format.elements
    x = np.zeros((4, elements), np.float32)
    for shape in ((3, elements), (elements,), (2, elements + 1)):
        with pytest.raises(ValueError, match="whole rows"):
            encoder(row)(x, np.ones(shape, np.float32))

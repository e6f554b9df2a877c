"""The level "best" of the types of uneven levels: no block is worse than by the fast search, many are much better."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from kernels import dispatch
from kernels.codecs import BACKENDS, CODECS, UNEVEN_LEVELS
from kernels.reference import best_levels
from tests.kernels import samples

ROW = 512
# Sums of another order, in single precision, may call two errors equal that differ by so much.
EQUAL = 1 + 1e-5
TOLERANCE = 1e-3
# The error on normal weights, as a part of that of the fast search, at most: without importance and with it.
ERRORS = {
    "IQ4_NL": (0.96, 0.98),
    "IQ4_XS": (0.96, 0.98),
    "TQ1_0": (0.35, 0.35),
    "TQ2_0": (0.35, 0.35),
    "MXFP4": (0.97, 0.99),
    "NVFP4": (0.9, 0.9),
    "Q1_0": (1.0, 0.99),
    "Q2_0": (0.35, 0.35),
}
every_case = pytest.mark.parametrize(
    ("name", "backend", "weighted"),
    [(name, backend, weighted) for name in UNEVEN_LEVELS for backend in BACKENDS for weighted in (False, True)],
)


@functools.cache
def rows() -> tuple[np.ndarray, dict[str, slice]]:
    """A few rows of every distribution and every edge, and where each lies."""
    parts = {name: samples.weights(name)[: 16 * ROW].reshape(-1, ROW) for name in samples.DISTRIBUTIONS}
    parts |= {name: samples.edge(name)[:2] for name in samples.EDGES}
    ends = np.cumsum([len(part) for part in parts.values()])
    return np.concatenate(list(parts.values())), {
        name: slice(end - len(part), end) for (name, part), end in zip(parts.items(), ends, strict=True)
    }


@functools.cache
def importance() -> np.ndarray:
    """Importance as models have it: within an order of magnitude but for a few columns."""
    rng = np.random.default_rng(6)
    means = np.exp(rng.normal(0, 0.6, ROW)) * np.where(rng.random(ROW) < 0.01, 50, 1)
    return means.astype(np.float32)


@functools.cache
def encoded(name: str, backend: str, weighted: bool, fit: str) -> np.ndarray:
    return dispatch.encode(name, rows()[0], importance=importance() if weighted else None, fit=fit, backend=backend)


def values(name: str, data: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return dispatch.decode(name, data, ROW, backend="reference")


def errors(name: str, data: np.ndarray, weighted: bool) -> np.ndarray:
    """What the search minimises of every block, (rows, blocks)."""
    size = CODECS[name].format.elements
    searched = "IQ4_NL" if name == "IQ4_XS" else name
    x = rows()[0].reshape(-1, size)
    with np.errstate(all="ignore"):
        w = best_levels.error_weights(searched, x, importance().reshape(-1, size) if weighted else None)
        return best_levels.block_errors(x, w, values(name, data).reshape(-1, size)).reshape(len(rows()[0]), -1)


@every_case
def test_no_block_is_worse_than_by_the_fast_search(name, backend, weighted):
    fast, best = (errors(name, encoded(name, backend, weighted, fit), weighted) for fit in ("fast", "best"))
    known = np.isfinite(fast)
    assert (best[known] <= fast[known] * EQUAL).all(), np.argwhere(known & (best > fast * EQUAL))[:5]
    assert np.isfinite(best[known]).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backend", BACKENDS[1:])
@pytest.mark.parametrize("name", UNEVEN_LEVELS)
def test_other_backends_are_as_good_as_the_specification(name, backend, weighted):
    ours, specified = (errors(name, encoded(name, of, weighted, "best"), weighted) for of in (backend, "reference"))
    for label, span in rows()[1].items():
        if label in samples.DISTRIBUTIONS:
            assert ours[span].sum() == pytest.approx(specified[span].sum(), rel=TOLERANCE), label


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", UNEVEN_LEVELS)
def test_it_is_worth_its_time(name, weighted):
    fast, best = (errors(name, encoded(name, "cpu", weighted, fit), weighted) for fit in ("fast", "best"))
    span = rows()[1]["normal"]
    assert best[span].sum() <= ERRORS[name][weighted] * fast[span].sum()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0", "Q2_0"])
def test_ternary_weights_are_kept(name, backend):
    x = np.random.default_rng(1).integers(-1, 2, (4, ROW)).astype(np.float32) * np.float32(0.0234375)
    data = dispatch.encode(name, x, importance=importance(), fit="best", backend=backend)
    assert np.array_equal(values(name, data), x)


@pytest.mark.parametrize("name", UNEVEN_LEVELS)
def test_rows_and_threads_make_no_difference(name, monkeypatch):
    monkeypatch.setattr("kernels.cpu.parallel.MIN_ELEMENTS_PER_TASK", 1 << 10)
    x = rows()[0][:9]
    for means in (None, importance()):
        whole = dispatch.encode(name, x, importance=means, fit="best", backend="cpu", threads=1)
        several = dispatch.encode(name, x, importance=means, fit="best", backend="cpu", threads=3)
        by_row = [dispatch.encode(name, row[None], importance=means, fit="best", backend="cpu") for row in x]
        assert np.array_equal(whole, several)
        assert np.array_equal(whole, np.concatenate(by_row))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", UNEVEN_LEVELS)
def test_no_rows_are_no_bytes(name, backend):
    data = dispatch.encode(name, np.empty((0, ROW), np.float32), fit="best", backend=backend)
    assert data.shape == (0, CODECS[name].format.row_bytes(ROW))

"""The level "best" of the types of uniform steps: no block is worse than by the fast search, on any backend."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from kernels import dispatch
from kernels.best_search import SCALE_SEARCHES, SPREADS, TRIM_SEARCHES, WINDOW_SEARCHES
from kernels.codecs import CODECS, FITS
from tests.kernels import samples

ROW = 512
NAMES = (*SCALE_SEARCHES, *TRIM_SEARCHES, *WINDOW_SEARCHES)
BACKENDS = ("reference", "cpu", "gpu")
# Sums of another order, in single precision, may call two errors equal that differ by so much.
EQUAL = 1 + 1e-5
# How much of its total error a backend may differ from the specification by.
TOLERANCE = 1e-3
# What is gained at least against the fast search, with importance, on normal weights: a share of the error.
GAINS = {"Q4_0": 0.02, "Q5_0": 0.05, "Q8_0": 0.2, "Q4_1": 0.02, "Q5_1": 0.05}
GAINS |= {"Q2_K": 0.03, "Q3_K": 0.02, "Q4_K": 0.03, "Q5_K": 0.07, "Q6_K": 0.08}


@functools.cache
def rows() -> tuple[np.ndarray, dict[str, slice]]:
    """A few rows of every distribution and every edge, and where each lies."""
    parts = {name: samples.weights(name)[: 24 * ROW].reshape(-1, ROW) for name in samples.DISTRIBUTIONS}
    parts |= {name: samples.edge(name)[:3] for name in samples.EDGES}
    ends = np.cumsum([len(part) for part in parts.values()])
    spans = {name: slice(end - len(part), end) for (name, part), end in zip(parts.items(), ends, strict=True)}
    return np.concatenate(list(parts.values())), spans


@functools.cache
def importance() -> np.ndarray:
    """Importance as models have it: within an order of magnitude but for a few columns."""
    rng = np.random.default_rng(6)
    means = np.exp(rng.normal(0, 0.6, ROW)) * np.where(rng.random(ROW) < 0.01, 50, 1)
    means[::37] = 0
    return means.astype(np.float32)


@functools.cache
def encoded(name: str, backend: str, weighted: bool, fit: str) -> np.ndarray:
    """All rows as a backend encodes them."""
    means = importance() if weighted else None
    return dispatch.encode(name, rows()[0], importance=means, fit=fit, backend=backend)


def decoded(name: str, data: np.ndarray) -> np.ndarray:
    """Values in float64 by the specification."""
    with np.errstate(all="ignore"):
        return dispatch.decode(name, data, ROW, backend="reference").astype(np.float64)


def errors(name: str, data: np.ndarray, weighted: bool) -> np.ndarray:
    """What the search minimises, in float64: Σ w·(x - y)² of every block, (rows, blocks)."""
    size = CODECS[name].format.elements
    x = rows()[0].astype(np.float64)
    means = importance().astype(np.float64) if weighted else np.ones(ROW)
    span = ROW if size == 32 and weighted else size
    spread = SPREADS.get(name, 1.0) * np.square(x).reshape(len(x), -1, span).mean(axis=2).repeat(span, axis=1)
    w = means if name == "Q6_K" and weighted else means * np.sqrt(spread + x * x)
    with np.errstate(all="ignore"):
        return (w * np.square(x - decoded(name, data))).reshape(len(x), -1, size).sum(axis=2)


every_twin = pytest.mark.parametrize(
    ("name", "backend", "weighted"),
    [(name, backend, weighted) for name in NAMES for backend in BACKENDS for weighted in (False, True)],
)


@every_twin
def test_no_block_is_worse_than_by_the_fast_search(name, backend, weighted):
    fast, best = (errors(name, encoded(name, backend, weighted, fit), weighted) for fit in ("fast", "best"))
    known = np.isfinite(fast)
    assert (best[known] <= fast[known] * EQUAL).all(), np.argwhere(known & (best > fast * EQUAL))[:5]


@every_twin
def test_what_can_be_decoded_stays_so(name, backend, weighted):
    fast, best = (decoded(name, encoded(name, backend, weighted, fit)) for fit in ("fast", "best"))
    assert np.isfinite(best[np.isfinite(fast)]).all()


@pytest.mark.parametrize(("name", "backend"), [(name, backend) for name in NAMES for backend in BACKENDS[1:]])
@pytest.mark.parametrize("weighted", [False, True])
def test_backends_agree_with_the_specification(name, backend, weighted):
    ours, specified = (errors(name, encoded(name, of, weighted, "best"), weighted) for of in (backend, "reference"))
    for label, span in rows()[1].items():
        if label in samples.DISTRIBUTIONS:
            assert ours[span].sum() == pytest.approx(specified[span].sum(), rel=TOLERANCE), label


@pytest.mark.parametrize("name", NAMES)
def test_it_is_worth_its_time(name):
    fast, best = (errors(name, encoded(name, "cpu", True, fit), True) for fit in ("fast", "best"))
    span = rows()[1]["normal"]
    assert best[span].sum() < (1 - GAINS[name]) * fast[span].sum()


@pytest.mark.parametrize("name", NAMES)
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
@pytest.mark.parametrize("name", NAMES)
def test_no_rows_are_no_bytes(name, backend):
    for fit in FITS:
        if backend in CODECS[name].at(fit).backends:
            data = dispatch.encode(name, np.empty((0, ROW), np.float32), fit=fit, backend=backend)
            assert data.shape == (0, CODECS[name].format.row_bytes(ROW))


@pytest.mark.parametrize("backend", BACKENDS)
def test_importance_counts_in_q8_0_too(backend):
    plain, weighted = (errors("Q8_0", encoded("Q8_0", backend, use, "best"), True) for use in (False, True))
    span = rows()[1]["normal"]
    assert weighted[span].sum() < 0.99 * plain[span].sum()

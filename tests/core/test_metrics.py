"""Figures against numpy on real arrays, and where a figure does not exist."""

from __future__ import annotations

import numpy as np
import pytest

from core.metrics import figures
from kernels.measure import ErrorSums
from kernels.reference.measure import measure


def noisy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8, 256)).astype(np.float32)
    return x, x + rng.normal(0, 0.05, x.shape).astype(np.float32)


def test_figures_equal_their_definitions():
    x, y = noisy(1)
    found = figures(measure(x, y))
    error = x.astype(float) - y
    assert found.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found.relative_rmse == pytest.approx(np.linalg.norm(error) / np.linalg.norm(x.astype(float)))
    assert found.snr_db == pytest.approx(10 * np.log10(np.sum(x.astype(float) ** 2) / np.sum(error**2)))
    assert found.max_error == pytest.approx(np.abs(error).max())
    assert found.cosine == pytest.approx(np.sum(x.astype(float) * y) / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)


def test_chunks_add_up_to_the_whole():
    x, y = noisy(2)
    whole = figures(measure(x, y))
    parts = figures(measure(x[:3], y[:3]) + measure(x[3:], y[3:]))
    assert parts.model_dump() == pytest.approx(whole.model_dump())


def test_no_error_has_no_snr_and_cosine_one():
    x, _ = noisy(3)
    found = figures(measure(x, x))
    assert (found.rmse, found.relative_rmse, found.snr_db, found.max_error) == (0, 0, None, 0)
    assert found.cosine == pytest.approx(1)
    assert found.cosine <= 1


def test_zero_source():
    zeros, ones = np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32)
    same, wrong = figures(measure(zeros, zeros)), figures(measure(zeros, ones))
    assert (same.relative_rmse, same.snr_db, same.cosine) == (0, None, None)
    assert (wrong.relative_rmse, wrong.rmse, wrong.cosine) == (1, 1, None)


def test_nothing_measured():
    assert figures(ErrorSums()).rmse == 0

"""What is counted of activations, and static ranges from it, against the numbers themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.methods.activations import BINS, RULES, Observed, static_range
from core.methods.linear import Scheme, grid
from core.methods.table import TENSOR

SYMMETRIC = Scheme(8, TENSOR)
ASYMMETRIC = Scheme(8, TENSOR, symmetric=False)


def activations(seed: int = 0) -> np.ndarray:
    """Tokens (1200, 40) that lie to one side, of which every hundredth has some outliers."""
    chance = np.random.default_rng(seed)
    x = chance.gamma(2.0, 0.5, (1200, 40)) - 0.5
    x[::100, 7] *= 12
    return x.astype(np.float32)


def observed(x: np.ndarray, batch: int = 100) -> Observed:
    found = Observed(x.shape[1])
    for first in range(0, len(x), batch):
        found.add(torch.from_numpy(x[first : first + batch]))
    return found


def error(x: np.ndarray, ends: tuple[float, float], scheme: Scheme) -> float:
    scale, zero = (values[0] for values in grid(np.float32([ends[0]]), np.float32([ends[1]]), scheme))
    codes = np.clip(np.rint(x / scale) + zero, scheme.lowest, scheme.highest)
    return float((((codes - zero) * scale - x).astype(np.float64) ** 2).mean())


def test_extremes_and_columns_are_exact() -> None:
    x = activations()
    found = observed(x)
    assert (found.low, found.high) == (x.min(), x.max())
    assert found.tokens == len(x)
    np.testing.assert_array_equal(found.largest, np.abs(x).max(axis=0))
    np.testing.assert_allclose(found.mean_magnitudes, np.abs(x).mean(axis=0), rtol=1e-5)


def test_steps_widen_around_zero() -> None:
    """Small numbers first, then larger ones: nothing is lost, and the percentiles are as fine as the steps."""
    x = np.concatenate([activations() / 50, activations()])
    found = observed(x)
    assert found.counts.sum() == x.size
    assert found.reach >= np.abs(x).max() > found.reach / 2
    for percent in (0.1, 1, 50, 99, 99.9):
        low, high = np.percentile(x, (percent - 0.01, percent + 0.01))
        step = 2 * found.reach / BINS
        assert low - step <= found.percentile(percent) <= high + step
    assert (found.percentile(0), found.percentile(100)) == (x.min(), x.max())


def test_many_columns_are_counted_in_part_and_evenly() -> None:
    """First positions are one in 64 tokens, and one in 64 of those that are counted."""
    x = np.full((64 * 64, 4096), 0.5, np.float32)
    x[::64] = 8.0
    found = observed(x, batch=256)
    assert 0 < found.counts.sum() < x.size / 2
    share = found.counts[found.middles > 4].sum() / found.counts.sum()
    assert share == pytest.approx(1 / 64, rel=0.3)


@pytest.mark.parametrize("scheme", [SYMMETRIC, ASYMMETRIC], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("rule", RULES)
def test_ranges(rule: str, scheme: Scheme) -> None:
    x = activations()
    low, high = static_range(observed(x), rule, scheme, 99.9)
    assert x.min() * 1.01 <= low < 0 < high <= x.max() * 1.01 or scheme.symmetric
    assert max(-low, high) <= np.abs(x).max() * 1.01
    if rule == "minmax":
        assert (low, high) == (x.min(), x.max())
    else:
        assert max(-low, high) < np.abs(x).max()


def test_the_search_by_error_is_the_best() -> None:
    x = activations()
    found = observed(x)
    for scheme in (SYMMETRIC, ASYMMETRIC):
        errors = {rule: error(x, static_range(found, rule, scheme, 99.9), scheme) for rule in RULES}
        assert errors["mse"] <= 1.02 * min(errors.values())
    one_sided = [error(x, static_range(found, "mse", scheme), scheme) for scheme in (SYMMETRIC, ASYMMETRIC)]
    assert one_sided[1] < 0.6 * one_sided[0], "a zero point is worth nearly a bit where all is on one side"


def test_percentile_is_that_of_magnitudes() -> None:
    x = activations()
    _, high = static_range(observed(x), "percentile", SYMMETRIC, 99.0)
    assert high == pytest.approx(np.percentile(np.abs(x), 99.0), abs=float(6 * np.abs(x).max() / BINS))


def test_zeros_alone() -> None:
    found = observed(np.zeros((4, 3), np.float32))
    assert static_range(found, "mse", SYMMETRIC) == (0.0, 0.0)
    assert found.percentile(50) == 0

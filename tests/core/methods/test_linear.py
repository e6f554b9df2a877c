"""Linear integers: the worked examples of introductions to quantization to the digit, and the orders that must hold."""

from __future__ import annotations

import numpy as np
import pytest

from core.methods.linear import Scheme, grid
from core.methods.ranges import (
    HISTOGRAM_BINS,
    RULES,
    SMOOTHING,
    THRESHOLDS,
    RangeSetting,
    entropy_thresholds,
    quantize,
    thresholds_of,
)
from core.methods.table import CHANNEL, TENSOR
from kernels.reference.scales import rounded


def skewed(rows: int = 24, columns: int = 256, seed: int = 0) -> np.ndarray:
    """Rows that lie to one side of 0, with a few outliers, each row of another size."""
    chance = np.random.default_rng(seed)
    w = chance.gamma(2.0, 0.02, (rows, columns)) - 0.02
    w[chance.random(w.shape) < 0.004] *= 6
    return (w * chance.uniform(0.3, 3, (rows, 1))).astype(np.float32)


def error(w: np.ndarray, scheme: Scheme, rule: str = "minmax", importance: np.ndarray | None = None) -> float:
    difference = w - quantize(w, scheme, RangeSetting(rule), importance).values()
    return float(((1 if importance is None else importance) * difference.astype(np.float64) ** 2).sum())


def test_symmetric_example() -> None:
    """The scale s = 127 / 10.8 = 11.76 for a largest magnitude of 10.8."""
    made = quantize(np.array([[10.8, -7.59, 0.0, 5.47]], np.float32), Scheme(8, full_range=False), RangeSetting())
    assert 1 / made.scales[0, 0] == pytest.approx(127 / 10.8, rel=1e-6)
    assert round(float(1 / made.scales[0, 0]), 2) == 11.76
    assert made.codes.tolist() == [[127, -89, 0, 64]]


def test_asymmetric_example() -> None:
    """[-7.59, 10.8] in 8 bits: s = 255 / 18.39 = 13.87 (printed cut off, as 13.86), zero point -23."""
    scales, zeros = grid(np.float32([-7.59]), np.float32([10.8]), Scheme(8, symmetric=False))
    assert 1 / scales[0] == pytest.approx(255 / 18.39, rel=1e-6)
    assert int(100 / scales[0]) / 100 == 13.86
    assert zeros[0] == -23


def test_second_asymmetric_example() -> None:
    """The scale s is 6.8763, z is 40. The codes printed there (-100, 41, 86) are not what its round(s w + z) gives."""
    w = np.array([[-24.43, -17.4, 1.2345, 12.654]], np.float32)
    made = quantize(w, Scheme(8, symmetric=False), RangeSetting())
    assert round(float(1 / made.scales[0, 0]), 4) == 6.8763
    assert made.zeros[0, 0] == 40
    assert made.codes.tolist() == [[-128, -80, 48, 127]]


def test_range_by_hand() -> None:
    """A range of [-5, 5]: everything outside becomes -127 or 127."""
    w = np.array([[10.8, -7.59, 5.0, 1.0, 0.0]], np.float32)
    made = quantize(w, Scheme(8, full_range=False), RangeSetting("given", low=-5, high=5))
    assert made.codes.tolist() == [[127, -127, 127, 25, 0]]


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [TENSOR, CHANNEL, 16, 32, 64, 128, 256])
def test_codes_and_error_stay_in_bounds(bits: int, symmetric: bool, group: int) -> None:
    w = skewed()
    scheme = Scheme(bits, group, symmetric)
    made = quantize(w, scheme, RangeSetting())
    assert made.codes.min() >= scheme.lowest
    assert made.codes.max() <= scheme.highest
    assert made.scales.shape == made.zeros.shape == scheme.scale_shape(*w.shape)
    step = np.repeat(made.scales, w.shape[1] // made.scales.shape[1], axis=1)
    assert np.all(np.abs(w - made.values()) <= step * 0.501)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_orders_that_must_hold(bits: int) -> None:
    w = skewed()
    by_group = [error(w, Scheme(bits, group)) for group in (32, CHANNEL, TENSOR)]
    assert by_group == sorted(by_group)
    assert error(w, Scheme(bits, 64, symmetric=False)) < error(w, Scheme(bits, 64))
    if bits <= 4:
        assert error(w, Scheme(bits, 64), "mse") < error(w, Scheme(bits, 64))
        assert error(w, Scheme(bits, TENSOR), "percentile") < error(w, Scheme(bits, TENSOR))
        assert error(w, Scheme(bits, TENSOR), "entropy") < error(w, Scheme(bits, TENSOR))


@pytest.mark.parametrize("group", [TENSOR, CHANNEL, 64])
def test_importance_lowers_the_weighted_error(group: int) -> None:
    w = skewed()
    importance = np.random.default_rng(1).lognormal(0, 2, w.shape[1]).astype(np.float32)
    scheme = Scheme(3, group, symmetric=False)
    weighted = float(
        (importance * (w - quantize(w, scheme, RangeSetting("mse"), importance).values()).astype(np.float64) ** 2).sum()
    )
    plain = float((importance * (w - quantize(w, scheme, RangeSetting("mse")).values()).astype(np.float64) ** 2).sum())
    assert weighted < plain


@pytest.mark.parametrize("group", [TENSOR, CHANNEL, 64])
@pytest.mark.parametrize("symmetric", [True, False])
def test_where_importance_is_not_known_large_weights_are_cut_off_less(group: int, symmetric: bool) -> None:
    w = np.random.default_rng(2).standard_t(4, (8, 256)).astype(np.float32)
    scheme = Scheme(4, group, symmetric)
    alike = np.ones(w.shape[1], np.float32)
    largest = np.abs(w) > 0.7 * np.abs(w).max()

    def loss(importance: np.ndarray | None) -> float:
        made = quantize(w, scheme, RangeSetting("mse"), importance).values()
        return float(np.square(made - w)[largest].sum())

    assert loss(None) < loss(alike)


@pytest.mark.parametrize("rule", [name for name in RULES if name != "given"])
@pytest.mark.parametrize("fill", [0.0, 1e-30, 0.7, -3.0])
def test_constant_rows(rule: str, fill: float) -> None:
    w = np.full((2, 64), fill, np.float32)
    for symmetric in (True, False):
        values = quantize(w, Scheme(8, CHANNEL, symmetric, full_range=False), RangeSetting(rule)).values()
        assert np.allclose(values, w, rtol=1e-2, atol=1e-29)


@pytest.mark.parametrize(("kind", "bits"), [("F16", 10), ("BF16", 7)])
def test_scales_are_what_their_type_can_hold(kind: str, bits: int) -> None:
    made = quantize(skewed(), Scheme(4, 32, scale_type=kind), RangeSetting())
    assert np.array_equal(rounded(made.scales, kind), made.scales)
    mantissa = np.frexp(made.scales)[0] * 2.0 ** (bits + 1)
    assert np.array_equal(mantissa, np.rint(mantissa))


def test_tiny_scales_stay_positive() -> None:
    made = quantize(np.full((1, 32), 1e-9, np.float32), Scheme(4, 32, scale_type="F16"), RangeSetting())
    assert np.isfinite(made.values()).all()


def test_groups_must_divide() -> None:
    with pytest.raises(ValueError, match="96 weights"):
        quantize(np.zeros((2, 96), np.float32), Scheme(4, 64), RangeSetting())


def test_entropy_cuts_outliers_off() -> None:
    x = np.abs(np.random.default_rng(3).normal(size=(1, 20000))).astype(np.float32)
    x[0, :3] = 40.0
    assert entropy_thresholds(x, 8)[0] < 20


def divergence(counts: np.ndarray, end: int, levels: int) -> float:
    """Of one histogram, bin by bin: the rest goes into the last bin, the copy spreads each step over what is filled."""
    cut = counts[:end].astype(float)
    cut[-1] += counts[end:].sum()
    copy = np.zeros(end)
    for step in range(levels):
        inside = np.arange(end) * levels // end == step
        filled = inside & (counts[:end] > 0)
        if filled.any():
            copy[filled] = counts[:end][inside].sum() / filled.sum()
    p, q = (part + SMOOTHING for part in (cut, copy))
    return float((p / p.sum() * np.log(p / p.sum() / (q / q.sum()))).sum())


@pytest.mark.parametrize("levels", [2, 8, 128])
@pytest.mark.parametrize("n", [16, 576, 20000])
def test_entropy_is_that_of_the_histograms_bin_by_bin(n: int, levels: int) -> None:
    random = np.random.default_rng(4)
    x = np.abs(random.standard_t(4, (3, n))).astype(np.float32)
    x[0] = 1.0
    tops = x.max(axis=1)
    counts = np.array([np.histogram(row, HISTOGRAM_BINS, (0, top))[0] for row, top in zip(x, tops, strict=True)])
    ends = np.unique(np.linspace(max(levels, HISTOGRAM_BINS // THRESHOLDS), HISTOGRAM_BINS, THRESHOLDS).astype(int))
    least = [min(ends, key=lambda end, row=row: divergence(row, end, levels)) for row in counts]
    assert np.allclose(thresholds_of(counts, tops, levels), np.array(least) / HISTOGRAM_BINS * tops, rtol=1e-6)
    assert np.allclose(entropy_thresholds(x, levels), thresholds_of(counts, tops, levels), rtol=1e-6)

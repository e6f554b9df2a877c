"""AWQ and SmoothQuant on arrays: scales protect what meets large activations, and cut ranges lose less."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.methods import awq, smoothquant
from core.methods.gptq import loss
from core.methods.linear import Scheme
from core.methods.ranges import RangeSetting, quantize

WHOLE = RangeSetting("minmax")
FOUR_BITS = Scheme(4, 32, symmetric=False)


def inputs(columns: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Weights, activations of which a few columns are twenty times as large, and their moments."""
    chance = np.random.default_rng(seed)
    x = chance.normal(0, 1, (512, columns)) * np.where(np.arange(columns) % 17 == 3, 20, 1)
    w = chance.normal(0, 0.05, (48, columns)).astype(np.float32)
    x = x.astype(np.float32)
    return w, x, torch.from_numpy(x.T @ x / len(x))


def rounded(w: np.ndarray, scheme: Scheme = FOUR_BITS) -> np.ndarray:
    return quantize(w, scheme, WHOLE).values()


@pytest.mark.parametrize("scheme", [FOUR_BITS, Scheme(3, -1), Scheme(8, 0), Scheme(4, 16, symmetric=False)])
def test_plain_rounding_is_that_of_integers(scheme: Scheme) -> None:
    w, _, _ = inputs()
    np.testing.assert_array_equal(awq.plain(w, scheme), rounded(w, scheme))


def problem(realized=lambda scales: scales, channel_of: np.ndarray | None = None) -> awq.Problem:
    w, x, moments = inputs()
    channels = np.arange(len(moments)) if channel_of is None else channel_of
    return awq.Problem([awq.Consumer(w, rounded)], moments, np.abs(x).mean(axis=0), channels, realized)


def test_scales_lower_the_error_they_say() -> None:
    asked = problem()
    found = awq.search(asked)
    w, moments = asked.consumers[0].w, asked.moments
    assert found.plain_loss == pytest.approx(loss(w - rounded(w), moments) / loss(w, moments), rel=1e-5)
    scaled = rounded(w * found.scales) / found.scales
    assert found.loss == pytest.approx(loss(w - scaled, moments) / loss(w, moments), rel=1e-5)
    assert found.loss < 0.7 * found.plain_loss
    large = np.arange(len(found.scales)) % 17 == 3
    assert found.scales[large].min() > 1.5 * found.scales[~large].mean()


def test_nothing_is_scaled_where_nothing_helps() -> None:
    w, x, moments = inputs()
    exact = awq.Problem([awq.Consumer(w, lambda w: w)], moments, np.abs(x).mean(axis=0), np.arange(64), lambda s: s)
    assert (awq.search(exact).scales == 1).all()


def test_columns_that_share_a_scale() -> None:
    found = awq.search(problem(channel_of=np.arange(64) % 32))
    assert found.scales.shape == (32,)
    assert found.loss <= found.plain_loss


def test_only_realized_scales_are_compared() -> None:
    powers = awq.search(problem(lambda scales: np.exp2(np.rint(np.log2(scales))).astype(np.float32)))
    assert (np.log2(powers.scales) % 1 == 0).all()
    assert powers.loss < powers.plain_loss


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("group", [16, 32, -1])
@pytest.mark.parametrize("symmetric", [True, False])
def test_cut_ranges_lose_less(bits: int, group: int, symmetric: bool) -> None:
    w, _, moments = inputs()
    w[:, ::13] *= 4
    scheme = Scheme(bits, group, symmetric)
    found = awq.clipped(w, moments, scheme)
    length = found.codes.shape[1] // found.scales.shape[1]
    blocks = torch.block_diag(*awq.diagonal_blocks(moments, length))
    assert loss(w - found.values(), blocks) <= loss(w - rounded(w, scheme), blocks) * (1 + 1e-6)
    assert found.codes.min() >= scheme.lowest
    assert found.codes.max() <= scheme.highest


def test_cutting_needs_groups() -> None:
    w, _, moments = inputs()
    with pytest.raises(ValueError, match="whole tensor"):
        awq.clipped(w, moments, Scheme(4, 0))
    with pytest.raises(ValueError, match="divided"):
        awq.clipped(w, moments, Scheme(4, 48))


def test_smoothquant_moves_half_of_the_way() -> None:
    """With alpha = 0.5 activations and weights end up with the same largest magnitude in each column."""
    w, x, _ = inputs()
    scales = smoothquant.scales(np.abs(x).max(axis=0), np.abs(w).max(axis=0))
    np.testing.assert_allclose(np.abs(x / scales).max(axis=0), np.abs(w * scales).max(axis=0), rtol=1e-5)


@pytest.mark.parametrize(("alpha", "even"), [(1.0, "x"), (0.0, "w")])
def test_smoothquant_at_its_ends(alpha: float, even: str) -> None:
    w, x, _ = inputs()
    scales = smoothquant.scales(np.abs(x).max(axis=0), np.abs(w).max(axis=0), alpha)
    largest = np.abs(x / scales if even == "x" else w * scales).max(axis=0)
    np.testing.assert_allclose(largest, 1, rtol=1e-5)


def test_smoothquant_leaves_dead_columns() -> None:
    assert smoothquant.scales(np.float32([0, 2]), np.float32([1, 0])).tolist() == [1, 1]

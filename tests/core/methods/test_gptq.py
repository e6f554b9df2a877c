"""GPTQ: what it must gain over rounding, its moments and their factor, dead columns, the guard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from core.methods import gptq
from core.methods.gptq import Setting
from core.methods.grids import IntegerGrid
from core.methods.hessian import Hessian, NotDefinite, factor
from core.methods.linear import Scheme
from core.methods.ranges import RangeSetting

MINMAX, MSE = RangeSetting("minmax"), RangeSetting("mse")


def inputs(columns: int = 256, tokens: int = 700, seed: int = 0) -> torch.Tensor:
    """Activations with a few strong columns and many relations between them."""
    chance = np.random.default_rng(seed)
    mix = np.eye(columns) + chance.normal(0, 0.5, (columns, columns)) * (chance.random((columns, columns)) < 0.05)
    x = chance.normal(size=(tokens, columns)) @ mix * chance.lognormal(0, 0.7, columns)
    return torch.from_numpy(x.astype(np.float32))


def moments(x: torch.Tensor) -> torch.Tensor:
    hessian = Hessian(x.shape[1])
    hessian.add(x)
    return hessian.mean()


def weights(rows: int = 96, columns: int = 256, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_t(5, (rows, columns)) * 0.02).astype(np.float32)


def solved(
    w: np.ndarray, h: torch.Tensor, scheme: Scheme, setting: Setting, ranges: RangeSetting = MSE, **more: np.ndarray
) -> gptq.Solved:
    return gptq.quantize(w, gptq.Inputs(h), IntegerGrid(scheme, ranges, w.shape[1]), setting, **more)


def test_moments_and_weights_of_tokens() -> None:
    x = inputs(8, 20)
    hessian = Hessian(8)
    hessian.add(x[:5])
    hessian.add(x[5:], torch.arange(15.0))
    counted = torch.cat([torch.ones(5), torch.arange(15.0)])
    wanted = (x.T * counted) @ x / counted.sum()
    assert torch.allclose(hessian.mean(), wanted, rtol=1e-4, atol=1e-4)


def test_the_factor_is_that_of_the_inverse() -> None:
    x = inputs(64).double()
    h = x.T @ x / len(x)
    found = factor(h, damp=0.01)
    damped = h + 0.01 * h.diagonal().mean() * torch.eye(64)
    assert torch.allclose(found.upper.T @ found.upper, torch.linalg.inv(damped), rtol=1e-6, atol=1e-9)
    assert not found.upper.tril(-1).any()


def test_damping_grows_until_it_succeeds() -> None:
    x = inputs(64, 5)  # five inputs: nothing in 59 directions
    h = moments(x) - 0.03 * moments(x).diagonal().mean() * torch.eye(64)
    assert factor(h, damp=0.01).damp > 0.03
    with pytest.raises(NotDefinite):
        factor(torch.full((4, 4), float("nan")))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_orders_that_must_hold(bits: int, symmetric: bool) -> None:
    """GPTQ with searched scales, then GPTQ, then searched rounding, then rounding."""
    w, h = weights(), moments(inputs())
    scheme = Scheme(bits, 64, symmetric, scale_type="F16")
    plain = solved(w, h, scheme, Setting(order="off"), MINMAX)
    searched = solved(w, h, scheme, Setting(order="off"))
    assert plain.loss <= plain.rounded_loss
    assert searched.loss < searched.rounded_loss < plain.rounded_loss
    if bits <= 4:
        assert searched.loss < plain.loss
    assert not searched.guarded
    assert searched.loss == pytest.approx(gptq.loss(w - searched.made.values(), h), rel=1e-5)


@pytest.mark.parametrize("group", [-1, 32, 64, 128, 256])
def test_the_order_of_columns_matters(group: int) -> None:
    w, h = weights(), moments(inputs())
    losses = {order: solved(w, h, Scheme(3, group), Setting(order=order)).loss for order in ("off", "groups", "static")}
    assert losses["groups"] < losses["off"]
    assert losses["static"] < losses["off"]


def test_groups_longer_than_a_block_and_rows_that_blocks_do_not_divide() -> None:
    w, h = weights(33, 320), moments(inputs(320))
    for group in (-1, 160, 320):
        made = solved(w, h, Scheme(4, group), Setting(order="groups"))
        assert made.made.codes.shape == w.shape
        assert made.loss < 0.8 * made.rounded_loss


def test_dead_columns() -> None:
    x = inputs()
    x[:, [3, 200]] = 0
    made = solved(weights(), moments(x), Scheme(4, 64), Setting())
    assert np.isfinite(made.made.values()).all()
    assert made.loss < made.rounded_loss
    nothing = solved(weights(), torch.zeros(256, 256), Scheme(4, 64), Setting())
    assert np.isfinite(nothing.made.values()).all()
    assert nothing.guarded, "rounding is as good where nothing is known"


def test_the_guard() -> None:
    """Uncorrelated inputs leave nothing to gain, and compensation must not lose."""
    made = solved(weights(), torch.eye(256), Scheme(4, 64), Setting())
    assert made.loss <= made.rounded_loss


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    w, h = weights(), moments(inputs())
    lazy = solved(w, h, Scheme(4, 32), Setting())
    monkeypatch.setattr(gptq, "BLOCK", 256)
    whole = solved(w, h, Scheme(4, 32), Setting())
    assert np.mean(lazy.made.codes == whole.made.codes) > 0.98
    assert whole.loss == pytest.approx(lazy.loss, rel=0.02)


@pytest.mark.parametrize("order", ["groups", "static", "off"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_passes_of_coordinate_descent_lose_less(order: Any, symmetric: bool) -> None:
    """Beside damping, which is what each of them makes smaller with the rest; with dead columns among others."""
    x = inputs()
    x[:, 17] = 0
    w, h = weights(rows=300), moments(x)
    scheme = Scheme(4, 64, symmetric, scale_type="F16")
    found = [solved(w, h, scheme, Setting(order=order, passes=passes)) for passes in (0, 1, 4)]
    assert found[2].loss < found[1].loss < 0.97 * found[0].loss
    assert len({own.rounded_loss for own in found}) == 1
    for own in found:
        assert own.loss == pytest.approx(gptq.loss(w - own.made.values(), h), rel=1e-4)
        assert np.array_equal(own.made.scales, found[0].made.scales)


@pytest.mark.parametrize("group", [0, 96])
def test_refusals(group: int) -> None:
    with pytest.raises(ValueError, match=r"tensor|divided"):
        solved(weights(), torch.eye(256), Scheme(4, group), Setting())


def test_rows_at_a_time_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    w, h = weights(), moments(inputs())
    whole = solved(w, h, Scheme(4, 32, symmetric=False), Setting(order="groups"))
    monkeypatch.setattr(gptq, "CHUNK", 40 * w.shape[1])
    parts = solved(w, h, Scheme(4, 32, symmetric=False), Setting(order="groups"))
    assert np.mean(whole.made.codes == parts.made.codes) > 0.98
    assert parts.loss == pytest.approx(whole.loss, rel=0.02)
    assert parts.energy == pytest.approx(whole.energy)


def test_the_target_of_the_original_inputs() -> None:
    """Inputs that an earlier layer has bent: aiming at what the original ones gave brings the output nearer to that."""
    w, x0 = weights(), inputs()
    x = x0 + 0.2 * x0.roll(1, 1) + 0.1 * inputs(seed=5)
    h, cross = moments(x), x0.T @ x / len(x)
    drift = w @ (cross - h).numpy()
    original = x0 @ torch.from_numpy(w).T
    errors = []
    for share in (0.0, 1.0):
        made = solved(w, h, Scheme(4, 64), Setting(), drift=np.float32(share) * drift)
        errors.append(float((x @ torch.from_numpy(made.made.values()).T - original).square().mean()))
    assert errors[1] < 0.5 * errors[0]

"""What meets a layer's matrices is counted, and of the layer no more is computed than is needed for that."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from core.calibration.moments import Inputs, watched

WIDTH = 4


class Layer(nn.Module):
    """Three matrices in a row; `calls` are of the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.calls = 0

    def forward(self, x: torch.Tensor, skipped: bool = False) -> torch.Tensor:
        x = self.first(x)
        x = x if skipped else self.second(x)
        self.calls += 1
        return self.third(x)


def inputs_of(module: nn.Module, crossed: bool = False) -> Inputs:
    unit: Any = SimpleNamespace(linear=SimpleNamespace(columns=WIDTH), module=module)
    return Inputs([unit], torch.device("cpu"), 1.0, crossed)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_layer_is_computed_up_to_the_last_matrix_watched(x: torch.Tensor) -> None:
    layer = Layer()
    found = [inputs_of(layer.first), inputs_of(layer.second)]
    with watched(found, {}) as (_, own):
        own(partial(layer, x))
        own(partial(layer, x))
    assert layer.calls == 0
    assert [inputs.tokens for inputs in found] == [12, 12]
    met = layer.first(x).reshape(-1, WIDTH)
    torch.testing.assert_close(found[1].hessian.mean(), met.T @ met / len(met))
    layer(x)
    assert layer.calls == 1


@torch.no_grad()
def test_a_matrix_that_nothing_meets_does_not_stop_it(x: torch.Tensor) -> None:
    layer = Layer()
    found = [inputs_of(layer.first), inputs_of(layer.second)]
    with watched(found, {}) as (_, own):
        own(partial(layer, x, True))
        assert layer.calls == 1
        own(partial(layer, x))
    assert layer.calls == 1
    assert [inputs.tokens for inputs in found] == [12, 6]


@torch.no_grad()
def test_the_original_is_computed_as_far(x: torch.Tensor) -> None:
    layer, before = Layer(), Layer()
    found = [inputs_of(layer.second, crossed=True)]
    with watched(found, {layer.second: before.second}) as (original, own):
        original(partial(before, x))
        own(partial(layer, x))
    assert (layer.calls, before.calls) == (0, 0)
    now, then = (one.first(x).reshape(-1, WIDTH) for one in (layer, before))
    torch.testing.assert_close(found[0].cross.mean(), then.T @ now / len(now))

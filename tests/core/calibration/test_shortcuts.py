"""What is kept between two passes through a layer: the same numbers as computed again, where that may be done."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from core.calibration.shortcuts import Part, Shortcuts, parts_of
from core.methods.calibration import stage_of


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(8, 6, bias=False), nn.Linear(6, 8, bias=False)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.calls += 1
        return self.o(self.q(x).tanh()), None


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.down = Attention(), nn.Linear(8, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x + self.attention(x)[0]
        return found + 2 * self.down(found)


def unit(module: nn.Module, part: str) -> Any:
    return SimpleNamespace(module=module, stage=stage_of(part))


@pytest.fixture
def layer() -> Layer:
    torch.manual_seed(0)
    return Layer().requires_grad_(False)


def test_parts_are_modules_that_end_in_a_matrix(layer: Layer) -> None:
    assert parts_of(layer, lambda: layer(torch.ones(1, 3, 8))) == {"attention.o": Part("attention", 2)}
    assert not parts_of(layer, lambda: [layer(torch.ones(1, 3, 8)) for _ in range(2)]), "called twice"


def test_what_is_kept_is_what_would_be_computed(layer: Layer) -> None:
    x = torch.randn(2, 3, 8)
    q, o = unit(layer.attention.q, "attn_q"), unit(layer.attention.o, "attn_output")
    parts = parts_of(layer, lambda: layer(x[:1]))
    shortcuts = Shortcuts(layer, [q, o], parts, 1 << 20)
    assert not shortcuts.keeps(q, 6)
    assert shortcuts.keeps(o, 6)
    with layer.attention.o.register_forward_pre_hook(shortcuts.keep):
        for shortcuts.window in range(2):
            layer(x[shortcuts.window : shortcuts.window + 1])
    layer.attention.o.weight.data *= 0.5  # quantized, say
    calls = layer.attention.calls
    wanted = [layer(x[number : number + 1]) for number in range(2)]
    shortcuts.solved()
    for _ in range(2):
        for shortcuts.window in range(2):
            assert torch.equal(layer(x[shortcuts.window : shortcuts.window + 1]), wanted[shortcuts.window])
    assert layer.attention.calls == calls + 2, "not computed again"
    shortcuts.end()
    layer(x[:1])
    assert layer.attention.calls == calls + 3


def test_nothing_is_kept_without_room_or_before_all_else_is_solved(layer: Layer) -> None:
    parts = parts_of(layer, lambda: layer(torch.ones(1, 3, 8)))
    o = unit(layer.attention.o, "attn_output")
    assert not Shortcuts(layer, [o], parts, 4 * 6 * 8 - 1).keeps(o, 6)
    later = unit(layer.attention.q, "ffn_down")
    assert not Shortcuts(layer, [o, later], parts, 1 << 20).keeps(o, 6)

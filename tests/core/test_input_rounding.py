"""How inputs of packed matrices are rounded: what a configuration says, and the numbers that come of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core.network.rounding import rounded
from core.sources.input_rounding import InputRounding, input_roundings

TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
TENSOR = {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "tensor", "dynamic": False}


def number(value: float) -> Any:
    return SimpleNamespace(rows=1, length=1, whole=lambda: np.array([[value]]))


def config(*groups: tuple[list[str], Any]) -> dict[str, Any]:
    made = {
        f"group_{n}": {"targets": targets, "input_activations": inputs} for n, (targets, inputs) in enumerate(groups)
    }
    return {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": made}}


STORED: dict[str, Any] = {
    "layers.0.up.weight_scale": number(1),
    "layers.0.down.weight_scale": number(1),
    "layers.0.down.input_scale": number(0.5),
    "layers.0.down.input_zero_point": number(-3),
    "norm.weight": number(1),
}


def test_the_first_group_that_finds_a_layer_decides() -> None:
    found = input_roundings(config((["re:.*down$"], TENSOR), (["Linear"], TOKEN)), STORED)
    assert found == {
        "layers.0.up.weight": InputRounding(),
        "layers.0.down.weight": InputRounding(symmetric=False, scale=0.5, zero=-3),
    }


@pytest.mark.parametrize("inputs", [None, {}, "x", {**TOKEN, "type": "float"}, {**TOKEN, "num_bits": "8"}, TENSOR])
def test_what_is_not_known_is_not_rounded(inputs: Any) -> None:
    assert "layers.0.up.weight" not in input_roundings(config((["Linear"], inputs)), STORED)
    assert input_roundings({"quantization_config": "x"}, STORED) == {}
    assert input_roundings(config((["re:("], TOKEN)), STORED) == {}


def test_tokens_have_their_own_scales() -> None:
    x = torch.tensor([[[1.0, -0.3], [100.0, 7.0]]])
    found = rounded(x, InputRounding())
    assert float((found - x).abs()[0, 0].max()) <= 1.001 / 255
    assert float((found - x).abs()[0, 1].max()) <= 100.1 / 255
    assert float((rounded(x, InputRounding(symmetric=False)) - x).abs()[0, 1].max()) <= 0.51 * 100 / 255


def test_a_given_scale_cuts_off() -> None:
    x = torch.tensor([[[1.0, -300.0, 300.0, 0.24]]])
    found = rounded(x, InputRounding(symmetric=False, scale=0.5, zero=-3))
    assert found.tolist() == [[[1.0, -62.5, 65.0, 0.0]]]


def test_columns_with_large_numbers_stay() -> None:
    x = torch.tensor([[[1.0, 0.123], [6.5, 0.5]]])
    found = rounded(x, InputRounding(full_range=False, threshold=6.0))
    assert found[..., 0].tolist() == [[1.0, 6.5]]
    assert found[0, 0, 1] == pytest.approx(round(0.123 * 127) / 127, abs=1e-3)
    assert found[0, 1, 1] == pytest.approx(0.5)

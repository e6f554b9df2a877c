"""What meets the matrices of GGUF files is rounded as ggml does: to which type, and the numbers that come of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core.network.rounding import rounded
from core.sources.llama_rounding import MEETS, GgmlRounding, llama_roundings
from kernels import dispatch
from kernels.blocks import FORMATS


@pytest.fixture
def activations() -> torch.Tensor:
    chance = torch.Generator().manual_seed(4)
    x = torch.randn(3, 5, 512, generator=chance) * torch.exp(3 * torch.randn(3, 5, 512, generator=chance))
    x[0, 0] = 0
    x[1, 2, 64:96] = 0
    return x


def test_every_format_but_f32_has_a_type_of_what_meets_it() -> None:
    assert set(MEETS) == set(FORMATS) - {"F32"}
    for name, meets in MEETS.items():
        block = {"Q8_K": 256, "Q8_0": 32, "Q8_1": 32}.get(meets, 1)
        assert FORMATS[name].elements % block == 0, name


@pytest.mark.parametrize("name", ["Q8_0", "Q8_1"])
def test_blocks_of_32_are_those_of_q8_0(name: str, activations: torch.Tensor) -> None:
    rows = activations.reshape(-1, 512).numpy()
    expected = dispatch.decode("Q8_0", dispatch.encode("Q8_0", rows, fit="reference"), 512)
    found = rounded(activations, GgmlRounding(name)).reshape(-1, 512).numpy()
    step = np.abs(rows.reshape(-1, 16, 32)).max(-1, keepdims=True).repeat(32, -1).reshape(-1, 512) / 127
    assert np.mean(np.abs(found - expected) > 1e-3 * step) < 1e-3  # halves are rounded to even here


def test_blocks_of_256_are_quantized_by_their_largest(activations: torch.Tensor) -> None:
    found = rounded(activations, GgmlRounding("Q8_K"))
    for block, numbers in zip(activations.reshape(-1, 256), found.reshape(-1, 256), strict=True):
        largest = float(block[block.abs().argmax()])
        if largest == 0:
            assert not numbers.any()
            continue
        codes = np.minimum(np.rint(block.numpy() * np.float32(-127 / largest)), 127)
        assert numbers.numpy() == pytest.approx(codes * (largest / -127), rel=1e-5, abs=1e-6 * abs(largest))


@pytest.mark.parametrize(("name", "kind"), [("F16", torch.half), ("BF16", torch.bfloat16)])
def test_halves_are_halves(name: str, kind: torch.dtype, activations: torch.Tensor) -> None:
    assert torch.equal(rounded(activations, GgmlRounding(name)), activations.to(kind).float())


def test_only_matrices_of_gguf_files_are_met() -> None:
    tensors = [
        SimpleNamespace(name="a.weight", shape=(4, 32), type="Q4_K"),
        SimpleNamespace(name="norm.weight", shape=(32,), type="F16"),
        SimpleNamespace(name="router.weight", shape=(4, 32), type="F32"),
    ]
    source: Any = SimpleNamespace(format="gguf", tensors=tensors)
    assert llama_roundings(source) == {"a.weight": GgmlRounding("Q8_K")}
    source.format = "safetensors"
    assert llama_roundings(source) == {}

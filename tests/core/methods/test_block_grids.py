"""GPTQ on GGUF's blocks: codes in blocks as the decoders read them, and what it must gain over the searches."""

from __future__ import annotations

import numpy as np
import pytest

from core.methods import gptq
from core.methods.block_grids import BlockGrid
from core.methods.gptq import Setting
from kernels import dispatch
from kernels.block_levels import LEVELS, tables, with_codes
from kernels.blocks import FORMATS
from tests.core.methods.test_gptq import inputs, moments, weights


@pytest.mark.parametrize("name", LEVELS)
def test_codes_in_blocks(name: str) -> None:
    """Every code at every place decodes to scale * q + offset."""
    levels, elements = LEVELS[name], FORMATS[name].elements
    x = np.random.default_rng(0).normal(size=(40, elements)).astype(np.float32)
    blocks = dispatch.encode(name, x)
    low, high = levels.ends
    codes = np.random.default_rng(1).integers(low, high + 1, x.shape).astype(np.int8)
    scales, offsets = (np.repeat(table, levels.step, axis=1) for table in tables(name, blocks))
    found = dispatch.decode(name, with_codes(name, blocks, codes), elements)
    assert np.allclose(found, scales * codes + offsets, rtol=1e-6, atol=1e-6)
    assert not np.array_equal(found, dispatch.decode(name, blocks, elements))


@pytest.mark.parametrize("order", ["static", "groups"])
@pytest.mark.parametrize("name", LEVELS)
def test_gains_over_the_search_with_importance(name: str, order: gptq.Order) -> None:
    w, h = weights(64, 512), moments(inputs(512, 1200))
    made = gptq.quantize(w, gptq.Inputs(h), BlockGrid(name, 512), Setting(order=order))
    searched = dispatch.encode(name, w, importance=h.diagonal().numpy() / float(h.diagonal().mean()))
    best = gptq.loss(w - dispatch.decode(name, searched, 512), h)
    assert made.made.data.shape == searched.shape
    assert made.loss == pytest.approx(gptq.loss(w - made.made.values(), h), rel=1e-4)
    assert made.loss < 0.85 * best
    assert not made.guarded


def test_blocks_of_zeros() -> None:
    w = weights(32, 512)
    w[:, :256] = 0
    w[3] = 0
    for name in LEVELS:
        made = gptq.quantize(w, gptq.Inputs(moments(inputs(512))), BlockGrid(name, 512), Setting())
        assert np.isfinite(made.made.values()).all()
        assert np.abs(made.made.values()[3]).max() < 1e-2

"""The benchmark of GPTQ: what it measures on a GPU runs, here on the processor."""

from __future__ import annotations

import torch

from bench import gptq


def test_a_layer_on_a_device() -> None:
    whole, share = gptq.on_device(64, 256, torch.device("cpu"))
    assert whole.value > 0
    assert 0 < share.value < 200, "parts that were timed apart, so their sum may be a little more than the whole"


def test_both_loops_are_timed() -> None:
    w, h = gptq.weights(64, 128), gptq.moments(128)
    ours, plain = gptq.loops(w, gptq.factor(h).upper.numpy())
    assert 0 < ours < plain

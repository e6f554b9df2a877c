"""The distribution of one tensor against numpy's own figures."""

from __future__ import annotations

import numpy as np
import pytest

from core.engine import run
from core.errors import NonFiniteWeights, UnknownTensor
from core.jobs import TensorStatsJob
from tests.core.small_models import small_model, weights, write


def stats(path, tensor, bins=16):
    return run(TensorStatsJob(source=str(path), tensor=tensor, bins=bins))


def test_statistics_equal_numpys(tmp_path, monkeypatch):
    monkeypatch.setattr("core.distribution.CHUNK_ELEMENTS", 700)
    tensors = weights()
    tensors["output.weight"][0, :5] = 0
    found = stats(write(tmp_path / "a.gguf", tensors), "output.weight")
    x = tensors["output.weight"].astype(np.float64)
    assert (found.minimum, found.maximum, found.zeros) == (x.min(), x.max(), 5)
    assert (found.mean, found.std) == (pytest.approx(x.mean()), pytest.approx(x.std()))
    assert sum(found.counts) == found.elements == x.size
    counts, edges = np.histogram(x, bins=16)
    assert np.abs(np.array(found.counts) - counts).max() <= 1
    assert found.edges == pytest.approx(edges)


def test_a_constant_tensor_has_a_histogram_too(tmp_path):
    found = stats(small_model(tmp_path / "a.gguf"), "output_norm.weight", bins=4)
    assert sum(found.counts) == found.elements
    assert (found.std, len(found.edges)) == (0, 5)


def test_quantized_tensors_are_decoded(sample):
    found = stats(sample, "blk.0.attn_k.weight")
    assert found.type == "Q4_1"
    assert -5 < found.minimum < 0 < found.maximum < 5


def test_unknown_and_damaged_tensors(tmp_path):
    tensors = weights()
    tensors["output.weight"][1, 1] = np.nan
    path = write(tmp_path / "a.gguf", tensors)
    with pytest.raises(NonFiniteWeights):
        stats(path, "output.weight")
    with pytest.raises(UnknownTensor, match="no tensor") as caught:
        stats(path, "outputt.weight")
    assert "Did you mean output.weight?" in caught.value.line

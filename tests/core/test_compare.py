"""Comparison matches tensors by name, names the missing, and refuses what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest

from core.engine import run
from core.errors import Cancelled, NonFiniteWeights, NothingToCompare, ShapesDiffer
from core.jobs import CompareJob
from core.progress import Progress
from tests.core.small_models import small_model, weights, write


def compare(source, other, progress=None):
    return run(CompareJob(source=str(source), other=str(other)), progress)


def test_a_model_equals_itself(tmp_path):
    source = small_model(tmp_path / "a.gguf")
    result = compare(source, source)
    assert result.total.snr_db is None
    assert all(row.rmse == 0 for row in result.tensors)
    assert result.missing == ()


def test_other_formats_other_orders_and_known_errors(tmp_path):
    tensors = weights()
    source = write(tmp_path / "a.gguf", tensors)
    moved = dict(reversed({name: x + np.float32(0.01) for name, x in tensors.items()}.items()))
    other = write(tmp_path / "b.gguf", moved)
    result = compare(source, other)
    assert [row.name for row in result.tensors] == list(tensors)
    assert result.total.rmse == pytest.approx(0.01, rel=1e-4)
    halved = write(tmp_path / "c.gguf", tensors, "F16")
    rows = compare(source, halved).tensors
    assert {(row.source_type, row.type) for row in rows} == {("F32", "F16"), ("F32", "F32")}
    assert all(row.relative_rmse < 1e-3 for row in rows)


def test_missing_tensors_are_named(tmp_path):
    tensors = weights()
    fewer = {name: x for name, x in tensors.items() if name != "output.weight"}
    both = [write(tmp_path / "a.gguf", tensors), write(tmp_path / "b.gguf", fewer)]
    assert compare(*both).missing == compare(*reversed(both)).missing == ("output.weight",)


def test_what_cannot_be_compared(tmp_path):
    source = small_model(tmp_path / "a.gguf")
    wide = small_model(tmp_path / "b.gguf", width=512)
    with pytest.raises(ShapesDiffer, match="cannot be compared"):
        compare(source, wide)
    alien = write(tmp_path / "c.gguf", {"other.weight": np.ones((2, 32), np.float32)})
    with pytest.raises(NothingToCompare):
        compare(source, alien)


@pytest.mark.parametrize("damaged_first", [True, False])
def test_damaged_side_is_named(tmp_path, damaged_first):
    tensors = weights()
    good = write(tmp_path / "good.gguf", tensors)
    tensors["output.weight"][0, 0] = np.nan
    bad = write(tmp_path / "bad.gguf", tensors)
    with pytest.raises(NonFiniteWeights, match=r"bad\.gguf"):
        compare(*((bad, good) if damaged_first else (good, bad)))


def test_can_be_cancelled(tmp_path):
    source = small_model(tmp_path / "a.gguf")
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        compare(source, source, Progress(cancelled=lambda: next(calls) > 5))

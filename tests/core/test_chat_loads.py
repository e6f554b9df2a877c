"""After a real load the prediction stands beside what was measured, is kept, and corrects the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.estimate import load
from core.store import Store, data_dir


@pytest.mark.parametrize(("context", "cache_type"), [(2048, "f16"), (8192, "q8_0")])
def test_predicted_and_measured_memory_agree(sample: Path, context: int, cache_type: str) -> None:
    first = load(sample, context, cache_type, data_dir())
    assert first.off_percent < 10
    (kept,) = Store().loads()
    assert (kept.context, kept.predicted, kept.measured) == (context, first.predicted, first.measured)


def test_the_next_load_is_predicted_with_what_the_first_one_took(sample: Path) -> None:
    first = load(sample, 2048, "f16", data_dir())
    second = load(sample, 2048, "f16", data_dir())
    assert second.predicted == pytest.approx(first.measured, abs=1)
    assert second.off_percent < 3

"""The compiled choice between candidate grids against its specification."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu import scales as fast
from kernels.reference import scales as slow


@pytest.mark.parametrize(
    ("shape", "length", "columns"), [((96, 32), 32, 128), ((12, 100), 100, 100), ((1, 600), 600, 60)]
)
@pytest.mark.parametrize("signed", [True, False])
def test_same_choice(shape: tuple[int, int], length: int, columns: int, signed: bool) -> None:
    chance = np.random.default_rng(5)
    x = chance.standard_t(3, shape).astype(np.float32)
    importance = chance.lognormal(0, 1, columns).astype(np.float32)
    scales = (np.abs(x).max(axis=1) / np.float32(7.5))[:, None] * np.linspace(1, 0.3, 30, dtype=np.float32)
    zeros = np.zeros_like(scales) if signed else chance.integers(-8, 8, scales.shape).astype(np.float32)
    wanted = slow.best_candidates(x, importance, scales, zeros, -8, 7)
    got = fast.best_candidates(x, importance, scales, zeros, -8, 7)
    # Sums in another order may tip the balance between candidates that are equally good.
    assert np.mean(wanted == got) > 0.97
    assert (wanted > 0).any()

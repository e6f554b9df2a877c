"""The compiled search for the best share of a range against its specification."""

from __future__ import annotations

import numpy as np
import pytest

from core.methods.linear import Scheme
from core.methods.ranges import COARSE, FINE, SHRINKS
from kernels.cpu import scales as fast
from kernels.reference import scales as slow

STEPS = (COARSE, FINE)
SCHEMES = (
    Scheme(4, scale_type="F16"),
    Scheme(3, full_range=False, scale_type="BF16"),
    Scheme(4, symmetric=False, scale_type="BF16+F16"),
    Scheme(8, symmetric=False),
    Scheme(2, symmetric=False, scale_type="F16", first_zero=1),
)


@pytest.mark.parametrize(
    ("shape", "length", "columns"), [((96, 32), 32, 128), ((12, 100), 100, 100), ((1, 600), 600, 60)]
)
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.bits}-{scheme.scale_type}")
def test_same_ends(scheme: Scheme, shape: tuple[int, int], length: int, columns: int) -> None:
    chance = np.random.default_rng(5)
    x = chance.standard_t(3, shape).astype(np.float32)
    importance = chance.lognormal(0, 1, columns).astype(np.float32)
    wanted = slow.best_ends(x, importance, SHRINKS, STEPS, scheme.levels)
    got = fast.best_ends(x, importance, SHRINKS, STEPS, scheme.levels)
    # Sums in another order may tip the balance between shares that are equally good.
    same = (wanted[0] == got[0]) & (wanted[1] == got[1])
    assert same.mean() > 0.97
    assert scheme.bits == 8 or (wanted[1] < x.max(axis=1)).any()


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.bits}-{scheme.scale_type}")
@pytest.mark.parametrize("value", [0.0, 1e-30, -3.0, 7e4])
def test_groups_of_one_value(scheme: Scheme, value: float) -> None:
    x = np.full((3, 32), value, np.float32)
    importance = np.ones(32, np.float32)
    with np.errstate(all="ignore"):
        wanted = slow.best_ends(x, importance, SHRINKS, STEPS, scheme.levels)
    assert np.array_equal(wanted, fast.best_ends(x, importance, SHRINKS, STEPS, scheme.levels))

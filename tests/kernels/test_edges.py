"""Rows at the edges of what the formats can hold: no crash, no warning, and no worse than ggml."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import dispatch
from kernels.codecs import CODECS
from tests.kernels import samples
from tests.kernels.test_codecs import BACKENDS, EXACT_AGREEMENT, NAMES, differences, every_twin, first_difference


def squared(values: np.ndarray) -> float:
    return float(np.square(values.astype(np.float64)).sum())


@pytest.mark.parametrize("edge", samples.EDGES)
@pytest.mark.parametrize("name", NAMES)
def test_specification_writes_the_bytes_of_ggml_at_the_edges(name, edge):
    x = samples.blocks_of(name, samples.edge(edge))
    ours, (theirs, _) = dispatch.encode(name, x, backend="reference"), samples.judged_edge(name, edge)
    assert len(differences(ours, theirs)) <= (1 - EXACT_AGREEMENT) * len(x), first_difference(ours, theirs)


@pytest.mark.parametrize("edge", samples.EDGES)
@every_twin
def test_edges_are_met_as_well_as_by_ggml(name, backend, edge):
    """The values are compared, not the bytes: what the codes are where their scale is 0 means nothing."""
    x = samples.blocks_of(name, samples.edge(edge))
    _, theirs = samples.judged_edge(name, edge)
    ours = dispatch.decode(name, dispatch.encode(name, x, backend=backend), x.shape[1], backend=backend)
    finite = np.isfinite(theirs).all(axis=1)
    assert np.isfinite(ours[finite]).all()
    assert squared(x[finite] - ours[finite]) <= 1.001 * squared(x[finite] - theirs[finite])
    assert len(differences(ours[finite], theirs[finite])) <= (1 - EXACT_AGREEMENT) * finite.sum()


@every_twin
def test_zeros_stay_zero(name, backend):
    zeros = np.zeros((2, 256), dtype=np.float32)
    data, sums = dispatch.encode_measured(name, zeros, backend=backend)
    assert not dispatch.decode(name, data, 256, backend=backend).any()
    assert sums.squared_error == sums.max_error == 0


@every_twin
@pytest.mark.parametrize("n_blocks", [1, 2, 3, 17, 33])
def test_few_blocks_are_coded_like_many(name, backend, n_blocks):
    x = samples.blocks_of(name, samples.weights("normal"))[:64]
    all_of_them = dispatch.encode(name, x, backend=backend)
    few = dispatch.encode(name, x[:n_blocks], backend=backend)
    assert np.array_equal(few, all_of_them[:n_blocks])
    decoded = dispatch.decode(name, few, CODECS[name].format.elements, backend=backend)
    assert np.array_equal(decoded, dispatch.decode(name, all_of_them, x.shape[1], backend=backend)[:n_blocks])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_floats_keep_infinity_and_nan(name, backend):
    x = np.array([[np.inf, -np.inf, np.nan, -0.0]], dtype=np.float32)
    decoded = dispatch.decode(name, dispatch.encode(name, x, backend=backend), 4, backend=backend)
    assert np.array_equal(decoded, x, equal_nan=True)
    assert np.signbit(decoded[0, 3])


HALVES = {  # value: what round to nearest, ties to even, makes of it in (F16, BF16)
    1.0: (1.0, 1.0),
    1 + 2**-11: (1.0, 1.0),  # a tie of F16, even below
    1 + 3 * 2**-11: (1 + 2 * 2**-10, 1.0),  # a tie of F16, even above
    1 + 2**-8: (1 + 2**-8, 1.0),  # a tie of BF16, even below
    1 + 3 * 2**-8: (1 + 3 * 2**-8, 1 + 2 * 2**-7),  # a tie of BF16, even above
    65504.0: (65504.0, 65536.0),
    65519.0: (65504.0, 65536.0),
    65520.0: (float("inf"), 65536.0),
    2.0**-24: (2.0**-24, 2.0**-24),
    2.0**-25: (0.0, 2.0**-25),  # a tie between zero and the smallest half
    -1.5: (-1.5, -1.5),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("column", "name"), [(0, "F16"), (1, "BF16")])
def test_halves_round_to_nearest_even(backend, column, name):
    x = np.array([list(HALVES)], dtype=np.float32)
    decoded = dispatch.decode(name, dispatch.encode(name, x, backend=backend), x.shape[1], backend=backend)
    assert decoded[0].tolist() == [row[column] for row in HALVES.values()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_q8_0_rounds_ties_away_from_zero(backend):
    x = np.zeros((1, 32), dtype=np.float32)
    x[0, :7] = [127, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997]
    decoded = dispatch.decode("Q8_0", dispatch.encode("Q8_0", x, backend=backend), 32, backend=backend)
    assert decoded[0, :7].tolist() == [127, 1, -1, 2, 3, -3, 0]

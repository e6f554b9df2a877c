"""Importance against ggml's C: the specification to the byte, the fast backends in the error that they minimise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kernels import dispatch
from kernels.codecs import CODECS
from kernels.reference import weights
from tests import ggml_oracle
from tests.kernels import samples
from tests.kernels.test_codecs import EXACT_AGREEMENT, NAMES, differences, first_difference

ROW = 4096
ELEMENTS = 1 << 17
EDGE_ROWS = 16  # of each edge
WEIGHTED = tuple(name for name in NAMES if CODECS[name].importance == "used")
TWINS = tuple((name, backend) for name in WEIGHTED for backend in CODECS[name].weighted)
every_twin = pytest.mark.parametrize(("name", "backend"), TWINS)

_random = np.random.default_rng(6)
IMPORTANCE = {
    "ones": np.ones(ROW, np.float32),
    "a few columns dominate": (_random.gamma(0.5, 1.0, ROW) ** 2).astype(np.float32),
    "columns without any": np.where(_random.random(ROW) < 0.3, 0, _random.random(ROW)).astype(np.float32),
}


def rows(distribution: str) -> np.ndarray:
    """Rows of a distribution to quantize with importance."""
    return samples.weights(distribution)[:ELEMENTS].reshape(-1, ROW)


def search_weights(name: str, x: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """The weights by which a format's search weighs the errors of blocks x (n, elements)."""
    if CODECS[name].module == "legacy":
        return weights.by_row(x, importance)
    if name == "Q6_K":
        return weights.of_rows(importance, len(x))
    return weights.by_block(x, importance, 1.0 if name == "Q2_K" else 2.0)


def weighted_error(name: str, x: np.ndarray, blocks: np.ndarray, importance: np.ndarray) -> float:
    """Σ w·(x - y)² of what the blocks decode to."""
    elements = CODECS[name].format.elements
    y = dispatch.decode(name, blocks, x.shape[1], backend="reference").reshape(-1, elements)
    x = x.reshape(-1, elements)
    w = search_weights(name, x, importance.reshape(-1, elements))
    return float((w.astype(np.float64) * np.square(x.astype(np.float64) - y)).sum())


@pytest.mark.parametrize("kind", IMPORTANCE)
@pytest.mark.parametrize("distribution", samples.DISTRIBUTIONS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_specification_writes_the_bytes_of_ggml(name, distribution, kind):
    x = rows(distribution)
    size = CODECS[name].format.bytes
    ours = dispatch.encode(name, x, importance=IMPORTANCE[kind], backend="reference").reshape(-1, size)
    theirs = ggml_oracle.quantize_chunk(name, x, IMPORTANCE[kind]).reshape(-1, size)
    equal = 1 - len(differences(ours, theirs)) / len(ours)
    assert equal >= EXACT_AGREEMENT, first_difference(ours, theirs)


@pytest.mark.parametrize("kind", IMPORTANCE)
@pytest.mark.parametrize("edge", samples.EDGES)
@pytest.mark.parametrize("name", WEIGHTED)
def test_specification_writes_the_bytes_of_ggml_at_the_edges(name, edge, kind):
    x = samples.edge(edge)[:EDGE_ROWS]
    size = CODECS[name].format.bytes
    importance = IMPORTANCE[kind][: x.shape[1]]
    ours = dispatch.encode(name, x, importance=importance, backend="reference").reshape(-1, size)
    theirs = ggml_oracle.quantize_chunk(name, x, importance).reshape(-1, size)
    assert len(differences(ours, theirs)) <= (1 - EXACT_AGREEMENT) * len(ours), first_difference(ours, theirs)


@pytest.mark.parametrize("distribution", samples.DISTRIBUTIONS)
@pytest.mark.parametrize(("name", "backend"), [twin for twin in TWINS if twin[1] != "reference"])
def test_weighted_error_is_no_more_than_that_of_ggml(name, backend, distribution):
    x, importance = rows(distribution), IMPORTANCE["a few columns dominate"]
    ours = dispatch.encode(name, x, importance=importance, backend=backend)
    theirs = ggml_oracle.quantize_chunk(name, x, importance)
    assert weighted_error(name, x, ours, importance) <= 1.001 * weighted_error(name, x, theirs, importance)


@pytest.mark.parametrize(("name", "backend"), [twin for twin in TWINS if twin[1] != "reference"])
def test_weighted_error_is_no_more_than_that_of_ggml_at_the_edges(name, backend):
    parts = {edge: samples.edge(edge)[:EDGE_ROWS] for edge in samples.EDGES}
    x, importance = np.concatenate(list(parts.values())), IMPORTANCE["a few columns dominate"][:512]
    ours = dispatch.encode(name, x, importance=importance, backend=backend)
    theirs = ggml_oracle.quantize_chunk(name, x, importance)
    for edge, end in zip(parts, np.cumsum([len(part) for part in parts.values()]), strict=True):
        rows_of = slice(end - len(parts[edge]), end)
        with np.errstate(all="ignore"):
            known = weighted_error(name, x[rows_of], theirs[rows_of], importance)
            if np.isfinite(known):
                assert weighted_error(name, x[rows_of], ours[rows_of], importance) <= 1.001 * known, edge


@every_twin
def test_importance_lowers_the_error_where_it_is_high(name, backend):
    x = rows("normal")
    high = np.ones(ROW, np.float32)
    high[::4] = 100
    errors = []
    for importance in (IMPORTANCE["ones"], high):
        data = dispatch.encode(name, x, importance=importance, backend=backend)
        errors.append(np.square(x - dispatch.decode(name, data, ROW, backend=backend))[:, ::4].sum())
    assert errors[1] < 0.99 * errors[0]


@every_twin
def test_only_ratios_of_importance_matter(name, backend):
    x, importance = rows("student-t 4")[:4], IMPORTANCE["a few columns dominate"]
    once, quadruple = (dispatch.encode(name, x, importance=k * importance, backend=backend) for k in (1, 4))
    assert np.array_equal(once, quadruple)


@every_twin
def test_every_row_begins_at_the_first_column_however_rows_are_cut(name, backend, monkeypatch):
    x = samples.weights("normal")[: 8 * 768].reshape(8, 768)
    importance = IMPORTANCE["a few columns dominate"][:768]
    whole, sums = dispatch.encode_measured(name, x, importance=importance, backend=backend)
    by_row = [dispatch.encode(name, row[None], importance=importance, backend=backend) for row in x]
    assert np.array_equal(whole, np.concatenate(by_row))
    small = dataclasses.replace(dispatch.BACKENDS[backend], chunk_elements=2000)
    monkeypatch.setitem(dispatch.BACKENDS, backend, small)
    chunked, chunked_sums = dispatch.encode_measured(name, x, importance=importance, backend=backend)
    assert np.array_equal(chunked, whole)
    assert chunked_sums.squared_error == pytest.approx(sums.squared_error, rel=1e-9)

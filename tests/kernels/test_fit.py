"""The levels of search: what "reference" promises of bytes, and that the levels and what a job may ask for are one."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from core.jobs import Fit
from kernels import dispatch
from kernels.codecs import CODECS, FITS
from tests import ggml_oracle
from tests.kernels import samples
from tests.kernels.iq_cases import SLOW_IN_GGML
from tests.kernels.test_codecs import EXACT_AGREEMENT, differences, first_difference

ROW = 2048
QUANTIZED = tuple(row for row in CODECS.values() if row.format.quantized)
# Weights to compare bytes on: the specification of the grids takes microseconds a weight, and so does ggml.
MANY, FEW = 1 << 17, 1 << 12
# A format, a backend that promises ggml's bytes, and whether there is importance. Where ggml takes half a minute to
# begin, what was kept of its blocks is compared, in test_iquants.py.
PROMISES = tuple(
    (row.format.name, backend, weighted)
    for row in QUANTIZED
    if row.format.name not in SLOW_IN_GGML
    for backend in row.at("reference").backends
    for weighted in (False, True)
    if row.importance != ("ignored" if weighted else "required")
)


def importance() -> np.ndarray:
    """Importance as models have it: a few columns dominate."""
    return (np.random.default_rng(6).gamma(0.5, 1.0, ROW) ** 2).astype(np.float32)


def test_a_job_may_ask_for_every_level():
    assert get_args(Fit) == FITS


@pytest.mark.parametrize("name", [row.format.name for row in QUANTIZED])
def test_every_format_has_every_level_with_and_without_importance(name):
    for fit in FITS:
        level = CODECS[name].at(fit)
        assert "reference" in level.backends
        assert "reference" in level.weighted
        assert dispatch.implementations("encode", name, fit)


@pytest.mark.parametrize("distribution", ["student-t 3", "real"])
@pytest.mark.parametrize(("name", "backend", "weighted"), PROMISES)
def test_reference_writes_the_bytes_of_ggml(name, backend, weighted, distribution):
    x = samples.weights(distribution)[: MANY if "cpu" in CODECS[name].exact else FEW].reshape(-1, ROW)
    means = importance() if weighted else None
    size = CODECS[name].format.bytes
    ours = dispatch.encode(name, x, importance=means, fit="reference", backend=backend).reshape(-1, size)
    theirs = ggml_oracle.quantize_chunk(name, x, means).reshape(-1, size)
    assert len(differences(ours, theirs)) <= (1 - EXACT_AGREEMENT) * len(ours), first_difference(ours, theirs)


@pytest.mark.parametrize("name", SLOW_IN_GGML)
def test_the_level_reference_is_the_specification_where_that_alone_promises_the_bytes(name):
    assert CODECS[name].at("reference").backends == ("reference",)
    specified = [row for row in dispatch.implementations("encode", name) if row.backend == "reference"]
    assert dispatch.implementations("encode", name, "reference") == specified


@pytest.mark.parametrize("name", [row.format.name for row in QUANTIZED if row.exact == ("reference",)])
def test_reference_is_left_to_the_backends_that_promise_it(name):
    ones = np.ones((1, 256), np.float32)
    with pytest.raises(dispatch.BackendUnavailable, match="cannot"):
        dispatch.encode(name, ones, importance=ones[0], fit="reference", backend="cpu")


@pytest.mark.parametrize("name", [row.format.name for row in QUANTIZED if row.best is None])
def test_best_is_fast_where_nothing_is_gained(name):
    assert CODECS[name].at("best") == CODECS[name].at("fast")
    assert dispatch.implementations("encode", name, "best") == dispatch.implementations("encode", name)

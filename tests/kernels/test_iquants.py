"""The types of grids against ggml: decoding to the bit, encoding to the byte, with and without importance."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import dispatch
from kernels.codecs import CODECS
from tests import ggml_oracle
from tests.kernels import iq_cases, samples
from tests.kernels.test_codecs import EXACT_AGREEMENT, random_blocks, read_by_gguf, same_floats

NAMES = iq_cases.NAMES
TWINS = tuple((name, backend) for name in NAMES for backend in CODECS[name].backends)
every_twin = pytest.mark.parametrize(("name", "backend"), TWINS)
TORCH = tuple(name for name in NAMES if "gpu" in CODECS[name].backends)


def squared(values: np.ndarray) -> float:
    return float(np.square(values.astype(np.float64)).sum())


def weighed(weights: np.ndarray, values: np.ndarray) -> float:
    return float((weights * np.square(values.astype(np.float64))).sum())


def error_weights(name: str, x: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """What ggml weighs errors by: importance·sqrt(σ² + x²), σ² a multiple of the mean square of a super-block."""
    blocks = x.astype(np.float64).reshape(-1, 256)
    spread = 1 if name in ("IQ2_XXS", "IQ2_XS") else 2
    sigma2 = spread * np.square(blocks).mean(axis=1, keepdims=True)
    return importance * np.sqrt(sigma2 + np.square(blocks)).reshape(x.shape)


def decoded(name: str, data: np.ndarray, backend: str = "reference") -> np.ndarray:
    row_length = data.shape[1] // CODECS[name].format.bytes * 256
    return dispatch.decode(name, data, row_length, backend=backend)


@every_twin
def test_decodes_random_bytes_as_ggml_and_gguf_do(name, backend):
    blocks = random_blocks(name)
    ours = dispatch.decode(name, blocks, 256, backend=backend)
    assert same_floats(ours, ggml_oracle.decode(name, blocks))
    assert same_floats(ours, read_by_gguf(name, blocks))


@pytest.mark.parametrize("name", NAMES)
def test_specification_writes_the_bytes_of_ggml(name):
    theirs = iq_cases.ggml_checksums(name)
    for label, data in iq_cases.specified(name).items():
        equal = iq_cases.checksums(name, data) == theirs[label]
        assert equal.mean() >= EXACT_AGREEMENT, (label, np.flatnonzero(~equal))


@pytest.mark.parametrize(("name", "backend"), [twin for twin in TWINS if twin[1] == "gpu"])
def test_torch_writes_the_blocks_of_the_specification(name, backend):
    for label, x, weights in iq_cases.cases(name):
        ours = iq_cases.checksums(name, dispatch.encode(name, x, importance=weights, backend=backend))
        equal = ours == iq_cases.checksums(name, iq_cases.specified(name)[label])
        assert equal.mean() >= EXACT_AGREEMENT, (label, np.flatnonzero(~equal))


@every_twin
def test_error_is_no_more_than_that_of_the_specification(name, backend):
    for label, x, importance in iq_cases.cases(name):
        if "distributions" in label:
            data = dispatch.encode(name, x, importance=importance, backend=backend)
            weights = np.ones_like(x) if importance is None else error_weights(name, x, importance)
            specified = decoded(name, iq_cases.specified(name)[label])
            for i, distribution in enumerate(samples.DISTRIBUTIONS):
                rows = slice(i * iq_cases.ROWS, (i + 1) * iq_cases.ROWS)
                ours = weighed(weights[rows], x[rows] - decoded(name, data[rows], backend))
                assert ours <= 1.001 * weighed(weights[rows], (x - specified)[rows]), (label, distribution)


@every_twin
def test_edges_are_met_by_every_backend_alike(name, backend):
    (x, spans), importance = iq_cases.all_edges(), iq_cases.importance()[:512]
    specified = decoded(name, dispatch.encode(name, x, importance=importance, backend="reference"))
    ours = decoded(name, dispatch.encode(name, x, importance=importance, backend=backend), backend)
    finite = np.isfinite(specified).all(axis=1)
    assert np.isfinite(ours[finite]).all()
    for edge, span in spans.items():
        source, want, got = (values[span][finite[span]] for values in (x, specified, ours))
        weights = error_weights(name, source, importance)
        bound = 1.001 * weighed(weights, source - want) + 1e-5 * weighed(weights, source)
        assert weighed(weights, source - got) <= bound, edge


@every_twin
def test_zeros_stay_zero(name, backend):
    data = dispatch.encode(name, np.zeros((2, 512), np.float32), importance=np.ones(512, np.float32), backend=backend)
    assert not decoded(name, data, backend).any()


@every_twin
@pytest.mark.parametrize("rows", [1, 3])
def test_few_rows_are_coded_like_many(name, backend, rows):
    x, weights = iq_cases.rows("normal")[:4], iq_cases.importance()
    all_of_them = dispatch.encode(name, x, importance=weights, backend=backend)
    assert np.array_equal(dispatch.encode(name, x[:rows], importance=weights, backend=backend), all_of_them[:rows])


@every_twin
def test_importance_lowers_the_error_where_it_is_high(name, backend):
    x = iq_cases.rows("normal")[:4]
    weights = np.ones(iq_cases.ROW, dtype=np.float32)
    weights[::7] = 50
    errors = []
    for importance in (np.ones_like(weights), weights):
        data = dispatch.encode(name, x, importance=importance, backend=backend)
        errors.append(squared((x - decoded(name, data, backend))[:, ::7]))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("name", [name for name in NAMES if CODECS[name].importance == "required"])
def test_types_that_need_importance_refuse_to_work_without(name):
    backends = CODECS[name].backends
    for backend in backends:
        with pytest.raises(ValueError, match="cannot be encoded without importance"):
            dispatch.encode(name, iq_cases.rows("normal"), backend=backend)


@pytest.mark.parametrize("backend", CODECS["IQ3_S"].backends)
def test_groups_of_zeros_displace_nothing(backend):
    """In ggml the codes of the groups that follow zeros lie one group too early; here they stay in their places."""
    x = iq_cases.rows("normal")[:2].copy()
    x[:, :32] = 0
    ours = decoded("IQ3_S", dispatch.encode("IQ3_S", x, backend=backend), backend)
    theirs = ggml_oracle.decode("IQ3_S", ggml_oracle.quantize_chunk("IQ3_S", x).reshape(-1, 110)).reshape(x.shape)
    assert squared(x - ours) < 0.05 * squared(x)
    assert squared((x - theirs)[:, :256]) > squared(x[:, :256])


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("IQ2", "IQ3"))])
def test_a_step_beyond_the_halves_becomes_the_largest_half(name):
    """A step is fitted again after its range was decided, so it may leave it; infinity would make NaN of zeros."""
    x = np.float32(1e10) * iq_cases.rows("normal")[:2, :512]
    data = dispatch.encode(name, x, importance=iq_cases.importance()[:512], backend="cpu")
    steps = data.reshape(-1, CODECS[name].format.bytes)[:, :2].copy().view(np.float16)
    assert (steps == np.finfo(np.float16).max).all()
    assert np.isfinite(decoded(name, data, "cpu")).all()

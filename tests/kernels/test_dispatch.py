"""Dispatch: the right backend, rows cut into chunks without a trace, and errors that say what was wrong."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from kernels import dispatch
from kernels.codecs import CODECS
from kernels.measure import ErrorSums
from tests.kernels import samples
from tests.kernels.test_codecs import BACKENDS, NAMES, TWINS, every_twin

ROWS = samples.weights("normal")[: 8 * 768].reshape(8, 768)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", dispatch.OPERATIONS)
def test_every_operation_has_an_implementation_per_backend(operation, name):
    found = dispatch.implementations(operation, name)
    assert {row.backend for row in found} == set(BACKENDS if operation == "measure" else CODECS[name].backends)
    assert "reference" in CODECS[name].backends
    assert [row.priority for row in found] == sorted((row.priority for row in found), reverse=True)
    assert all(callable(row.load()) for row in found)


@every_twin
def test_measured_encoding_equals_its_parts(name, backend):
    data, sums = dispatch.encode_measured(name, ROWS, backend=backend)
    assert data.shape == (8, CODECS[name].format.row_bytes(768))
    assert np.array_equal(data, dispatch.encode(name, ROWS, backend=backend))
    parts = dispatch.measure(ROWS, dispatch.decode(name, data, 768, backend=backend), backend="reference")
    assert dataclasses.astuple(sums) == pytest.approx(dataclasses.astuple(parts), rel=1e-9)


@every_twin
def test_chunks_leave_no_trace(name, backend, monkeypatch):
    whole, sums = dispatch.encode_measured(name, ROWS, backend=backend)
    decoded = dispatch.decode(name, whole, 768, backend=backend)
    small = dataclasses.replace(dispatch.BACKENDS[backend], chunk_elements=1000)
    monkeypatch.setitem(dispatch.BACKENDS, backend, small)
    chunked, chunked_sums = dispatch.encode_measured(name, ROWS, backend=backend)
    assert np.array_equal(chunked, whole)
    assert np.array_equal(dispatch.decode(name, whole, 768, backend=backend), decoded)
    assert chunked_sums.n == sums.n
    assert chunked_sums.squared_error == pytest.approx(sums.squared_error, rel=1e-9)


@pytest.mark.parametrize("name", [name for name, backend in TWINS if backend == "cpu"])
def test_threads_do_not_change_the_result(name):
    x = samples.weights("normal").reshape(-1, 4096)
    one, two = (dispatch.encode(name, x, backend="cpu", threads=threads) for threads in (1, 2))
    assert np.array_equal(one, two)
    decoded = [dispatch.decode(name, one, 4096, backend="cpu", threads=threads) for threads in (1, 2)]
    assert np.array_equal(*decoded)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["F16", "Q8_0", "Q4_K"])
def test_input_may_be_strided_read_only_or_double(name, backend):
    plain = dispatch.encode(name, ROWS, backend=backend)
    wide = np.zeros((8, 2 * 768), dtype=np.float32)
    wide[:, ::2] = ROWS
    assert np.array_equal(dispatch.encode(name, wide[:, ::2], backend=backend), plain)
    assert np.array_equal(dispatch.encode(name, ROWS.astype(np.float64), backend=backend), plain)
    assert not ROWS.flags.writeable
    frozen = plain.copy()
    frozen.flags.writeable = False
    assert np.array_equal(
        dispatch.decode(name, frozen, 768, backend=backend), dispatch.decode(name, plain, 768, backend=backend)
    )


@every_twin
def test_no_rows_are_coded_as_no_bytes(name, backend):
    empty = np.empty((0, 768), dtype=np.float32)
    data, sums = dispatch.encode_measured(name, empty, backend=backend)
    assert data.shape == (0, CODECS[name].format.row_bytes(768))
    assert sums == ErrorSums()
    assert dispatch.decode(name, data, 768, backend=backend).shape == (0, 768)


@pytest.mark.parametrize("backend", BACKENDS)
def test_measure_gives_the_sums_of_their_definitions(backend):
    x = np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -4.0]], dtype=np.float32)
    y = np.array([[1.5, -2.0, 1.0], [0.5, 0.25, -4.0]], dtype=np.float32)
    sums = dispatch.measure(x, y, backend=backend)
    assert sums == ErrorSums(6, 0.25 + 4 + 0.0625, 30.25, 23.5625 + 0.0, 1.5 + 4 + 3 + 0.25 + 16, 2.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_measure_agrees_with_the_specification_on_many_values(backend):
    x = samples.weights("student-t 3")
    y = x + samples.weights("normal") * np.float32(0.01)
    ours, specified = (dispatch.measure(x, y, backend=name) for name in (backend, "reference"))
    assert dataclasses.astuple(ours) == pytest.approx(dataclasses.astuple(specified), rel=1e-9)


def test_sums_add_up():
    first, second = ErrorSums(1, 1.0, 2.0, 3.0, 4.0, 5.0), ErrorSums(2, 10.0, 20.0, 30.0, 40.0, 0.5)
    assert first + second == ErrorSums(3, 11.0, 22.0, 33.0, 44.0, 5.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_error_that_is_no_number_survives_the_sum_of_chunks(backend, at):
    """Whichever chunk holds the NaN."""
    x, y = np.zeros((3, 8), np.float32), np.ones((3, 8), np.float32)
    y[at, 5] = np.nan
    chunks = [dispatch.measure(a, b, backend=backend) for a, b in zip(x, y, strict=True)]
    assert np.isnan(sum(chunks, ErrorSums()).max_error)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dispatch.encode("Q4_X", ROWS), "Q4_X"),
        (lambda: dispatch.decode("q4_k", np.zeros((1, 144), np.uint8), 256), "q4_k"),
        (lambda: dispatch.implementations("encode", "Q99"), "Q99"),
        (lambda: dispatch.implementations("transpose", "F16"), "transpose"),
        (lambda: dispatch.encode("Q4_K", ROWS[:, :576]), "576 is not a multiple of 256"),
        (lambda: dispatch.encode("Q8_0", ROWS[0]), r"\(768,\)"),
        (lambda: dispatch.encode_measured("Q4_0", ROWS[:, :33]), "33"),
        (lambda: dispatch.decode("Q8_0", np.zeros((2, 33), np.uint8), 32), r"34 bytes.*\(2, 33\)"),
        (lambda: dispatch.decode("Q8_0", np.zeros((2, 34), np.int8), 32), "int8"),
        (lambda: dispatch.measure(ROWS, ROWS[:4]), "same shape"),
        (lambda: dispatch.encode("F16", ROWS, backend="abacus"), "abacus"),
        (lambda: dispatch.encode("F16", ROWS, fit="perfect"), "perfect"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_backend_without_its_library_is_refused_and_passed_over(monkeypatch):
    missing = dataclasses.replace(dispatch.BACKENDS["cpu"], requirement="no_such_library")
    monkeypatch.setitem(dispatch.BACKENDS, "cpu", missing)
    with pytest.raises(dispatch.BackendUnavailable, match="no_such_library"):
        dispatch.encode("F16", ROWS, backend="cpu")
    assert dispatch.choose().name == "reference"


def test_the_environment_forces_a_backend_where_none_is_named(monkeypatch):
    monkeypatch.delenv(dispatch.FORCED_BACKEND, raising=False)
    assert dispatch.choose().name == "cpu"
    monkeypatch.setenv(dispatch.FORCED_BACKEND, "reference")
    assert dispatch.choose().name == "reference"
    assert dispatch.choose("gpu").name == "gpu"
    monkeypatch.setenv(dispatch.FORCED_BACKEND, "abacus")
    with pytest.raises(ValueError, match="abacus"):
        dispatch.choose()


@pytest.mark.parametrize(
    ("backend", "absent"),
    [("reference", ("numba", "torch")), ("cpu", ("torch",)), ("gpu", ("numba",))],
)
def test_only_the_backend_used_is_imported(backend, absent):
    script = (
        "import sys, numpy as np; from kernels import dispatch; "
        "assert not {'numba', 'torch'} & set(sys.modules); "
        f"dispatch.encode_measured('Q8_0', np.ones((1, 32), np.float32), backend={backend!r}); "
        f"assert not set({absent!r}) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)


def test_a_backend_that_lacks_a_codec_is_refused_and_passed_over(monkeypatch):
    row = dataclasses.replace(CODECS["Q8_0"], backends=("reference",))
    monkeypatch.setitem(CODECS, "Q8_0", row)
    assert [found.backend for found in dispatch.implementations("encode", "Q8_0")] == ["reference"]
    with pytest.raises(dispatch.BackendUnavailable, match="cpu backend cannot"):
        dispatch.encode("Q8_0", ROWS, backend="cpu")
    assert np.array_equal(dispatch.encode("Q8_0", ROWS), dispatch.encode("Q8_0", ROWS, backend="reference"))


def test_importance_that_does_not_fit_or_is_missing_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"\(768,\) expected"):
        dispatch.encode("Q4_K", ROWS, importance=np.ones(256, np.float32))
    monkeypatch.setitem(CODECS, "Q4_K", dataclasses.replace(CODECS["Q4_K"], importance="required"))
    with pytest.raises(ValueError, match="cannot be encoded without importance"):
        dispatch.encode("Q4_K", ROWS)


@pytest.mark.parametrize("name", [row.format.name for row in CODECS.values() if row.importance == "ignored"])
def test_importance_is_ignored_where_nothing_is_searched(name):
    weighted = dispatch.encode(name, ROWS, importance=np.arange(768, dtype=np.float32))
    assert np.array_equal(weighted, dispatch.encode(name, ROWS))

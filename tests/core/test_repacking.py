"""Models whose weights lie on a type's lattice already: the plan says so, and the file holds the same weights."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from core.engine import run
from core.jobs import PlanJob, QuantizeJob, QuantizeOptions
from core.repacking import LOSSLESS, ROUNDED
from kernels import dispatch
from kernels.reference.lattice import stored_as
from tests.core.small_models import weights, write

RNG = np.random.default_rng(3)


def on_lattice(type_name: str, stored: str) -> dict[str, np.ndarray]:
    """A small model that was quantized and written as floats again."""
    tensors = weights(layers=1)
    for name, x in tensors.items():
        if x.ndim > 1:
            data = dispatch.encode(type_name, x, backend="reference")
            decoded = dispatch.decode(type_name, data, x.shape[1], backend="reference")
            tensors[name] = stored_as(stored, decoded)
    return tensors


def integers(low: int, high: int, zeros: bool) -> dict[str, np.ndarray]:
    """A small model of integers in groups of 64 with scales that are halves, as GPTQ and AWQ leave them."""
    tensors = weights(layers=1)
    for name, x in tensors.items():
        if x.ndim > 1:
            codes = RNG.integers(low, high, (x.size // 64, 64))
            shift = RNG.integers(-3, 4, (len(codes), 1)) if zeros else 0
            scale = stored_as("F16", RNG.uniform(0.001, 0.004, (len(codes), 1)).astype(np.float32))
            tensors[name] = (scale * (codes + shift).astype(np.float32)).reshape(x.shape)
    return tensors


def quantized(tmp_path, tensors, stored, target, **options):
    """The plan's rows and the values of the file, both by tensor."""
    source, output = write(tmp_path / "s.gguf", tensors, stored), tmp_path / "o.gguf"
    chosen = QuantizeOptions(target=target, pure=True, **options)
    rows = {row.name: row for row in run(PlanJob(source=str(source), options=chosen)).tensors}
    run(QuantizeJob(source=str(source), output=str(output), options=chosen))
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(output).tensors}
    values = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(output).tensors}
    return {name: row for name, row in rows.items() if types[name] == target}, values


@pytest.mark.parametrize("stored", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("target", ["Q4_0", "Q4_1", "Q8_0", "IQ4_NL", "TQ2_0"])
def test_what_was_decoded_comes_back_to_the_bit(tmp_path, target, stored):
    tensors = on_lattice(target, stored)
    rows, values = quantized(tmp_path, tensors, stored, target)
    assert rows
    for name, row in rows.items():
        assert row.repacked
        assert row.lossless
        assert row.reason.endswith(LOSSLESS)
        assert np.array_equal(stored_as(stored, values[name]), tensors[name])


def test_symmetric_integers_of_another_program_are_kept_by_q4_0(tmp_path):
    tensors = integers(-8, 8, zeros=False)
    rows, values = quantized(tmp_path, tensors, "F32", "Q4_0")
    for name, row in rows.items():
        assert row.lossless
        assert np.array_equal(values[name], tensors[name])


def test_minima_that_no_half_can_hold_are_rounded_and_the_plan_says_that(tmp_path):
    tensors = integers(-8, 8, zeros=True)
    rows, values = quantized(tmp_path, tensors, "F32", "Q4_1")
    for name, row in rows.items():
        assert row.repacked
        assert not row.lossless
        assert row.reason.endswith(ROUNDED)
        assert np.abs(values[name] - tensors[name]).max() <= 2.0**-10 * np.abs(tensors[name]).max()


def test_a_finer_type_holds_what_a_coarser_one_held(tmp_path):
    tensors = on_lattice("Q4_0", "F16")
    rows, values = quantized(tmp_path, tensors, "F16", "Q8_0")
    for name, row in rows.items():
        assert row.repacked
        assert np.abs(values[name] - tensors[name]).max() <= 2.0**-9 * np.abs(tensors[name]).max()


@pytest.mark.parametrize("fit", ["fast", "reference"])
def test_ordinary_weights_and_the_search_of_ggml_are_left_alone(tmp_path, fit):
    tensors = weights(layers=1) if fit == "fast" else on_lattice("Q4_0", "F16")
    rows, _ = quantized(tmp_path, tensors, "F16", "Q4_0", fit=fit)
    assert not any(row.repacked for row in rows.values())

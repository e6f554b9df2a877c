"""Half precision in compiled code, both ways of it, against numpy: every half, and every edge between halves."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu import half
from kernels.cpu.compiled import compiled

ALL_HALVES = np.arange(1 << 16, dtype=np.uint16)


@compiled
def _hardware_encode(x, out):
    for i in range(x.size):
        out[i] = half.hardware_half_bits(x[i])


@compiled
def _integer_encode(x, out):
    for i in range(x.size):
        out[i] = half.integer_half_bits(x[i])


@compiled
def _hardware_decode(bits, out):
    for i in range(bits.size):
        out[i] = half.hardware_half_value(bits[i])


@compiled
def _integer_decode(bits, out):
    for i in range(bits.size):
        out[i] = half.integer_half_value(bits[i])


needs_instruction = pytest.mark.skipif(not half.processor_converts(), reason="this processor does not convert halves")
encoders = pytest.mark.parametrize(
    "encode", [pytest.param(_hardware_encode, marks=needs_instruction, id="hardware"), _integer_encode]
)
decoders = pytest.mark.parametrize(
    "decode", [pytest.param(_hardware_decode, marks=needs_instruction, id="hardware"), _integer_decode]
)


def edges() -> np.ndarray:
    """Every half, the middle between any two neighbours, and the float32 on either side of each of these."""
    exact = np.sort(ALL_HALVES.view(np.float16).astype(np.float64)[np.isfinite(ALL_HALVES.view(np.float16))])
    beyond = np.array([65520.0, -65520.0, 1e30, -1e30, 3e38, 1e-45, -1e-45, 1e-40])
    points = np.concatenate([exact, (exact[1:] + exact[:-1]) / 2, beyond]).astype(np.float32)
    infinity = np.float32(np.inf)
    around = [points, np.nextafter(points, infinity), np.nextafter(points, -infinity)]
    return np.concatenate([*around, np.array([np.inf, -np.inf, 0.0, -0.0], np.float32)])


@encoders
def test_rounds_as_numpy_at_every_edge(encode):
    x = edges()
    with np.errstate(over="ignore", under="ignore"):
        expected = x.astype(np.float16).view(np.uint16)
    bits = np.empty(x.size, np.uint16)
    encode(x, bits)
    np.testing.assert_array_equal(bits, expected)


@encoders
def test_nan_stays_nan_with_its_sign(encode):
    patterns = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFC12345], np.uint32)
    bits = np.empty(patterns.size, np.uint16)
    encode(patterns.view(np.float32), bits)
    assert np.isnan(bits.view(np.float16)).all()
    np.testing.assert_array_equal(bits >> 15, patterns >> 31)


@decoders
def test_every_half_has_numpys_value(decode):
    values = np.empty(ALL_HALVES.size, np.float32)
    decode(ALL_HALVES, values)
    expected = ALL_HALVES.view(np.float16).astype(np.float32)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(values[numbers].view(np.uint32), expected[numbers].view(np.uint32))
    assert np.isnan(values[~numbers]).all()

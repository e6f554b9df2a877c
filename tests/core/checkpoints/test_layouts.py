"""GPTQ, AWQ, BitNet and compressed-tensors unpacked bit by bit from their published layouts, and compared to ours."""

from __future__ import annotations

import numpy as np
import pytest

from core.checkpoints.layouts import LAYOUTS, Matrix
from core.checkpoints.settings import settled
from core.checkpoints.solve import SOLVERS
from core.formats import packing
from core.jobs import MethodOptions
from core.methods.linear import Linear

MATRIX = Matrix("layer", "BF16", (64, 128), "bfloat16")


def weights() -> np.ndarray:
    chance = np.random.default_rng(7)
    w = (chance.standard_t(4, MATRIX.shape) * 0.02).astype(np.float32)
    w[5] = np.abs(w[5])  # its zero point would be the lowest integer
    w[6] = 0
    return w


def laid_out(options: MethodOptions) -> tuple[Linear, dict[str, np.ndarray]]:
    """The quantized matrix and its stored tensors, by the last part of their names."""
    settings = settled(options)
    layout = LAYOUTS[options.export]
    assert layout.problem(settings, MATRIX) == ""
    made = SOLVERS[options.method](weights(), settings, MATRIX.dtype, None)
    assert isinstance(made, Linear)
    slots, arrays = layout.slots(settings, MATRIX), layout.arrays(settings, MATRIX, made)
    assert [slot.bytes for slot in slots] == [array.nbytes for array in arrays]
    return made, {slot.name.rpartition(".")[2]: array for slot, array in zip(slots, arrays, strict=True)}


def bits_of(words: np.ndarray, first: int, bits: int) -> int:
    """Bits [first, first + bits) of a stream of 32-bit words, the lowest first."""
    whole = sum((int(word) & 0xFFFFFFFF) << (32 * number) for number, word in enumerate(words))
    return (whole >> first) & ((1 << bits) - 1)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [-1, 32, 64, 128])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_gptq(bits: int, group: int, asymmetric: bool) -> None:
    made, stored = laid_out(
        MethodOptions(method="int", export="gptq", bits=bits, group=group, asymmetric=asymmetric, range="minmax")
    )
    rows, columns = MATRIX.shape
    groups = 1 if group == -1 else columns // group
    assert stored["qweight"].shape == (columns * bits // 32, rows)
    assert stored["qzeros"].shape == (groups, rows * bits // 32)
    assert stored["scales"].dtype == np.float16
    found = np.empty(MATRIX.shape, np.float32)
    for k in range(columns):
        g = stored["g_idx"][k]
        for n in range(rows):
            code = bits_of(stored["qweight"][:, n], k * bits, bits)
            zero = bits_of(stored["qzeros"][g], n * bits, bits) + 1
            found[n, k] = np.float32(stored["scales"][g, n]) * (code - zero)
    assert np.array_equal(found, made.values())
    if asymmetric:
        assert np.abs(found[5] - weights()[5]).max() <= made.scales[5].max() * 0.51
    elif bits != 3:
        assert set(np.unique(stored["qzeros"])) == {{2: 0x55555555, 4: 0x77777777, 8: 0x7F7F7F7F}[bits]}


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("method", ["int", "hqq", "awq"])
def test_awq(group: int, method: str) -> None:
    options = MethodOptions(method=method, export="awq", group=group, asymmetric=True)
    made, stored = laid_out(options)
    rows, columns = MATRIX.shape
    place = {column: nibble for nibble, column in enumerate((0, 2, 4, 6, 1, 3, 5, 7))}
    found = np.empty(MATRIX.shape, np.float32)
    for k in range(columns):
        for n in range(rows):
            shift = 4 * place[n % 8]
            code = (int(stored["qweight"][k, n // 8]) >> shift) & 15
            zero = (int(stored["qzeros"][k // group, n // 8]) >> shift) & 15
            found[n, k] = np.float32(stored["scales"][k // group, n]) * (code - zero)
    assert np.array_equal(found, made.values())


@pytest.mark.parametrize("bits", range(2, 9))
def test_streams_cross_words(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (3, 45)).astype(np.uint8)
    words = packing.stream(codes, bits)
    assert words.shape == (3, packing.words_for(45, bits))
    found = [[bits_of(row, k * bits, bits) for k in range(45)] for row in words]
    assert np.array_equal(found, codes)


def test_ternary_bytes() -> None:
    codes = np.random.default_rng(0).integers(-1, 2, (16, 5)).astype(np.int8)
    packed = packing.ternary_bytes(codes)
    for row, column in np.ndindex(16, 5):
        assert (int(packed[row % 4, column]) >> (2 * (row // 4)) & 3) - 1 == codes[row, column]

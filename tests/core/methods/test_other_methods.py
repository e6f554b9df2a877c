"""HQQ, NF4, FP4, LLM.int8 and BitNet: against their libraries where these run on a processor, and in their bounds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from core.methods import bitnet, fourbit, hqq, llm_int8
from core.methods.linear import Scheme
from core.methods.ranges import RangeSetting, quantize
from kernels.reference.scales import rounded

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import of torch's custom operators deprecates itself
    import bitsandbytes.functional as theirs


def weights(rows: int = 24, columns: int = 192, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return (chance.standard_t(4, (rows, columns)) * 0.02).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("group", [32, 64])
def test_hqq_lowers_its_own_error_everywhere(bits: int, group: int) -> None:
    w = weights()
    scheme = Scheme(bits, group, symmetric=False)
    start, made = quantize(w, scheme, RangeSetting()), hqq.quantize(w, scheme)

    def errors(values: np.ndarray) -> np.ndarray:
        return (np.abs(w - values) ** hqq.P).reshape(-1, group).sum(axis=1)

    assert np.all(errors(made.values()) <= errors(start.values()) * (1 + 1e-5))
    assert errors(made.values()).sum() < 0.995 * errors(start.values()).sum()


def test_hqq_is_asymmetric() -> None:
    with pytest.raises(ValueError, match="symmetric"):
        hqq.quantize(weights(), Scheme(4, 64))


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("double", [False, True])
def test_four_bits_as_bitsandbytes(kind: str, double: bool) -> None:
    w = weights(40, 1024)
    made = fourbit.quantize(w, kind, double)
    packed, state = theirs.quantize_4bit(torch.from_numpy(w), quant_type=kind, compress_statistics=double, blocksize=64)
    high_first = made.codes.reshape(-1, 2)
    assert np.array_equal(packed.numpy().reshape(-1), high_first[:, 0] << 4 | high_first[:, 1])
    assert np.array_equal(state.code.numpy(), fourbit.LEVELS[kind])
    if isinstance(made.absmax, fourbit.NestedScales):
        assert np.allclose(state.state2.code.numpy(), fourbit.dynamic_levels(), rtol=1e-6)
        assert np.mean(state.absmax.numpy() == made.absmax.codes) > 0.99
        assert state.offset.item() == pytest.approx(made.absmax.offset, rel=1e-5)
    else:
        assert np.array_equal(state.absmax.numpy(), made.absmax)
    back = theirs.dequantize_4bit(packed, state).numpy()
    assert np.allclose(made.values(), back, rtol=2e-2 if double else 1e-6, atol=1e-4 if double else 0)


def test_llm_int8_as_bitsandbytes() -> None:
    w = weights()
    w[3] = 0
    made = llm_int8.quantize(w)
    codes, absmax, _ = theirs.int8_vectorwise_quant(torch.from_numpy(w[:3]).half())
    assert np.abs(codes.numpy().astype(int) - made.codes[:3]).max() <= 1  # theirs begins with half precision
    assert np.allclose(absmax.numpy(), made.absmax[:3], rtol=1e-3)
    assert not made.values()[3].any()
    assert np.abs(w - made.values()).max() <= made.absmax.max() / 254 * 1.001


def test_outlier_columns() -> None:
    assert llm_int8.outlier_columns(np.float32([1, 6.0, 5.99, 70])).tolist() == [1, 3]


def test_ternary() -> None:
    w = np.array([[0.9, -0.1, 0.3], [-1.2, 0.5, 0.0]], np.float32)  # mean magnitude 0.5
    made = bitnet.ternary(w)
    assert made.scale == pytest.approx(0.5)
    assert made.codes.tolist() == [[1, 0, 1], [-1, 1, 0]]


def test_what_is_ternary_already_is_kept() -> None:
    """With any scale in bfloat16, where it is the scale that is stored; 1 / scale holds powers of two alone."""
    signs = np.random.default_rng(0).choice(np.float32([-1, 0, 1]), (16, 32), p=[0.1, 0.8, 0.1])
    scales = rounded(np.geomspace(0.01, 0.02, 50, dtype=np.float32), "BF16")
    for scale in (np.float32(0.125), *scales):
        made = bitnet.ternary(signs * scale)
        assert np.array_equal(made.values(), signs * scale)
        assert np.array_equal(bitnet.as_stored(made, inverted=False).values(), signs * scale)
        inverted = bitnet.as_stored(made, inverted=True)
        assert inverted.scale == pytest.approx(scale, rel=2**-8)
        assert bitnet.stored_scale(inverted, inverted=True) == bitnet.stored_scale(made, inverted=True)
    exact = bitnet.ternary(signs / 8)
    assert bitnet.stored_scale(exact, inverted=True) == 8.0
    assert np.array_equal(bitnet.as_stored(exact, inverted=True).values(), signs / 8)


def test_one_bit_is_the_sign_after_centring() -> None:
    w = np.array([[3.0, 1.0, 1.0, -1.0]], np.float32)  # mean 1, mean magnitude 1.5
    made = bitnet.one_bit(w)
    assert made.codes.tolist() == [[1, -1, -1, -1]]
    assert made.scale == 1.5


def test_activations_in_eight_bits() -> None:
    x = np.array([[10.8, -5.4, 0.0], [0.0, 0.0, 0.0]], np.float32)
    codes, factors = bitnet.activations(x)
    assert codes.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert factors[0, 0] == pytest.approx(127 / 10.8)

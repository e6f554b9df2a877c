"""Bit packings: what is packed unpacks to itself, in numpy and torch alike, and blocks have the sizes of the table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.blocks import BY_ID, FORMATS, ROWS
from kernels.codecs import CODECS
from kernels.gpu import kquants as gpu_kquants
from kernels.gpu import kquants_small as gpu_small
from kernels.gpu import layout as gpu_layout
from kernels.gpu import microscaling as gpu_microscaling
from kernels.gpu import nonlinear as gpu_nonlinear
from kernels.gpu import ternary as gpu_ternary
from kernels.reference import kquants, layout, microscaling, nonlinear, ternary
from kernels.reference import kquants_small as reference_small

# Another job on the machine may hold any example up for longer than the usual deadline.
PATIENT = settings(deadline=None)


def codes(raw: bytes, bits: int, *shape: int) -> np.ndarray:
    return (np.frombuffer(raw, dtype=np.uint8) & (2**bits - 1)).reshape(shape)


@PATIENT
@given(st.binary(min_size=96, max_size=96))
def test_nibbles(raw):
    values = codes(raw, 4, 3, 32)
    packed = layout.pack_nibbles(values)
    assert np.array_equal(layout.unpack_nibbles(packed), values)
    assert (packed[:, 0] == values[:, 0] + 16 * values[:, 16]).all()
    torch_packed = gpu_layout.pack_nibbles(torch.tensor(values))
    assert np.array_equal(torch_packed.numpy(), packed)
    assert np.array_equal(gpu_layout.unpack_nibbles(torch_packed).numpy(), values)


@PATIENT
@given(st.binary(min_size=32, max_size=32))
def test_six_bit_scales(raw):
    scales, mins = codes(raw, 6, 2, 2, 8)
    packed = kquants.pack_scales(scales, mins)
    for got, want in zip(kquants.unpack_scales(packed), (scales, mins), strict=True):
        assert np.array_equal(got, want)
    torch_packed = gpu_kquants.pack_scales(torch.tensor(scales), torch.tensor(mins))
    assert np.array_equal(torch_packed.numpy(), packed)
    for got, want in zip(gpu_kquants.unpack_scales(torch_packed), (scales, mins), strict=True):
        assert np.array_equal(got.numpy(), want)


@PATIENT
@given(st.binary(min_size=512, max_size=512))
def test_six_bit_codes(raw):
    values = codes(raw, 6, 2, 256)
    packed = kquants.pack_six_bits(values)
    assert np.array_equal(kquants.unpack_six_bits(*packed), values)
    torch_packed = gpu_kquants.pack_six_bits(torch.tensor(values))
    for got, want in zip(torch_packed, packed, strict=True):
        assert np.array_equal(got.numpy(), want)
    assert np.array_equal(gpu_kquants.unpack_six_bits(*torch_packed).numpy(), values)


@PATIENT
@given(st.binary(min_size=64, max_size=64))
def test_single_bits(raw):
    bits = codes(raw, 1, 2, 8, 4)
    packed = gpu_layout.pack_bits(torch.tensor(bits))
    assert np.array_equal(packed.numpy(), np.packbits(bits, axis=1, bitorder="little")[:, 0])
    assert np.array_equal(gpu_layout.unpack_bits(packed).numpy(), bits)


@pytest.mark.parametrize("name", FORMATS)
def test_records_and_fields_have_the_sizes_of_the_table(name):
    fmt = FORMATS[name]
    assert layout.record(name).itemsize == fmt.bytes
    raw = np.random.default_rng(4).integers(0, 256, (5, fmt.bytes), dtype=np.uint8)
    assert np.array_equal(layout.to_bytes(layout.to_records(name, raw)), raw)


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].quantized])
def test_torch_fields_join_to_the_blocks_they_came_from(name):
    raw = np.random.default_rng(4).integers(0, 256, (5, FORMATS[name].bytes), dtype=np.uint8)
    assert np.array_equal(gpu_layout.join(name, gpu_layout.split(name, torch.tensor(raw))).numpy(), raw)


def test_every_format_has_a_codec_and_an_id_of_its_own():
    assert set(CODECS) == set(FORMATS)
    assert len(BY_ID) == len(ROWS)
    assert all(row.format is FORMATS[name] for name, row in CODECS.items())


PAIRS = {  # bits of a value, values in a block: pack and unpack in numpy, then in torch
    (2, 256): (
        (reference_small.pack_two_bits, reference_small.unpack_two_bits),
        (gpu_layout.pack_two_bits, gpu_layout.unpack_two_bits),
    ),
    (6, 16): (
        (reference_small.pack_signed_scales, reference_small.unpack_signed_scales),
        (gpu_small.pack_signed_scales, gpu_small.unpack_signed_scales),
    ),
}


@pytest.mark.parametrize(("bits", "count"), PAIRS)
@PATIENT
@given(data=st.data())
def test_packed_fields_of_the_small_k_types(bits, count, data):
    values = codes(data.draw(st.binary(min_size=2 * count, max_size=2 * count)), bits, 2, count)
    (pack, unpack), (torch_pack, torch_unpack) = PAIRS[bits, count]
    packed = pack(values)
    assert packed.nbytes == values.size * bits // 8
    assert np.array_equal(unpack(packed), values)
    assert np.array_equal(torch_pack(torch.tensor(values)).numpy(), packed)
    assert np.array_equal(torch_unpack(torch.tensor(packed)).numpy(), values)


@PATIENT
@given(st.binary(min_size=16, max_size=16))
def test_scales_of_iq4_xs(raw):
    values = codes(raw, 6, 2, 8)
    low, high = nonlinear.pack_scales(values)
    assert np.array_equal(nonlinear.unpack_scales(low, high), values)
    torch_low, torch_high = gpu_nonlinear.pack_scales(torch.tensor(values))
    assert np.array_equal(torch_low.numpy(), low)
    assert np.array_equal(torch_high.numpy().view(np.uint16)[:, 0], high)
    assert np.array_equal(gpu_nonlinear.unpack_scales(torch_low, torch_high).numpy(), values)


@PATIENT
@given(st.lists(st.integers(0, 2), min_size=256, max_size=256))
def test_trits(digits):
    values = np.array([digits], dtype=np.uint8)
    packed = ternary.pack_trits(values)
    assert packed.shape == (1, 52)
    assert np.array_equal(ternary.unpack_trits(packed), values)
    torch_packed = gpu_ternary.pack_trits(torch.tensor(values))
    assert np.array_equal(torch_packed.numpy(), packed)
    assert np.array_equal(gpu_ternary.unpack_trits(torch_packed).numpy(), values)


def test_small_floats_of_nvfp4():
    """The 126 values of UE4M3 come back, but for those above 256, which ggml takes for the largest."""
    every = np.arange(127, dtype=np.uint8)
    values = 2 * microscaling.half_of_ue4m3(every)
    assert values[[1, 7, 8, 56, 126]].tolist() == [2**-9, 7 * 2**-9, 2**-6, 1.0, 448.0]
    expected = np.where(values >= 256, 126, every)
    assert np.array_equal(microscaling.to_ue4m3(values), expected)
    assert np.array_equal(gpu_microscaling.to_ue4m3(torch.tensor(values)).numpy(), expected)
    between = (values[:119] + values[1:120]) / 2
    above = np.where(every[1:120] == 8, 7, every[1:120])  # subnormals do not round up to a normal number
    assert np.array_equal(microscaling.to_ue4m3(between), above)
    assert np.array_equal(gpu_microscaling.to_ue4m3(torch.tensor(between)).numpy(), above)


def test_shared_exponents_of_mxfp4():
    every = np.arange(256, dtype=np.uint8)
    halves = np.ldexp(1.0, every.astype(int) - 128)
    assert np.array_equal(microscaling.half_power(every), halves)
    assert np.array_equal(gpu_microscaling.half_power(torch.tensor(every)).numpy(), halves)

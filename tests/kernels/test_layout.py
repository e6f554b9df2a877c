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
from kernels.gpu import layout as gpu_layout
from kernels.reference import kquants, layout

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


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith("Q")])
def test_torch_fields_join_to_the_blocks_they_came_from(name):
    raw = np.random.default_rng(4).integers(0, 256, (5, FORMATS[name].bytes), dtype=np.uint8)
    assert np.array_equal(gpu_layout.join(name, gpu_layout.split(name, torch.tensor(raw))).numpy(), raw)


def test_every_format_has_a_codec_and_an_id_of_its_own():
    assert set(CODECS) == set(FORMATS)
    assert len(BY_ID) == len(ROWS)
    assert all(row.format is FORMATS[name] for name, row in CODECS.items())

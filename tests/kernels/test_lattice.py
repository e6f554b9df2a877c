"""Weights that are on a lattice already come back to the bit; others are not taken for such."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import dispatch, lattice
from kernels.blocks import FORMATS
from kernels.lattice import LATTICES, STORED, detect, repack
from kernels.reference.lattice import ROUNDED_SCALE, stored_as
from tests.kernels import samples

BLOCKS = 512
names = pytest.mark.parametrize("name", LATTICES)
storings = pytest.mark.parametrize("stored", STORED)


def blocks_of(name: str, distribution: str = "student-t 4") -> np.ndarray:
    """Blocks of a format as its search makes them."""
    x = samples.blocks_of(name, samples.weights(distribution)[: BLOCKS * FORMATS[name].elements])
    return dispatch.encode(name, x, backend="reference")


def values(name: str, blocks: np.ndarray) -> np.ndarray:
    return dispatch.decode(name, blocks, FORMATS[name].elements, backend="reference")


def lattice_of(scale: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Rows of float32, scale (groups, 1) times codes (groups, n)."""
    return scale.astype(np.float32) * codes.astype(np.float32)


def scales(count: int) -> np.ndarray:
    """Positive scales (count, 1) of a usual size that no half can hold."""
    return np.random.default_rng(4).uniform(0.001, 0.004, (count, 1)).astype(np.float32)


@storings
@names
def test_decoded_blocks_come_back_to_the_bit(name, stored):
    x = stored_as(stored, values(name, blocks_of(name)))
    found = repack(name, x, stored)
    assert not found.error.any()
    assert np.array_equal(stored_as(stored, values(name, found.blocks)), x)
    assert detect(name, x, stored).lossless


@names
def test_of_floats_of_24_bits_the_blocks_themselves_come_back(name):
    blocks = blocks_of(name)
    again = repack(name, values(name, blocks), "F32").blocks
    assert (again == blocks).mean() >= 0.999


def test_scales_in_bf16_are_found_in_weights_in_bf16():
    """A model trained for Q4_0 with scales in BF16 and published in BF16: nearly every byte is known."""
    rng = np.random.default_rng(7)
    codes = np.clip(np.rint(rng.standard_normal((4096, 32)) * 3), -8, 7)
    codes[np.arange(4096), rng.integers(0, 32, 4096)] = -8
    scale = stored_as("BF16", scales(4096) * rng.choice([-1, 1], (4096, 1)).astype(np.float32))
    x = stored_as("BF16", lattice_of(scale, codes))
    found = repack("Q4_0", x, "BF16")
    assert not found.error.any()
    made = np.concatenate(
        [scale.astype(np.float16).view(np.uint8), lattice.pack_nibbles((codes + 8).astype(np.uint8))], 1
    )
    assert (found.blocks == made).mean() >= 0.999


@pytest.mark.parametrize("group", [32, 64, 128])
@storings
def test_symmetric_groups_of_other_programs_fit_q4_0(stored, group):
    codes = np.random.default_rng(8).integers(-8, 8, (256, group))
    x = stored_as(stored, lattice_of(stored_as("F16", scales(256)), codes)).reshape(-1, 128)
    assert detect("Q4_0", x, stored).lossless


@pytest.mark.parametrize("stored", ["F16", "F32"])
def test_groups_with_zero_points_fit_q4_1_but_for_the_rounding_of_minima(stored):
    rng = np.random.default_rng(9)
    codes, zeros = rng.integers(0, 16, (256, 128)), rng.integers(4, 12, (256, 1))
    x = stored_as(stored, lattice_of(stored_as("F16", scales(256)), codes - zeros))
    found = detect("Q4_1", x, stored)
    assert found.on_lattice
    assert found.near == 1
    assert 0 < found.error <= ROUNDED_SCALE
    assert not found.lossless


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0", "Q4_0", "Q2_0"])
@storings
def test_ternary_weights_are_kept_by_everything_with_three_levels(name, stored):
    x = lattice_of(np.full((16, 1), 0.0234375), np.random.default_rng(2).integers(-1, 2, (16, 512)))
    assert detect(name, x, stored).lossless


@storings
@names
def test_ordinary_weights_are_on_no_lattice(name, stored):
    x = stored_as(stored, samples.weights("normal")[:8192].reshape(4, 2048))
    found = detect(name, x, stored)
    assert not found.on_lattice
    assert found.exact < 0.1


def test_zeros_say_nothing():
    x = np.zeros((4, 256), np.float32)
    assert not detect("Q4_0", x, "F16").lossless
    assert not repack("Q4_0", x.reshape(-1, 32), "F16").error.any()


@names
def test_odd_weights_do_no_harm(name):
    x = samples.blocks_of(name, samples.weights("normal")[: 8 * 512]).copy()
    x[0, 0], x[1, 1], x[2], x[3] = np.nan, np.inf, 1e38, 1e-45
    found = repack(name, x, "F32")
    assert found.error[0] > 0 or np.isnan(found.error[0])
    assert found.error[1] > 0
    assert found.blocks.shape == (len(x), FORMATS[name].bytes)


def test_what_has_no_lattice_is_refused():
    with pytest.raises(ValueError, match="no lattice"):
        repack("IQ2_S", np.zeros((1, 256), np.float32), "F32")
    with pytest.raises(ValueError, match="expected, not 'Q4_0'"):
        repack("Q4_0", np.zeros((1, 32), np.float32), "Q4_0")

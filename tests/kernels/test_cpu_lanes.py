"""The lane types of compiled code: what each operation means, above all where there is NaN."""

from __future__ import annotations

import numpy as np

from kernels.cpu import batches, lanes, lookup, vectors
from kernels.cpu.compiled import compiled

NAN = np.float32(np.nan)


@compiled
def _clip(x, out):
    lanes.store(out, 0, vectors.smaller(vectors.larger(lanes.load(x, 0), 0), 15))


@compiled
def _rounded(x, out):
    lanes.store(out, 0, vectors.rint(lanes.load(x, 0)))
    lanes.store(out, 16, vectors.round_away(lanes.load(x, 0)))


@compiled
def _extremes(x, out):
    out[0] = vectors.smallest(lanes.load(x, 0))
    out[1] = vectors.largest(lanes.load(x, 0))


@compiled
def _transpose(x, first, second, stride, out):
    columns = lanes.room(16)
    lanes.load_columns(x, first, second, stride, columns)
    for i in range(16):
        lanes.store(out, 16 * i, columns[i])


@compiled
def _bits_there_and_back(words, out):
    for i in range(words.size):
        out[i] = vectors.lanes_to_bits(vectors.bits_to_lanes(words[i]))


@compiled
def _bytes_there_and_back(data, out):
    codes = lanes.load_bytes(data, 1)
    lanes.store_bytes(out, 0, ((codes >> 4) << 4) | (codes & 15))
    signed = lanes.load_signed_bytes(data, 1)
    lanes.store_bytes(out, 16, vectors.to_integers(vectors.to_floats(signed)))


def test_clipping_makes_a_number_of_anything():
    x = np.array([NAN, -NAN, np.inf, -np.inf, -1, 0, 7.5, 15, 16, 3e38, -3e38, 1e-45, NAN, 2, 3, 4], np.float32)
    out = np.empty(16, np.float32)
    _clip(x, out)
    expected = np.clip(np.nan_to_num(x, nan=0, posinf=15, neginf=0), 0, 15)
    np.testing.assert_array_equal(out, expected)


def test_halves_round_to_even_or_away_from_zero():
    halves = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 4194303.5]
    x = np.array([*halves, 0.49999997, -0.49999997, 127, 3, -3, 0, 1.25, 1.75], np.float32)
    out = np.empty(32, np.float32)
    _rounded(x, out)
    np.testing.assert_array_equal(out[:16], np.rint(x))
    np.testing.assert_array_equal(out[16:], np.trunc(x.astype(np.float64) + np.copysign(0.5, x)))


def test_extremes_are_found_in_every_lane():
    out = np.empty(2, np.float32)
    for lane in range(16):
        x = np.zeros(16, np.float32)
        x[lane], x[lane - 3] = 5, -7
        _extremes(x, out)
        assert out.tolist() == [-7, 5]


def test_columns_of_two_runs_of_rows():
    x = np.arange(2000, dtype=np.float32)
    out = np.empty(256, np.float32)
    _transpose(x, 3, 1000, 32, out)
    rows = [x[start + 32 * row : start + 32 * row + 16] for start in (3, 1000) for row in range(8)]
    np.testing.assert_array_equal(out.reshape(16, 16), np.stack(rows).T)


def test_bits_and_bytes_survive_the_lanes():
    words = np.array([0, 1, 0x8000, 0xFFFF, 0xA5C3], np.int64)
    back = np.empty_like(words)
    _bits_there_and_back(words, back)
    np.testing.assert_array_equal(back, words)
    data = np.array([9, *range(0, 256, 16), 255], np.uint8)
    out = np.empty(32, np.uint8)
    _bytes_there_and_back(data, out)
    np.testing.assert_array_equal(out.reshape(2, 16), np.stack([data[1:17]] * 2))


THRESHOLDS, VALUES = [-2.0, 0.5, 3.0], [-7, -1, 4, 100]
reached = lookup.stairs_of_floats(">=", THRESHOLDS, VALUES)
passed = lookup.stairs_of_floats(">", THRESHOLDS, VALUES)
value_of_code = lookup.stairs_of_codes(VALUES)


@compiled
def _stairs(x, codes, out):
    lanes.store(out, 0, vectors.to_floats(reached(lanes.load(x, 0))))
    lanes.store(out, 16, vectors.to_floats(passed(lanes.load(x, 0))))
    lanes.store(out, 32, vectors.to_floats(value_of_code(lanes.load_bytes(codes, 0))))


@compiled
def _any_above_zero(x):
    return lookup.any_lane(lanes.load(x, 0) > 0)


@compiled
def _batch(x, importance, first, count, batch, spreads, weights):
    batches.take(x, first, count, 32, batch)
    lanes.store(spreads, 0, batches.energies(batch, 32))
    batches.weigh(batch, importance, first, 32, spreads, weights)


def test_positions_in_a_rising_table():
    x = np.array([-3, -2, -1.5, 0.5, 0.4999, 2, 3, 3.5, NAN, np.inf, -np.inf, 0, 1, 2.5, -2.5, 9], np.float32)
    codes = np.arange(16, dtype=np.uint8) % 4
    out = np.empty(48, np.float32)
    _stairs(x, codes, out)
    # NaN reaches nothing.
    known = np.where(np.isnan(x), -np.inf, x)
    np.testing.assert_array_equal(out[:16], np.take(VALUES, np.searchsorted(THRESHOLDS, known, side="right")))
    np.testing.assert_array_equal(out[16:32], np.take(VALUES, np.searchsorted(THRESHOLDS, known, side="left")))
    np.testing.assert_array_equal(out[32:], np.take(VALUES, codes))


def test_one_lane_is_enough():
    x = np.full(16, NAN, np.float32)
    assert not _any_above_zero(x)
    for lane in range(16):
        x[:] = -1
        x[lane] = 1
        assert _any_above_zero(x)


def test_a_batch_is_padded_and_importance_starts_again_with_every_row():
    random = np.random.default_rng(0)
    x = random.standard_normal((20, 32), dtype=np.float32)
    importance = random.random((5, 32), dtype=np.float32)
    batch, weights = np.empty((16, 32), np.float32), np.empty((16, 32), np.float32)
    spreads = np.empty(16, np.float32)
    _batch(x.ravel(), importance.ravel(), 7, 13, batch.ravel(), spreads, weights.ravel())
    np.testing.assert_array_equal(batch[:13], x[7:])
    assert not batch[13:].any()
    np.testing.assert_array_equal(spreads, np.cumsum(batch * batch, axis=1, dtype=np.float32)[:, -1])
    expected = importance[np.arange(7, 23) % 5] * np.sqrt(spreads[:, None] + batch * batch)
    np.testing.assert_array_equal(weights, expected)

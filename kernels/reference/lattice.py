"""Weights that lie on a lattice already: which codes and scales of a format decode to them, as they are stored.

A model that was trained for a format, or quantized and then written as floats again, has weights scale·level (or
scale·code + minimum) in every group, rounded to the floats that they are stored as. A search for least error meets
such a lattice by accident only: its scale would have to be right to the last bit. Here it is solved for:

    levels   the largest magnitude of a group is scale·level for one of few levels; each level gives a scale, a scale
             gives the codes, and the codes, by least squares, the scale again, more exactly than one weight says it
    affine   the range of a group is a whole number of scales; each number gives a scale, a scale gives the codes, and
             each code for the smallest weight a minimum

Then every scale and minimum near by that the format can store is decoded and rounded as the weights are stored. A
block is exact where all weights come back. Where none does, the candidate with the smallest largest error is kept: of
a lattice with scales that no half can hold, the one with the right codes and the nearest half.

Rounding: float32 keeps 24 bits, F16 11, BF16 8; scales of formats are mostly halves. Of several exact scales those with
few bits come first, since checkpoints in BF16 were made with scales in BF16 (llama.cpp pull request 24603).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.reference import floats
from kernels.reference.layout import Bytes, Floats, c_arithmetic
from kernels.reference.microscaling import half_of_ue4m3

Indices = npt.NDArray[np.intp]
# From estimates (n,) to scales near by that a format can store, each (n,).
Storable = Callable[[Floats], Iterator[Floats]]

# The largest error, as a part of a group's largest weight, that rounding a scale or minimum to a half explains, where
# weights in F16 round once more.
ROUNDED_SCALE = 2.0**-10
# How far weights may be from the first guess of their lattice, as a part of the largest: twice what storing them as
# floats rounds off, once of the weight and once, by way of the scale, of the largest.
NEAR = {"F32": 2.0**-20, "F16": 2.0**-9, "BF16": 2.0**-7}
MANY_LEVELS = 64
NEIGHBOURS = 4  # halves tried to either side of an estimate
# Bits of the fraction that floats are stored with, and the exponent of the smallest normal ones.
FRACTIONS = {"F32": (23, -126), "F16": (10, -14), "BF16": (7, -126)}


def stored_as(name: str, x: Floats) -> Floats:
    """Values rounded to F32, F16 or BF16, as float32."""
    with c_arithmetic():
        if name == "F16":
            return x.astype(np.float16).astype(np.float32)
        if name == "BF16":
            return floats.decode_bf16(floats.encode_bf16(x.reshape(-1, 1))).reshape(x.shape)
    return x


def halves_near(estimates: Floats) -> Iterator[Floats]:
    """Halves next to the estimates, those first that are BF16 as well; minima may be halves too."""
    brief = stored_as("BF16", estimates)
    yield brief.astype(np.float16).astype(np.float32)
    nearest = estimates.astype(np.float16)
    yield nearest.astype(np.float32)
    for towards in (np.inf, -np.inf):
        neighbour = nearest
        for _ in range(NEIGHBOURS):
            neighbour = np.nextafter(neighbour, np.float16(towards))
            yield neighbour.astype(np.float32)
    step = np.abs(brief) * np.float32(2.0**-7)
    for other in (brief + step, brief - step):
        yield stored_as("BF16", other).astype(np.float16).astype(np.float32)


def powers_near(estimates: Floats) -> Iterator[Floats]:
    """The nearest power of two; MXFP4 stores no sign and nothing else."""
    exponent = np.clip(np.rint(np.log2(np.abs(estimates).astype(np.float64))), -128, 127)
    yield np.exp2(np.where(np.isfinite(exponent), exponent, 0)).astype(np.float32)


def small_floats_near(estimates: Floats) -> Iterator[Floats]:
    """Half the values of UE4M3, which the scales of NVFP4 are: the nearest one and its neighbours."""
    values = half_of_ue4m3(np.arange(127, dtype=np.uint8))
    place = np.searchsorted((values[1:] + values[:-1]) / 2, np.abs(estimates))
    for step in (0, -1, 1):
        yield values[np.clip(place + step, 0, 126)]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Groups on a lattice: scale and minimum (n,), codes (n, elements), and error (n,).

    error: the largest of a group, as a part of its largest weight; 0 where the group is exact.
    """

    scale: Floats
    minimum: Floats
    codes: Bytes
    error: Floats

    @classmethod
    def empty(cls, n: int, elements: int, code: int) -> Fitted:
        """Nothing found yet: all weights 0, which is exact for a group of zeros."""
        error = np.full(n, np.inf, np.float32)
        return cls(np.zeros(n, np.float32), np.zeros(n, np.float32), np.full((n, elements), code, np.uint8), error)

    def keep(self, rows: Indices, scale: Floats, minimum: Floats, codes: Bytes, error: Floats) -> None:
        """Take over groups `rows` where the error is smaller than what was found before."""
        better = error < self.error[rows]
        at = rows[better]
        self.scale[at], self.minimum[at] = scale[better], minimum[better]
        self.codes[at], self.error[at] = codes[better], error[better]

    def worse(self, rows: Indices, error: float) -> Indices:
        """Those of `rows` whose error is larger."""
        return rows[~(self.error[rows] <= np.float32(error))]


class Target:
    """Groups of weights (n, elements) and how they are stored: measures candidates."""

    def __init__(self, x: Floats, stored: str) -> None:
        """stored: F32, F16 or BF16, whose rounding the weights went through."""
        self.x, self.stored = x, stored
        self.largest = np.abs(x).max(axis=1)

    def near(self, rows: Indices, y: Floats) -> npt.NDArray[np.bool_]:
        """Whether a first guess y for groups `rows` is near enough to be their lattice."""
        distance = np.abs(y - self.x[rows]).max(axis=1)
        near: npt.NDArray[np.bool_] = distance <= np.float32(NEAR[self.stored]) * self.largest[rows]
        return near

    def half_step(self, rows: Indices) -> npt.NDArray[np.float64]:
        """How far from each weight of groups `rows` floats are stored as that weight."""
        fraction, smallest = FRACTIONS[self.stored]
        exponent = np.frexp(self.x[rows].astype(np.float64))[1] - 1
        half: npt.NDArray[np.float64] = np.exp2(np.maximum(exponent, smallest) - fraction - 1.0)
        return half

    def error(self, rows: Indices, y: Floats) -> Floats:
        """The largest error of values y for groups `rows`, as a part of their largest weight; 0 where there is none."""
        difference = np.abs(stored_as(self.stored, y) - self.x[rows]).max(axis=1)
        return np.where(difference == 0, np.float32(0), difference / self.largest[rows])


@dataclass(frozen=True, slots=True)
class Levels:
    """A lattice scale·values[code]: what is to be tried for it.

    extremes: the levels that the largest magnitude of a group may be, the likeliest first; negative ones stand for
    scales of either sign. storable: the scales that a format has near an estimate.
    """

    values: Floats
    extremes: tuple[float, ...]
    storable: Storable

    def scale(self, extreme: Floats, level: float) -> Floats:
        """The scale at which the largest weights are a level."""
        scale: Floats = extreme / np.float32(level)
        return scale if min(self.extremes) < 0 else np.abs(scale)

    def nearest(self, x: Floats, scale: Floats) -> tuple[Floats, Bytes]:
        """The values nearest to weights (n, elements) over scales (n,), and their codes."""
        values, code_of = np.unique(self.values, return_index=True)
        places = np.searchsorted((values[1:] + values[:-1]) / 2, x / scale[:, None])
        return values[places], code_of[places].astype(np.uint8)


def fit_levels(target: Target, lattice: Levels) -> Fitted:
    """Groups as scale·level."""
    x, levels = target.x, lattice.values
    found = Fitted.empty(len(x), x.shape[1], int(np.flatnonzero(levels == 0)[0]) if (levels == 0).any() else 0)
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)[:, 0]
    found.error[extreme == 0] = 0
    # Few levels may have several lattices for the same weights, of which one has a scale that is stored exactly.
    enough = ROUNDED_SCALE if len(levels) > MANY_LEVELS else 0.0
    rows = found.worse(np.arange(len(x)), enough)
    for level in lattice.extremes:
        if not len(rows):
            break
        guess = lattice.scale(extreme[rows], level)
        values, _ = lattice.nearest(x[rows], guess)
        fitted = _least_squares(x[rows], values)
        near = target.near(rows, values * fitted[:, None])
        _try_scales(target, found, (rows[near], values[near]), (guess[near], fitted[near]), lattice)
        rows = found.worse(rows, enough)
    return found


def _least_squares(x: Floats, values: Floats) -> Floats:
    """The scale (n,) of least error for groups and the values of their codes, (n, elements)."""
    wide = values.astype(np.float64)
    scale: Floats = ((x * wide).sum(axis=1) / np.square(wide).sum(axis=1)).astype(np.float32)
    return scale


def _middle(target: Target, rows: Indices, values: Floats) -> Floats:
    """The middle of all scales (n,) whose products with values would be stored as the weights, where there are any."""
    x, half_step = np.abs(target.x[rows]).astype(np.float64), target.half_step(rows)
    size = np.where(values == 0, np.nan, np.abs(values))
    low, high = np.fmax.reduce((x - half_step) / size, axis=1), np.fmin.reduce((x + half_step) / size, axis=1)
    middle: Floats = ((low + high) / 2).astype(np.float32)
    return middle


def _try_scales(
    target: Target, found: Fitted, valued: tuple[Indices, Floats], guesses: tuple[Floats, Floats], lattice: Levels
) -> None:
    """Keep the best scale near guesses or in the middle of the exact ones, for groups with the values of their codes.

    Each scale has codes of its own: where levels are many, a weight may be as near to two as the floats are fine.
    """
    rows, values = valued
    middle = np.copysign(_middle(target, rows, values), guesses[0])
    for estimate in (guesses[0], middle, guesses[1]):
        for candidate in lattice.storable(estimate):
            left = np.flatnonzero(found.error[rows] > 0)
            if not len(left):
                return
            tried = candidate[left]
            levels, codes = lattice.nearest(target.x[rows[left]], tried)
            error = target.error(rows[left], tried[:, None] * levels)
            found.keep(rows[left], tried, np.zeros_like(tried), codes, error)


def fit_affine(target: Target, top: int) -> Fitted:
    """Groups as scale·code + minimum, codes 0..top, both halves."""
    x = target.x
    found = Fitted.empty(len(x), x.shape[1], 0)
    low, high = x.min(axis=1), x.max(axis=1)
    _try_constants(target, found, low)
    rows = found.worse(np.flatnonzero(high > low), ROUNDED_SCALE)
    # From few steps on: those of a lattice are also, three by three, those of a finer one.
    for steps in range(1, top + 1):
        if not len(rows):
            break
        scale = (high[rows] - low[rows]) / np.float32(steps)
        codes = np.rint((x[rows] - low[rows, None]) / scale[:, None])
        near = target.near(rows, codes * scale[:, None] + low[rows, None])
        _try_affine(target, found, (rows[near], codes[near]), top - steps)
        rows = found.worse(rows, ROUNDED_SCALE)
    return found


def _try_constants(target: Target, found: Fitted, low: Floats) -> None:
    """Groups of one value are their minimum."""
    rows = np.arange(len(low))
    minimum = low.astype(np.float16).astype(np.float32)
    y = np.repeat(minimum[:, None], target.x.shape[1], axis=1)
    found.keep(rows, np.zeros_like(low), minimum, np.zeros(target.x.shape, np.uint8), target.error(rows, y))


def _try_affine(target: Target, found: Fitted, coded: tuple[Indices, Floats], spare: int) -> None:
    """Keep the best scale and minimum near the least squares ones, the smallest weight having code 0 up to `spare`."""
    rows, codes = coded
    x, half_step = target.x[rows].astype(np.float64), target.half_step(rows)
    centred = codes - codes.mean(axis=1, keepdims=True, dtype=np.float64)
    slope = (x * centred).sum(axis=1) / np.square(centred).sum(axis=1)
    for offset in range(spare + 1):
        shifted = codes + np.float32(offset)
        for scale in halves_near(slope.astype(np.float32)):
            # The middle of all minima that, with this scale, would be stored as the weights, where there are any.
            products = shifted.astype(np.float64) * scale[:, None]
            low, high = (x - half_step - products).max(axis=1), (x + half_step - products).min(axis=1)
            for minimum in halves_near(((low + high) / 2).astype(np.float32)):
                left = np.flatnonzero(found.error[rows] > 0)
                if not len(left):
                    return
                y = shifted[left] * scale[left, None] + minimum[left, None]
                error = target.error(rows[left], y)
                found.keep(rows[left], scale[left], minimum[left], shifted[left].astype(np.uint8), error)

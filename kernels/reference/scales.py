"""Even steps over a range of weights, and which share of it suits each group of weights best: in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.reference.floats import decode_bf16, encode_bf16

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Ends = tuple[Floats, Floats]

# The smallest positive numbers of the types: a scale must not become 0, which would turn weights into NaN.
SMALLEST = {
    "F32": np.float32(2.0**-126),
    "F16": np.float32(2.0**-24),
    "BF16": np.float32(2.0**-126),
    "BF16+F16": np.float32(2.0**-24),
}


@dataclass(frozen=True, slots=True)
class Levels:
    """Which whole numbers q there are, w ~ scale * (q - zero), and the type that scales are stored in.

    spread: how many steps a range is divided into; of symmetric levels, whose zero is 0, its larger magnitude.
    lowest_zero: the least zero that can be stored.
    """

    lowest: int
    highest: int
    lowest_zero: int
    spread: float
    symmetric: bool
    scale_type: str


def rounded(x: Floats, kind: str) -> Floats:
    """The nearest numbers of a type, F32, F16 or BF16; positive numbers stay positive. Too large becomes infinite.

    Of BF16+F16 they are numbers of both: F16 keeps of a BF16 number's eight digits all, or, where it is small, fewer.
    """
    x = np.asarray(x, np.float32)
    if kind == "BF16+F16":
        return rounded(rounded(x, "BF16"), "F16")
    if kind == "F16":
        with np.errstate(over="ignore"):
            stored = x.astype(np.float16).astype(np.float32)
    elif kind == "BF16":
        stored = decode_bf16(encode_bf16(x.reshape(-1, 1)).reshape(-1, 2)).reshape(x.shape)
    else:
        stored = x
    return np.maximum(stored, SMALLEST[kind])


def covering(low: Floats, high: Floats, levels: Levels) -> Ends:
    """Scales and zeros that cover [low, high]: float32 arrays of their shape, zeros whole numbers.

    Without symmetry the range is widened to hold 0. A zero that cannot be stored moves up, and the steps above it
    must be wider to reach as far.
    """
    if levels.symmetric:
        reach = np.maximum(np.abs(low), np.abs(high)).astype(np.float32)
        return _scales(reach / np.float32(levels.spread), levels), np.zeros_like(reach)
    low, high = np.minimum(low, 0).astype(np.float32), np.maximum(high, 0).astype(np.float32)
    scales = _scales((high - low) / np.float32(levels.spread), levels)
    zeros = levels.lowest - np.rint(low / scales)
    wider = _scales(high / np.float32(levels.highest - levels.lowest_zero), levels)
    scales = np.where(zeros < levels.lowest_zero, np.maximum(scales, wider), scales)
    return scales, np.clip(zeros, levels.lowest_zero, levels.highest).astype(np.float32)


def _scales(scales: Floats, levels: Levels) -> Floats:
    """Rounded to their type; of a group that is all zero, 1."""
    return np.where(scales > 0, rounded(scales, levels.scale_type), np.float32(1))


def best_ends(groups: Floats, importance: Floats, shares: Floats, steps: tuple[Places, ...], levels: Levels) -> Ends:
    """The ends (m,), (m,) of the share of each group's whole range with the least weighted squared error.

    groups: float32 (m, g), the rows of a matrix cut into pieces. importance: float32 (columns,), repeated along the
    matrix. shares: float32, of the whole range. steps: which of them are tried, counted from the first in the first
    round and from the best of the round before in each after it; of equals the first stays.
    """
    low, high = groups.min(axis=1), groups.max(axis=1)
    repeats = -(-groups.size // len(importance))
    weights = np.tile(importance, repeats)[: groups.size].reshape(groups.shape).astype(np.float64)
    found = np.zeros(len(groups), np.int64)
    for round_ in steps:
        tried = np.clip(found[:, None] + round_, 0, len(shares) - 1)
        scales, zeros = covering(low[:, None] * shares[tried], high[:, None] * shares[tried], levels)
        grids = zip(scales.T[..., None], zeros.T[..., None], strict=True)
        errors = np.stack([_errors(groups, weights, scale, zero, levels) for scale, zero in grids])
        found = np.take_along_axis(tried, errors.argmin(axis=0)[:, None], axis=1)[:, 0]
    return low * shares[found], high * shares[found]


def _errors(
    groups: Floats, weights: npt.NDArray[np.float64], scale: Floats, zero: Floats, levels: Levels
) -> npt.NDArray[np.float64]:
    """Of each group, with a scale and a zero of its own (m, 1)."""
    codes = np.clip(np.rint(groups * (1 / scale)) + zero, np.float32(levels.lowest), np.float32(levels.highest))
    errors: npt.NDArray[np.float64] = (weights * (groups - scale * (codes - zero)) ** 2).sum(axis=1)
    return errors

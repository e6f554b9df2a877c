"""Linear integers of 2 to 8 bits: one scale, and where wanted one zero point, per tensor, per row or per group.

A weight w is stored as an integer q with w ~ scale * (q - zero). Integers are signed, from -2^(b-1) to 2^(b-1) - 1.
Symmetric: zero is 0. `full_range` uses all 2^b integers (scale = 2 reach / (2^b - 1), as compressed-tensors and GPTQ
have it), otherwise only those of +-(2^(b-1) - 1), which map the reach exactly. Asymmetric: the range is widened to
hold 0, so that the zero point is one of the integers. Scales are rounded to the type they are stored in before any
weight is divided by them. Source: Nagel et al., A White Paper on Neural Network Quantization, arXiv 2106.08295.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.methods.table import CHANNEL, TENSOR
from kernels.reference.scales import Levels, covering

Floats = NDArray[np.float32]


def common_type(kinds: Iterable[str]) -> str:
    """The type of scales that numbers of all these types hold exactly: F32, F16, BF16, or BF16+F16."""
    return "+".join(sorted(set(kinds) - {"F32"})) or "F32"


@dataclass(frozen=True, slots=True)
class Scheme:
    """What the integers are. group: TENSOR, CHANNEL (a row), or how many weights of a row share a scale.

    scale_type: what scales are stored in, F32, F16, BF16 or BF16+F16 (either). first_zero: the least zero point that
    can be stored, counted from the lowest integer.
    """

    bits: int
    group: int = CHANNEL
    symmetric: bool = True
    full_range: bool = True
    scale_type: str = "F32"
    first_zero: int = 0

    @property
    def lowest(self) -> int:
        """The smallest integer."""
        return -(1 << (self.bits - 1)) + (0 if self.full_range or not self.symmetric else 1)

    @property
    def highest(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - 1)) - 1

    @property
    def lowest_zero(self) -> int:
        """The least zero point."""
        return self.lowest + self.first_zero

    @property
    def levels(self) -> Levels:
        """The integers, and how a range is divided into steps of theirs."""
        spread = float((1 << self.bits) - 1)
        if self.symmetric:
            spread = spread / 2 if self.full_range else float(self.highest)
        return Levels(self.lowest, self.highest, self.lowest_zero, spread, self.symmetric, self.scale_type)

    def grouped(self, w: Floats) -> Floats:
        """A matrix (rows, columns) as (groups, weights in a group). Raises ValueError where groups do not divide."""
        rows, columns = w.shape
        length = {TENSOR: rows * columns, CHANNEL: columns}.get(self.group, self.group)
        if columns % length and self.group != TENSOR:
            raise ValueError(f"rows of {columns} weights cannot be divided into groups of {length}")
        return np.ascontiguousarray(w, np.float32).reshape(-1, length)

    def scale_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """The shape of the scales of a matrix: (1, 1), (rows, 1) or (rows, groups in a row)."""
        if self.group == TENSOR:
            return 1, 1
        return rows, 1 if self.group == CHANNEL else columns // self.group


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A quantized matrix. codes: int8 (rows, columns). scales: float32, zeros: int8, both `scheme.scale_shape`."""

    scheme: Scheme
    codes: NDArray[np.int8]
    scales: Floats
    zeros: NDArray[np.int8]

    def values(self) -> Floats:
        """What the integers stand for: float32 (rows, columns)."""
        groups = self.scheme.grouped(self.codes.astype(np.float32))
        with np.errstate(invalid="ignore"):  # a scale too large for its type is infinite, and shows in the values
            flat = (groups - self.zeros.reshape(-1, 1).astype(np.float32)) * self.scales.reshape(-1, 1)
        return flat.reshape(self.codes.shape)


def grid(low: Floats, high: Floats, scheme: Scheme) -> tuple[Floats, Floats]:
    """Scales and zero points that cover [low, high]: float32 arrays of their shape, zero points whole numbers."""
    return covering(low, high, scheme.levels)


def codes_of(groups: Floats, scales: Floats, zeros: Floats, scheme: Scheme) -> NDArray[np.int8]:
    """The nearest integers: int8 (groups, weights). scales, zeros: float32 (groups,)."""
    codes = np.rint(groups / scales[:, None])
    codes += zeros[:, None]
    clipped: NDArray[np.int8] = np.clip(codes, scheme.lowest, scheme.highest, out=codes).astype(np.int8)
    return clipped


def assembled(w: Floats, scales: Floats, zeros: Floats, scheme: Scheme) -> Linear:
    """A matrix rounded to given scales and zero points, both float32 (groups,)."""
    codes = codes_of(scheme.grouped(w), scales, zeros, scheme)
    shape = scheme.scale_shape(*w.shape)
    return Linear(scheme, codes.reshape(w.shape), scales.reshape(shape), zeros.astype(np.int8).reshape(shape))

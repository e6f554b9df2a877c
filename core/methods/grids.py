"""What a matrix' columns may become: the grids that GPTQ rounds to, fitted block by block on the weights as they are.

The solver knows of a grid no more than this: a number w becomes scale * q + offset with a whole number q, and which
columns of a row share scale and offset. What else a form stores is the grid's own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.methods.linear import Floats, Linear, Scheme, grid
from core.methods.ranges import RULES, RangeSetting
from core.methods.table import CHANNEL, TENSOR

Codes = NDArray[np.int8]


class Values(Protocol):
    """A quantized matrix."""

    def values(self) -> Floats:
        """What it stands for: float32 (rows, columns)."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Some columns' grid. scales, offsets: float32 (rows, groups of columns). stored: the form's own, rows first."""

    scales: Floats
    offsets: Floats
    stored: tuple[NDArray[Any], ...]


class Grid(Protocol):
    """A form of quantized weights with evenly spaced levels.

    length: columns that are fitted together. step: columns that share a scale. ends: the lowest and the highest q.
    """

    @property
    def length(self) -> int: ...  # noqa: D102

    @property
    def step(self) -> int: ...  # noqa: D102

    @property
    def ends(self) -> tuple[int, int]: ...  # noqa: D102

    def fit(self, w: Floats, importance: Floats) -> Fitted:
        """The grid of weights (rows, length), whose columns' errors count as importance (length,) says."""

    def fits(self, w: Floats, importance: Floats) -> list[Fitted]:
        """The grids of all pieces of weights (rows, columns), with importance (columns,)."""

    def assembled(self, codes: Codes, fitted: Sequence[Fitted]) -> Values:
        """A matrix from q (rows, columns) and its columns' grids, in order."""

    def joined(self, parts: Sequence[Any]) -> Values:
        """One matrix from consecutive rows of it."""


@dataclass(frozen=True, slots=True)
class IntegerGrid:
    """Linear integers of rows with so many columns. ranges: how a group's range is found.

    Raises ValueError where groups do not divide the rows or are the whole tensor.
    """

    scheme: Scheme
    ranges: RangeSetting
    columns: int

    def __post_init__(self) -> None:
        if self.scheme.group == TENSOR:
            raise ValueError("columns are fitted row by row, not for a whole tensor")
        if self.columns % self.length:
            raise ValueError(f"rows of {self.columns} weights cannot be divided into groups of {self.length}")

    @property
    def length(self) -> int:
        """A group, or a row."""
        return self.columns if self.scheme.group == CHANNEL else self.scheme.group

    @property
    def step(self) -> int:
        """A group."""
        return self.length

    @property
    def ends(self) -> tuple[int, int]:
        """Of the integers."""
        return self.scheme.lowest, self.scheme.highest

    def fit(self, w: Floats, importance: Floats) -> Fitted:
        """One scale and one zero point for each row."""
        return self.fits(w, importance)[0]

    def fits(self, w: Floats, importance: Floats) -> list[Fitted]:
        """The same of all groups."""
        own = self._of_rows
        pieces = importance.reshape(-1, self.length)
        # A group that no input reaches counts its columns alike.
        known = np.where(pieces.any(axis=1, keepdims=True), pieces, np.float32(1))
        weights = (known / known.max(axis=1, keepdims=True)).reshape(-1)
        groups = np.ascontiguousarray(w).reshape(-1, self.length)
        ends = RULES[self.ranges.rule](groups, weights, own, self.ranges)
        scales, zeros = (values.reshape(len(w), -1, 1) for values in grid(*ends, own))
        return [
            Fitted(scale, -scale * zero, (scale, zero.astype(np.int8)))
            for scale, zero in zip(scales.swapaxes(0, 1), zeros.swapaxes(0, 1), strict=True)
        ]

    @property
    def _of_rows(self) -> Scheme:
        known = self.scheme
        return Scheme(known.bits, CHANNEL, known.symmetric, known.full_range, known.scale_type, known.first_zero)

    def assembled(self, codes: Codes, fitted: Sequence[Fitted]) -> Linear:
        """As integers with scales and zero points."""
        scales, zeros = (np.concatenate([part.stored[kind] for part in fitted], axis=1) for kind in range(2))
        return Linear(self.scheme, codes, scales, zeros)

    def joined(self, parts: Sequence[Linear]) -> Linear:
        """One matrix from its rows."""
        return Linear(self.scheme, *(np.concatenate([getattr(part, name) for part in parts]) for name in PARTS))


PARTS = ("codes", "scales", "zeros")

"""GGUF's blocks as grids for GPTQ: scales found by the program's own searches, codes by the solver.

Types of evenly spaced levels only (kernels.block_levels); a block's scales are fitted to its weights as they are when
the solver arrives there, with the importance of their columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.methods.grids import Codes, Fitted
from core.methods.linear import Floats
from kernels import dispatch
from kernels.block_levels import LEVELS, tables, with_codes
from kernels.blocks import FORMATS

# With this scale every weight becomes the number 0, in the place of a scale of 0, which cannot be divided by.
HUGE = np.float32(1e30)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A quantized matrix. data: uint8 (rows, bytes of a row)."""

    type: str
    data: NDArray[np.uint8]
    columns: int

    def values(self) -> Floats:
        """What it stands for: float32 (rows, columns)."""
        return dispatch.decode(self.type, self.data, self.columns)


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """Blocks of one type in rows of so many columns, which they divide. search: how hard scales are searched for."""

    type: str
    columns: int
    search: Literal["reference", "fast", "best"] = "fast"

    @property
    def length(self) -> int:
        """A block."""
        return FORMATS[self.type].elements

    @property
    def step(self) -> int:
        """A part of a block with a scale of its own."""
        return LEVELS[self.type].step

    @property
    def ends(self) -> tuple[int, int]:
        """Of the codes."""
        return LEVELS[self.type].ends

    def fit(self, w: Floats, importance: Floats) -> Fitted:
        """One block of every row."""
        # Blocks that no input reaches count their columns alike; the searches want numbers that are neither huge nor 0.
        known = importance if importance.any() else np.ones_like(importance)
        weights = np.maximum(known / known.mean(), np.float32(1e-6)).astype(np.float32)
        data = dispatch.encode(self.type, np.ascontiguousarray(w), importance=weights, fit=self.search)
        scales, offsets = tables(self.type, data)
        return Fitted(np.where(scales == 0, HUGE, scales), offsets, (data,))

    def fits(self, w: Floats, importance: Floats) -> list[Fitted]:
        """All blocks of every row."""
        places = [slice(first, first + self.length) for first in range(0, w.shape[1], self.length)]
        return [self.fit(w[:, part], importance[part]) for part in places]

    def assembled(self, codes: Codes, fitted: Sequence[Fitted]) -> Blocks:
        """As blocks."""
        rows = len(codes)
        data = np.stack([part.stored[0] for part in fitted], axis=1)
        found = with_codes(self.type, data.reshape(-1, data.shape[2]), codes.reshape(-1, self.length))
        return Blocks(self.type, found.reshape(rows, -1), self.columns)

    def joined(self, parts: Sequence[Blocks]) -> Blocks:
        """One matrix from its rows."""
        return Blocks(self.type, np.concatenate([part.data for part in parts]), self.columns)

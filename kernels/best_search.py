"""THE table of the searches of the level "best" for the types of uniform steps, the same for every backend.

All start from what the fast search found and never give up a block for a worse one. What they minimise is Σ w·(x - y)²
of the values y as they decode, with the half-precision scales that are stored, and

    w = importance · sqrt(σ² + x²)      σ² = spread · the mean square of the row, or of the super-block

as ggml's searches with importance do. Without importance the same is used with ones, each block being a row of its own:
the root keeps small weights from counting for nothing, which is known to ruin models where errors are weighed by x²
alone. Q6_K with importance is weighed by importance alone, as in ggml.
This module is light: facts only. Windows and counts were chosen by measuring on a model's weights (`bench/fit.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScaleSearch:
    """One scale for a block: w = d·q, q -nmax … nmax-1, of either sign.

    The largest magnitude of a block becomes nmax·r codes; the `count` ratios r grow from `first` to `last` by a
    constant factor. Ratios above 1 clip large weights that matter little. Each candidate's d is fitted once.
    """

    nmax: int
    count: int
    first: float = 0.75
    last: float = 2.0

    @property
    def levels(self) -> tuple[float, ...]:
        """How many codes the largest magnitude becomes, in every candidate."""
        growth = (self.last / self.first) ** (1 / (self.count - 1))
        return tuple(self.nmax * self.first * growth**k for k in range(self.count))


@dataclass(frozen=True, slots=True)
class TrimSearch:
    """One scale and one minimum for a block: w = d·q + m, q 0 … nmax.

    The codes span the range of the block less a part of it at either end, for every pair of the parts `trims`; what
    is negative adds to the range. Each candidate's d and m are fitted `refits` times, with codes rounded in between.
    """

    nmax: int
    trims: tuple[float, ...]
    refits: int = 2


@dataclass(frozen=True, slots=True)
class WindowSearch:
    """Whole multiples of a super-block's halves: w = d·s·q - dmin·m, or w = d·s·q where there is no minimum.

    group: weights under one s and m. codes, multiples: lowest and highest q, and s (and m). windows: round by round,
    s and m change by up to so much, jointly, all codes being rounded anew for each pair; then d and dmin are fitted.
    EVERY stands for all values, however far, `stride` apart.
    """

    group: int
    codes: tuple[int, int]
    multiples: tuple[int, int]
    windows: tuple[int, ...]
    stride: int = 1

    @property
    def affine(self) -> bool:
        """Whether there is a minimum."""
        return self.codes[0] == 0

    def tried(self, window: int) -> tuple[int, int, int]:
        """First, last and step of what a round adds to a multiple; of what it becomes, where the window is EVERY."""
        return (*self.multiples, self.stride) if window == EVERY else (-window, window, 1)


SCALE_SEARCHES: dict[str, ScaleSearch] = {
    "Q4_0": ScaleSearch(8, 31),
    "Q5_0": ScaleSearch(16, 41),
    "Q8_0": ScaleSearch(128, 81),
}

_TRIMS = (-0.04, -0.02, 0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
TRIM_SEARCHES: dict[str, TrimSearch] = {"Q4_1": TrimSearch(15, _TRIMS), "Q5_1": TrimSearch(31, _TRIMS)}

EVERY = 0

WINDOW_SEARCHES: dict[str, WindowSearch] = {
    "Q2_K": WindowSearch(16, (0, 3), (0, 15), (EVERY, 2, 2)),
    "Q3_K": WindowSearch(16, (-4, 3), (-32, 31), (EVERY, 3, 3)),
    "Q4_K": WindowSearch(32, (0, 15), (0, 63), (8, 3, 3)),
    "Q5_K": WindowSearch(32, (0, 31), (0, 63), (8, 3, 3)),
    "Q6_K": WindowSearch(16, (-32, 31), (-128, 127), (EVERY, 3, 3), stride=2),
}

# σ² is this times the mean square of a super-block.
SPREADS: dict[str, float] = {"Q2_K": 1.0, "Q3_K": 2.0, "Q4_K": 2.0, "Q5_K": 2.0, "Q6_K": 1.0}

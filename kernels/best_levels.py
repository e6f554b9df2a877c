"""THE table of the searches of the level "best" for the types of uneven levels, the same for every backend.

A group of weights is scale·levels[code]. The fast searches take the scale from the largest weight alone, or from a few
candidates near it. Here many are tried, and a block stays as the fast search made it where nothing better is found.
What is minimised is Σ w·(x - y)² of the values y as they decode. ggml weighs no errors in these types, so w is the
importance, or 1 without; but in the IQ4 types w = importance · sqrt(σ² + x²), σ² being `spread` times the mean square
of the block, as in their fast searches with importance.

    starts   scales at which the largest weight is so many levels; each is refitted `refits` times to the codes nearest
             with it, by least squares, and rounded to a half (for three levels: TWN, arXiv 1605.04711)
    steps    neighbours of the fast search's scale among those that the format can store, in places of their order

This module is light: facts only. Source of the formats: kernels.reference.microscaling, ternary, nonlinear.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.codecs import E2M1_DOUBLED, NONLINEAR_VALUES


@dataclass(frozen=True, slots=True)
class LevelSearch:
    """One format's search; see above. group: weights under one scale. levels: by code, in rising order or E2M1's."""

    group: int
    levels: tuple[int, ...]
    starts: tuple[float, ...] = ()
    refits: int = 0
    steps: tuple[int, ...] = ()
    spread: float | None = None


# The largest weight as so many levels of three: from all others becoming zeros to none.
TERNARY = (1.0, 1.15, 1.35, 1.6, 1.9, 2.3, 2.8, 3.5)
UNEVEN = tuple(float(NONLINEAR_VALUES[0] + k) for k in range(-8, 25, 2)) + tuple(
    float(NONLINEAR_VALUES[-1] + k) for k in range(-24, 9, 2)
)

LEVEL_SEARCHES: dict[str, LevelSearch] = {
    "MXFP4": LevelSearch(32, E2M1_DOUBLED, steps=(-2, -1, 1)),
    "NVFP4": LevelSearch(16, E2M1_DOUBLED, steps=(-3, -2, -1, 1, 2, 3)),
    "TQ1_0": LevelSearch(256, (-1, 0, 1), TERNARY, refits=3),
    "TQ2_0": LevelSearch(256, (-1, 0, 1), TERNARY, refits=3),
    "Q1_0": LevelSearch(128, (-1, 1), (1.0,), refits=1),
    "Q2_0": LevelSearch(64, (-1, 0, 1, 2), (*TERNARY, 2.0, 2.6, -1.0, -1.35, -1.6, -2.0, -2.3, -2.8), refits=3),
    "IQ4_NL": LevelSearch(32, NONLINEAR_VALUES, UNEVEN, refits=2, spread=2.0),
}

# IQ4_XS: groups are searched as those of IQ4_NL; then d is the largest of the scales over each of these multiples, the
# multiples of groups are tried up to one beside the nearest, and d is fitted to all codes, UNIT_FITS times.
UNIT_FITS = 2
LARGEST_MULTIPLES = tuple(float(k) for k in (-32, -31, -30, -29, -28, -27, 31, 30, 29, 28, 27))

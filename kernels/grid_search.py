"""THE table of searches for the IQ2 and IQ3 types: groups, candidates and weights, the same for every backend.

A group of weights shares one scale. Its candidates are scales at which the largest weight of the group becomes
top + step·k levels, k = -steps..steps, where top is the level of the highest code (2·code + 1 levels for a code).
This module is light: facts only. Source: ggml-quants.c, quantize_row_iq2_*_impl and quantize_row_iq3_*_impl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class GridSearch:
    """Constants of one format's search.

    group: weights under one scale. steps, step: the candidates. even_signs: whether the number of negative signs of 8
    weights is made even. spread: σ² is this times the mean square of a super-block; weights with importance are
    importance·sqrt(σ² + x²). plain: the weights without importance, x² ("squares"), x² + σ²/4 ("level"), or none, where
    the format cannot do without. smallest: a group whose largest magnitude is below it counts as zero.
    start: what the candidates stretch, the largest magnitude or the best scale for free codes (make_qp_quants).
    refit: which vectors are looked up again with the scale that was found: "always" all of them, all "of a group" in
    which one was off the grid, or only "the vectors" that were. fudge: factor of the stored scale.
    """

    group: int
    steps: int
    step: float
    even_signs: bool
    spread: float
    plain: Literal["squares", "level", None]
    smallest: float
    fudge: float
    start: Literal["largest", "free codes"] = "largest"
    refit: Literal["always", "of a group", "the vectors"] = "the vectors"


# The largest sub-block scale becomes this many halves of the stored scale: 2·15 + 1, for a 4-bit multiple.
TOP_MULTIPLE = 31

GRID_SEARCHES: dict[str, GridSearch] = {
    "IQ2_XXS": GridSearch(32, 6, 0.1, True, 1.0, None, 1e-15, 1.0, start="free codes", refit="always"),
    "IQ2_XS": GridSearch(16, 9, 0.1, True, 1.0, None, 1e-15, 1.0),
    "IQ2_S": GridSearch(16, 9, 0.1, False, 2.0, "level", 1e-8, 0.9875),
    "IQ3_XXS": GridSearch(32, 15, 0.2, True, 2.0, "squares", 1e-8, 1.0125),
    "IQ3_S": GridSearch(32, 9, 0.2, False, 2.0, "squares", 0.0, 1.033, refit="of a group"),
}

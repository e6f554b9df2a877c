"""Matrices whose method needs no activations: each from its own weights."""

from __future__ import annotations

from core.checkpoints.decide import Decided, Item
from core.checkpoints.solve import SOLVERS, Quantized
from core.methods.linear import Floats
from core.weighting import means_of


def solved_alone(decided: Decided, item: Item, w: Floats) -> Quantized:
    """A matrix by a method that needs no activations, with the importance that is known of its columns."""
    assert item.settings is not None
    means: Floats | None = None
    if item.row.weighted and decided.importance is not None:
        means = means_of(decided.importance, item.entry.gguf, item.row.shape)[0]
    return SOLVERS[item.settings.choice.method](w, item.settings, item.entry.stored.dtype, means)

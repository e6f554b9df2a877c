"""Matrices whose method needs no activations: each from its own weights."""

from __future__ import annotations

import numpy as np
import torch

from core.checkpoints.decide import Decided, Item
from core.checkpoints.solve import SOLVERS, Quantized
from core.methods.awq import clipped
from core.methods.linear import Floats
from core.weighting import means_of


def solved_alone(decided: Decided, item: Item, w: Floats, moments: torch.Tensor | None = None) -> Quantized:
    """A matrix by a method that needs no activations, with the importance that is known of its columns.

    moments: of its inputs, float32 (columns, columns), or empty; by these AWQ cuts ranges, and the search by error
    counts columns.
    """
    assert item.settings is not None
    if moments is not None and len(moments):
        if item.settings.choice.method == "awq":
            return clipped(w, moments, item.settings.scheme(item.entry.stored.dtype))
        importance = np.maximum(moments.diagonal().cpu().numpy(), 0)
        known = importance / importance.max() if importance.any() else None
        return SOLVERS[item.settings.choice.method](w, item.settings, item.entry.stored.dtype, known)
    means: Floats | None = None
    if item.row.weighted and decided.importance is not None:
        matrices = decided.importance.entries[item.entry.gguf].values // w.shape[1]
        means = means_of(decided.importance, item.entry.gguf, (matrices, *w.shape))[item.entry.expert]
    return SOLVERS[item.settings.choice.method](w, item.settings, item.entry.stored.dtype, means)

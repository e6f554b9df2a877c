"""Figures for plots: which range of a matrix its integers cover, and what a method reports of each matrix it solved."""

from __future__ import annotations

import numpy as np

from core.checkpoints.decide import Item
from core.checkpoints.solve import Quantized
from core.jobs import ClippingFigures, Histogram, LayerFigures
from core.methods.gptq import Solved
from core.methods.linear import Floats, Linear, Scheme
from core.methods.table import TENSOR
from core.progress import LAYER_ERROR, Measured, Progress

BINS = 64
# Weights of a matrix that are looked at: whole rows, evenly spaced.
SAMPLE = 1 << 18


def layer_of(item: Item) -> int:
    """The number of a matrix' decoder layer."""
    return int(item.entry.gguf.split(".")[1])


def histogram(x: Floats) -> Histogram:
    """Of any numbers, in BINS steps."""
    counts, edges = np.histogram(x, BINS)
    return Histogram(low=float(edges[0]), high=float(edges[-1]), counts=tuple(counts.tolist()))


def clipping(item: Item, w: Floats, made: Quantized) -> ClippingFigures | None:
    """What of a matrix (rows, columns) its grid covers; None where it did not become linear integers."""
    if not isinstance(made, Linear):
        return None
    rows = np.linspace(0, len(w) - 1, max(1, min(len(w), SAMPLE // w.shape[1]))).astype(np.int64)
    # One scale for the whole tensor is one for each row of the sample, too.
    groups = _row_scheme(made.scheme).grouped(w[rows])
    low, high = (ends.reshape(-1, 1) for ends in _ends(made, rows))
    reach = np.maximum(np.abs(groups).max(axis=1, keepdims=True), np.float32(1e-30))
    if made.scheme.group == TENSOR:
        reach = np.full_like(reach, np.abs(w).max() or 1e-30)
    covered = np.minimum(np.maximum(-low, high) / reach, 1)
    return ClippingFigures(
        name=item.entry.name,
        layer=layer_of(item),
        low=float(low.mean(dtype=np.float64)),
        high=float(high.mean(dtype=np.float64)),
        clipped=float(((groups < low) | (groups > high)).mean()),
        covered=float(covered.mean(dtype=np.float64)),
        histogram=histogram(groups),
    )


def _row_scheme(scheme: Scheme) -> Scheme:
    return Scheme(scheme.bits, scheme.group if scheme.group > 0 else -1)


def _ends(made: Linear, rows: np.ndarray) -> tuple[Floats, Floats]:
    """The lowest and the highest weight that rounds to no other than the grid's ends, of every group of some rows."""
    scheme, is_whole = made.scheme, made.scheme.group == TENSOR
    scales = np.repeat(made.scales, len(rows), 0) if is_whole else made.scales[rows]
    zeros = (np.repeat(made.zeros, len(rows), 0) if is_whole else made.zeros[rows]).astype(np.float32)
    half = np.float32(0.5)
    return (scheme.lowest - zeros - half) * scales, (scheme.highest - zeros + half) * scales


def layer_figures(item: Item, solved: Solved, tokens: int) -> LayerFigures:
    """What the method reports of a matrix. tokens: how many inputs it met."""
    energy = max(solved.energy, 1e-30)
    return LayerFigures(
        name=item.entry.name,
        layer=layer_of(item),
        error=solved.loss / energy,
        rounded_error=solved.rounded_loss / energy,
        damp=solved.damp,
        guarded=solved.guarded,
        tokens=tokens,
    )


def report(figures: LayerFigures, progress: Progress) -> None:
    """Tells who watches the job."""
    progress.measured(Measured(of=LAYER_ERROR, name=figures.name, value=figures.error, compared=figures.rounded_error))

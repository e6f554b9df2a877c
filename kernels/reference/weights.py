"""The weights of the errors in a search with importance: importance times a measure of the element's own size.

    weight = importance · sqrt(σ² + x²)

σ² is the mean square of the elements of a span (a block, a super-block, a whole row), or twice that, as the format has
it. Importance is that of one row, float32 (blocks_per_row, elements); it starts anew with every row. All sums run over
the elements one after another in float32, as in C.

Source: ggml-quants.c, the quantize_row_*_impl functions.
"""

from __future__ import annotations

import numpy as np

from kernels.reference.layout import Floats


def of_rows(importance: Floats, n_blocks: int) -> Floats:
    """The importance of every element of `n_blocks` blocks, whole rows, float32 (n_blocks, elements)."""
    return np.tile(importance, (n_blocks // len(importance), 1))


def _scaled(spans: Floats, importance: Floats, factor: float) -> Floats:
    """Weights of spans (n_spans, elements) with σ² = factor · the mean square of the span."""
    squares = spans * spans
    total = np.cumsum(squares, axis=1, dtype=np.float32)[:, -1:]
    variance = np.float32(factor) * total / np.float32(spans.shape[1])
    weights: Floats = importance * np.sqrt(variance + squares)
    return weights


def by_block(x: Floats, importance: Floats, factor: float) -> Floats:
    """Weights of blocks x (n_blocks, elements), σ² = factor · the mean square of the block."""
    return _scaled(x, of_rows(importance, len(x)), factor)


def by_row(x: Floats, importance: Floats) -> Floats:
    """Weights of blocks x (n_blocks, elements), σ² = the mean square of the row that a block belongs to."""
    rows = x.reshape(-1, importance.size)
    return _scaled(rows, importance.reshape(1, -1), 1.0).reshape(x.shape)

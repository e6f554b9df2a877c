"""Sixteen blocks at a time in scratch memory: copied there, padded with zeros, and weighed by importance.

A batch is a flat float32 array of 16 blocks. Importance is that of one row, flat; blocks of consecutive rows take it
again from its start.
"""

from __future__ import annotations

from typing import Any

from kernels.cpu.compiled import inlined
from kernels.cpu.lanes import load, load_columns, room, store
from kernels.cpu.vectors import root, splat

BATCH = 16


@inlined
def take(x: Any, first: int, count: int, elements: int, batch: Any) -> None:
    """Copy `count` blocks from block `first` on; the rest of the batch becomes zero."""
    for i in range(0, count * elements, 16):
        store(batch, i, load(x, first * elements + i))
    for i in range(count * elements, BATCH * elements, 16):
        store(batch, i, splat(0))


@inlined
def energies(batch: Any, elements: int) -> Any:
    """Σ x² of every block, one per lane, added up one element after another as C does."""
    columns = room(16)
    total = splat(0)
    for part in range(0, elements, 16):
        load_columns(batch, part, 8 * elements + part, elements, columns)
        for e in range(16):
            total += columns[e] * columns[e]
    return total


@inlined
def weigh(batch: Any, importance: Any, first: int, elements: int, spreads: Any, weights: Any) -> None:
    """Weights importance·√(spread + x²) of every element; spreads: one per block of the batch."""
    per_row = importance.size // elements
    for i in range(BATCH):
        column = (first + i) % per_row * elements
        spread = splat(spreads[i])
        for e in range(0, elements, 16):
            x = load(batch, i * elements + e)
            store(weights, i * elements + e, load(importance, column + e) * root(spread + x * x))

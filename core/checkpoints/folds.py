"""Scales of a layer's inputs, folded into what comes before it without any error: where, which ones, and how.

Sources: Xiao et al., SmoothQuant, arXiv 2211.10438; Lin et al., AWQ, arXiv 2306.00978. What makes it exact is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.checkpoints.decide import Decided, Item
from core.checkpoints.fold_rows import FOLDS, FoldRow
from core.checkpoints.layouts import stored_floats
from core.checkpoints.source import CheckpointSource, Entry
from core.methods.linear import Floats
from kernels import dispatch


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One place of one layer. channel_of: the scale of each column of the consumers, int (columns,).

    bias: the producer's, which is divided as well.
    """

    row: FoldRow
    producer: Item
    bias: Item | None
    consumers: tuple[Item, ...]
    channel_of: np.ndarray

    @property
    def name(self) -> str:
        """What of which layer."""
        return self.producer.entry.gguf.removesuffix(".weight")


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What becomes of a tensor: rows and columns are multiplied, or it is replaced; None where not."""

    rows: Floats | None = None
    columns: Floats | None = None
    instead: Floats | None = None

    def of(self, x: Floats) -> Floats:
        """The changed tensor, a vector or a matrix."""
        if self.instead is not None:
            return self.instead
        if self.columns is not None:
            x = x * self.columns
        if self.rows is not None:
            x = x * (self.rows if x.ndim == 1 else self.rows[:, None])
        return x

    def then(self, later: Change) -> Change:
        """Both changes in one."""
        return Change(_both(self.rows, later.rows), _both(self.columns, later.columns), later.instead)


Changes = Mapping[str, Change]
# The fields of a Change.
CHANGES = ("rows", "columns", "instead")


def _both(one: Floats | None, other: Floats | None) -> Floats | None:
    if one is None or other is None:
        return one if other is None else other
    return one * other


def folds_of(source: CheckpointSource, decided: Decided, layer: int) -> tuple[Fold, ...]:
    """Where scales can be folded in a layer: where all consumers, and a producer that is a matrix, are quantized.

    What the user leaves in 16 bits stays as it is, and nothing is folded there.
    """
    items = {item.entry.gguf: item for item in decided.items if item.entry.gguf.startswith(f"blk.{layer}.")}
    rows = FOLDS.get(source.architecture, ())
    return tuple(fold for fold in (_fold(source, row, items, layer) for row in rows) if fold is not None)


def _fold(source: CheckpointSource, row: FoldRow, items: Mapping[str, Item], layer: int) -> Fold | None:
    producer = items.get(f"blk.{layer}.{row.producer}.weight")
    consumers = [items.get(f"blk.{layer}.{name}.weight") for name in row.consumers]
    found = [item for item in consumers if item is not None and item.matrix is not None]
    if producer is None or len(found) != len(consumers) or (not row.is_norm and producer.matrix is None):
        return None
    bias = items.get(f"blk.{layer}.{row.producer}.bias")
    columns = found[0].entry.stored.shape[1]
    return Fold(row, producer, bias, tuple(found), _channels(source, row, columns))


def _channels(source: CheckpointSource, row: FoldRow, columns: int) -> np.ndarray:
    if not row.heads:
        return np.arange(columns)
    heads, kv_heads, width = (getattr(source.dimensions, name) for name in ("heads", "kv_heads", "head"))
    return np.arange(kv_heads * width).reshape(kv_heads, 1, width).repeat(heads // kv_heads, axis=1).reshape(-1)


def realized(source: CheckpointSource, fold: Fold) -> Callable[[Floats], Floats]:
    """From wished scales (channels,) to the nearest ones that can be folded without any error.

    A norm alone is rounded to its type, and the scale is what that comes to; a bias can only be divided by powers of 2.
    A matrix is quantized afterwards, so that any scale is right.
    """
    if fold.bias is not None:
        return lambda wished: np.exp2(np.rint(np.log2(wished))).astype(np.float32)
    if not fold.row.is_norm:
        return lambda wished: wished
    norm = source.numbers(fold.producer.entry)
    return lambda wished: _divided(fold.producer, norm, wished)[0]


def _divided(item: Item, norm: Floats, scales: Floats) -> tuple[Floats, Floats]:
    """Scales that are exact for a norm's weights, and the weights as they are written then."""
    dtype, shift = item.slots[0].dtype, np.float32(item.entry.shift)
    whole = norm + shift
    data = stored_floats(whole / scales - shift, dtype)
    stored = dispatch.decode(dtype, data, len(norm)).reshape(-1)
    left = stored + shift
    usable = (whole != 0) & (left != 0) & np.isfinite(left)
    exact = np.where(usable, whole / np.where(usable, left, 1), np.float32(1)).astype(np.float32)
    return exact, np.where(usable, stored, norm).astype(np.float32)


def changes_of(source: CheckpointSource, fold: Fold, scales: Floats) -> dict[str, Change]:
    """What realized scales (channels,) do to the tensors of a fold, by their names."""
    columns = np.ascontiguousarray(scales[fold.channel_of])
    changes = {item.entry.name: Change(columns=columns) for item in fold.consumers}
    if fold.row.is_norm and fold.bias is None:
        stored = _divided(fold.producer, source.numbers(fold.producer.entry), scales)[1]
        return {**changes, fold.producer.entry.name: Change(instead=stored)}
    for item in filter(None, (fold.producer, fold.bias)):
        rows = np.ones(item.entry.stored.shape[0], np.float32)
        rows[len(rows) - len(scales) :] /= scales
        changes[item.entry.name] = Change(rows=rows)
    return changes


def together(parts: Iterable[Changes]) -> dict[str, Change]:
    """Changes one after another."""
    found: dict[str, Change] = {}
    for part in parts:
        for name, change in part.items():
            found[name] = found[name].then(change) if name in found else change
    return found


class FoldedSource:
    """A source whose tensors are read as changed."""

    def __init__(self, source: CheckpointSource, changes: Changes) -> None:
        self.path = source.path
        self._source, self._changes = source, changes

    def numbers(self, entry: Entry) -> Floats:
        """As CheckpointSource.numbers."""
        x = self._source.numbers(entry)
        return self._changes[entry.name].of(x) if entry.name in self._changes else x

    def bytes_of(self, entry: Entry) -> np.ndarray:
        """As CheckpointSource.bytes_of."""
        if entry.name not in self._changes:
            return self._source.bytes_of(entry)
        return stored_floats(self.numbers(entry), entry.stored.dtype).reshape(-1)

    def runs_of(self, entry: Entry, most: int) -> Iterator[np.ndarray]:
        """As CheckpointSource.runs_of; what is changed comes at once."""
        if entry.name not in self._changes:
            return self._source.runs_of(entry, most)
        return iter([self.bytes_of(entry).reshape(-1, self._source.row_bytes(entry))])

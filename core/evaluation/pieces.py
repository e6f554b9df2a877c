"""Into which pieces a model is cut to measure how sensitive each is, from the plan of a quantization."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.jobs import Grain, PieceTensor, TensorPlan

LAYER = re.compile(r"^blk\.(\d+)\.(.+)$")
# Parts of a layer by how the names of their tensors begin; what begins otherwise is a part of its own.
PARTS = (("attn", "attn"), ("ffn", "ffn"), ("ssm", "ssm"))


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece before it is measured. layer: None outside the layers."""

    name: str
    layer: int | None
    rows: tuple[TensorPlan, ...]

    @property
    def tensors(self) -> tuple[PieceTensor, ...]:
        """What is told of its tensors."""
        return tuple(
            PieceTensor(name=row.name, shape=row.shape, type=row.target_type, bytes=row.bytes) for row in self.rows
        )

    @property
    def names(self) -> frozenset[str]:
        """Its tensors' names."""
        return frozenset(row.name for row in self.rows)


def cut(rows: Sequence[TensorPlan], by: Grain) -> tuple[Cut, ...]:
    """The pieces of a plan in the order of the layers, without tensors that the quantization leaves as they are."""
    found: dict[tuple[int, str], list[TensorPlan]] = {}
    for row in rows:
        if row.target_type != row.source_type and len(row.shape) > 1 and not row.name.endswith(".bias"):
            layer, name = _place(row.name, by)
            found.setdefault((-1 if layer is None else layer, name), []).append(row)
    return tuple(Cut(name, None if layer < 0 else layer, tuple(found[layer, name])) for layer, name in sorted(found))


def _place(name: str, by: Grain) -> tuple[int | None, str]:
    """The layer of a tensor, and the name of the piece it belongs to."""
    match = LAYER.match(name)
    if match is None:
        return None, name
    layer, rest = int(match[1]), match[2]
    if by == "tensor":
        return layer, name
    if by == "layer":
        return layer, f"blk.{layer}"
    part = next((part for begin, part in PARTS if rest.startswith(begin)), rest)
    return layer, f"blk.{layer}.{part}"

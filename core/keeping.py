"""What to keep in higher precision, from a ranking of sensitivity: the most divergence avoided per byte.

This module is light. A piece's divergence when it alone is quantized is taken for what keeping it would avoid; that
pieces add up is an approximation, which `together` in the ranking shows the quality of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.jobs import Override, Piece, PieceTensor, QuantizeOptions, SensitivityResult
from core.recipe_file import Recipe
from kernels.blocks import FORMATS

# For rows that are no whole number of the type's blocks.
INSTEAD = ("Q8_0", "F16")
_LAYER = re.compile(r"^blk\.(\d+)\.(.+)$")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Which pieces are kept. bytes: what that adds to the file. share: of all pieces' summed divergence, 0 to 1."""

    type: str
    pieces: tuple[Piece, ...]
    bytes: int
    share: float

    @property
    def overrides(self) -> tuple[Override, ...]:
        """Rules by pattern that keep these tensors: one for each kind of tensor and type, however many layers."""
        layers: dict[tuple[str, str], list[int]] = {}
        outside = []
        for tensor in (tensor for piece in self.pieces for tensor in piece.tensors):
            match, kept = _LAYER.match(tensor.name), type_for(tensor, self.type)
            if match:
                layers.setdefault((match[2], kept), []).append(int(match[1]))
            else:
                outside.append(Override(tensor=f"^{re.escape(tensor.name)}$", type=kept))
        inside = [
            Override(tensor=rf"^blk\.({'|'.join(map(str, sorted(numbers)))})\.{re.escape(rest)}$", type=kept)
            for (rest, kept), numbers in sorted(layers.items())
        ]
        return (*outside, *inside)


def type_for(tensor: PieceTensor, wanted: str) -> str:
    """The wanted type, or one for any row where this tensor's rows do not fit it."""
    return next(name for name in (wanted, *INSTEAD) if FORMATS[name].divides(tensor.shape[-1]))


def added_bytes(piece: Piece, wanted: str) -> int:
    """How much larger the file becomes by keeping a piece in that type; 0 or less where it has as much."""
    return sum(
        math.prod(tensor.shape[:-1]) * FORMATS[type_for(tensor, wanted)].row_bytes(tensor.shape[-1]) - tensor.bytes
        for tensor in piece.tensors
    )


def keep(result: SensitivityResult, wanted: str, percent: float) -> Keeping:
    """The pieces worth keeping where the file may become `percent` larger: greedily, by divergence per added byte."""
    budget = result.bytes * percent / 100
    costs = {piece.name: added_bytes(piece, wanted) for piece in result.pieces}
    candidates = [piece for piece in result.pieces if costs[piece.name] > 0 and piece.mean_kld > 0]
    taken: list[Piece] = []
    spent = 0
    for piece in sorted(candidates, key=lambda piece: -piece.mean_kld / costs[piece.name]):
        if spent + costs[piece.name] <= budget:
            taken.append(piece)
            spent += costs[piece.name]
    whole = sum(max(piece.mean_kld, 0) for piece in result.pieces)
    share = sum(piece.mean_kld for piece in taken) / whole if whole else 0.0
    return Keeping(wanted, tuple(taken), spent, share)


def recipe(name: str, keeping: Keeping, options: QuantizeOptions) -> Recipe:
    """A recipe with these rules before those that the ranking was measured with. name: the id, and shown."""
    count = len(keeping.pieces)
    return Recipe(
        id=name,
        name=name,
        description=f"{options.target} with its {count} most sensitive parts in {keeping.type}, as measured.",
        targets=(options.target,),
        options=QuantizeOptions(
            target=options.target,
            fit=options.fit,
            pure=options.pure,
            overrides=(*keeping.overrides, *options.overrides),
        ),
        importance="required" if options.imatrix else "recommended",
    )


def summed(pieces: Sequence[Piece]) -> float:
    """The pieces' divergences added up, in nats."""
    return sum(piece.mean_kld for piece in pieces)

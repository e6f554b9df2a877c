"""What it costs to take a text through a model layer by layer, and to solve its matrices: operations with amounts.

Forward passes are tokens times weights, moments tokens times columns squared, a factor columns cubed, the solver rows
times columns and that times columns; core.speed knows what each takes on this machine. This module is light.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core.estimate.timing import Operation
from core.methods.calibration import AWQ_EXPONENTS, AWQ_ROWS, BATCH_TOKENS, KEPT_BYTES, STAGES, stage_of

Amounts = Counter[Operation]
MACS, FACTOR, SPREAD = Operation("macs"), Operation("factor"), Operation("spread")
WATCH, SQUARES, START = Operation("watch"), Operation("squares"), Operation("start")
# The matrices that end attention and feed-forward, with their stage.
ENDS = {"attn_output": 1, "ffn_down": 3}


class Matrix(NamedTuple):
    """A weight matrix of a layer. part: attn_q, ffn_down_exps, ... copies: experts, of which a token meets `met`.

    setup: how the solver works on it, '' where it does not. rounded: how it is made without, '' where it is solved or
    stays. type: what it is stored in.
    """

    part: str
    rows: int
    columns: int
    type: str
    copies: int = 1
    met: int = 1
    setup: str = ""
    rounded: str = ""

    @property
    def weights(self) -> int:
        """Of all copies."""
        return self.rows * self.columns * self.copies

    @property
    def stage(self) -> int:
        """When data meets it, a number of STAGES."""
        return stage_of(self.part)


@dataclass(frozen=True, slots=True)
class Walk:
    """A model and a text. layers: the matrices of each. length: of a window. attention: the width of all queries.

    heads: of attention. head: (vocabulary, width) of the output layer, of the type `head_type`.
    """

    layers: tuple[tuple[Matrix, ...], ...]
    tokens: int
    length: int
    width: int
    attention: int
    heads: int
    head: tuple[int, int]
    head_type: str

    def loaded(self) -> Amounts:
        """Every layer read once."""
        amounts: Amounts = Counter()
        for layer in self.layers:
            for matrix in layer:
                amounts[Operation("decode", matrix.type)] += matrix.weights
        return amounts

    def passed(self, layer: Sequence[Matrix]) -> Amounts:
        """All tokens through a layer."""
        return self.between(layer, range(len(STAGES)))

    def between(self, layer: Sequence[Matrix], stages: Collection[int]) -> Amounts:
        """All tokens through the matrices of some stages; attention is computed with those of the first."""
        done = [matrix for matrix in layer if matrix.stage in stages]
        macs = sum(matrix.met * matrix.rows * matrix.columns for matrix in done)
        spread = sum(matrix.met * matrix.rows for matrix in done) + 2 * self.width
        if 0 in stages:
            macs += 2 * self.length * self.attention
            spread += self.length * self.heads
        return Counter({MACS: self.tokens * macs, SPREAD: self.tokens * spread})

    def through(self) -> Amounts:
        """Every layer read, and all tokens through it."""
        return joined([self.loaded(), *(self.passed(layer) for layer in self.layers)])

    def scored(self, models: int) -> Amounts:
        """The second half of each window through the output layers of so many models, and their statistics."""
        tokens, (vocabulary, width) = self.tokens // 2, self.head
        batches = -(-self.tokens // max(BATCH_TOKENS, self.length))
        return Counter(
            {
                MACS: models * tokens * vocabulary * width,
                SPREAD: models * 3 * tokens * vocabulary,
                Operation("decode", self.head_type): models * batches * vocabulary * width,
            }
        )


def joined(parts: Iterable[Amounts]) -> Amounts:
    """All operations together."""
    total: Amounts = Counter()
    for part in parts:
        total.update(part)
    return total


def solving(walk: Walk, *, prestep: str, target: bool, watched: bool) -> Amounts:
    """What GPTQ and the other methods that look at activations do before anything is written.

    prestep: awq or smoothquant, '' = none. target: whether the original runs beside. watched: whether what passes a
    layer is looked at for figures.
    """
    found = [walk.loaded(), Counter({START: 1})]
    for layer in walk.layers:
        found += _of_layer(walk, layer, target)
        if prestep:
            found += _folded(walk, layer, prestep)
        if watched:
            found.append(_watched(walk, layer))
    return joined(found)


def kept_bytes(matrices: Iterable[Matrix], tokens: int) -> dict[str, int]:
    """Of the matrices that end attention and feed-forward, by their parts: what is kept of all that meets them.

    So nothing before them is computed in a second pass (core.calibration.shortcuts).
    """
    found, room = {}, KEPT_BYTES
    for matrix in sorted(matrices, key=lambda matrix: matrix.stage):
        size = 4 * tokens * max(matrix.rows, matrix.columns)
        if matrix.part in ENDS and matrix.setup and size <= room:
            found[matrix.part] = size
            room -= size
    return found


def _passes(walk: Walk, layer: Sequence[Matrix], target: bool) -> Iterable[Amounts]:
    """Up to every stage, and through the whole layer; what is kept of a part is not computed again."""
    kept = {} if target else kept_bytes(layer, walk.tokens)
    done: set[int] = set()
    for stage in range(len(STAGES) + 1):
        if stage < len(STAGES) and not any(matrix.stage == stage and matrix.setup for matrix in layer):
            continue
        parts = [part for part in range(stage) if part not in done]
        yield from [walk.between(layer, parts)] * (1 + target)
        done |= {ENDS[part] - 1 for part in kept if ENDS[part] <= stage}
        done |= {ENDS[part] for part in kept if ENDS[part] < stage}


def _of_layer(walk: Walk, layer: Sequence[Matrix], target: bool) -> Iterable[Amounts]:
    yield from _passes(walk, layer, target)
    for stage in range(len(STAGES)):
        looked = [matrix for matrix in layer if matrix.stage == stage and matrix.setup]
        for matrix in _inputs(looked):
            yield Counter({MACS: (1 + target) * matrix.met * walk.tokens * matrix.columns**2})
            yield Counter({FACTOR: matrix.copies * matrix.columns**3})
        for matrix in looked:
            yield _solved(matrix, target)
    for matrix in layer:
        if matrix.rounded:
            yield Counter({Operation("round", matrix.rounded): matrix.weights})


def _solved(matrix: Matrix, target: bool) -> Amounts:
    of_columns = matrix.weights * matrix.columns
    return Counter(
        {
            Operation("solve", matrix.setup): matrix.weights,
            Operation("solve_columns", matrix.setup): of_columns,
            MACS: 3 * of_columns if target else 0,
        }
    )


def _folded(walk: Walk, layer: Sequence[Matrix], prestep: str) -> Iterable[Amounts]:
    """Another pass that looks at all inputs; of AWQ also moments, the search, and the errors before and after."""
    yield walk.passed(layer)
    yield _watched(walk, layer)
    if prestep != "awq":
        return
    for matrix in _inputs(layer):
        yield Counter({MACS: walk.tokens * matrix.columns**2})
    for matrix in layer:
        rows = min(matrix.rows, AWQ_ROWS)
        compared = 2 * AWQ_EXPONENTS * rows * matrix.columns
        yield Counter({MACS: (compared + 4 * matrix.weights) * matrix.columns, SPREAD: 4 * compared})


def _watched(walk: Walk, layer: Sequence[Matrix]) -> Amounts:
    return Counter({WATCH: walk.tokens * sum(matrix.columns for matrix in _inputs(layer) if matrix.copies == 1)})


def _inputs(matrices: Iterable[Matrix]) -> list[Matrix]:
    """One of all matrices that see the same."""
    found: dict[tuple[int, str, int], Matrix] = {}
    for matrix in matrices:
        kind = matrix.part.rpartition("_")[2]
        found.setdefault((matrix.stage, kind if kind in ("exps", "shexp") else "", matrix.columns), matrix)
    return list(found.values())


def importance(walk: Walk) -> Amounts:
    """An importance matrix: one pass, and the squares of what meets every matrix."""
    squares = sum(matrix.met * matrix.columns for layer in walk.layers for matrix in layer)
    return joined([walk.through(), Counter({SQUARES: walk.tokens * squares, START: 1})])


def evaluating(walks: Sequence[Walk]) -> Amounts:
    """Models beside their original, which is the first of the walks."""
    return joined([*(walk.through() for walk in walks), *(walk.scored(1) for walk in walks), Counter({START: 1})])


def ranking(walk: Walk, births: Sequence[int], encoded: Amounts) -> Amounts:
    """A sensitivity job. births: at which layer each piece begins to differ. encoded: quantizing everything once.

    The teacher goes through twice, everything altered once, and each piece from its layer on.
    """
    count = len(walk.layers)
    later = [walk.passed(walk.layers[number]) for birth in births for number in range(max(birth, 0), count)]
    own = [
        Counter({Operation("decode", m.type): m.weights for m in walk.layers[max(b, 0)]}) for b in births if b < count
    ]
    teacher = [walk.through()] * 3
    return joined([*teacher, *later, *own, encoded, encoded, walk.scored(2 + len(births)), Counter({START: 1})])

"""The grids of the IQ types: the vectors of 4 or 8 codes that a format can store, and which of them are near others.

A format of 2 bits or less stores the codes of 8 weights (IQ3: of 4) as one index into a list of vectors, its grid.
Codes are 0..levels-1; the magnitude (IQ1: the value) that a code decodes to is LEVELS[code]. A vector of codes is
packed into an integer for look-ups, the first code in the lowest bits:

    packed = Σ code[i] << (bits · i)        bits = 2 for 8 codes, 3 for 4 codes

Encoding rounds each weight by itself and looks the packed codes up in `places`. A vector that is not on the grid has
neighbours: all points within the two (or one, or three) smallest distinct distances, nearest first, equal distances in
the order of the grid. They depend on the grid alone; all of them take some tenths of a second to compute, once.

Signs apart, the sign bits of 8 weights are stored in 7 where a format makes their number even: the 8th is the parity.

The grids themselves are data, resources/grids/iq.npz, packed as above; packaging/grids.py writes that file.
Source: ggml-common.h (iq*_grid, ksigns_iq2xs), ggml-quants.c (iq2xs_init_impl, iq3xs_init_impl).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PATH = Path(__file__).parents[1] / "resources" / "grids" / "iq.npz"

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class GridFacts:
    """What a grid's file does not say.

    levels: the values that the codes decode to. bits: per packed code. width: codes per vector. nearest: how many of
    the smallest distances make a neighbour.
    """

    levels: tuple[int, ...]
    bits: int
    width: int
    nearest: int


TWO_BIT = (8, 25, 43)
FACTS: dict[str, GridFacts] = {
    "IQ1_S": GridFacts((-1, 0, 1), bits=2, width=8, nearest=3),
    "IQ2_XXS": GridFacts(TWO_BIT, bits=2, width=8, nearest=2),
    "IQ2_XS": GridFacts(TWO_BIT, bits=2, width=8, nearest=2),
    "IQ2_S": GridFacts(TWO_BIT, bits=2, width=8, nearest=1),
    "IQ3_XXS": GridFacts((4, 12, 20, 28, 36, 44, 52, 62), bits=3, width=4, nearest=2),
    "IQ3_S": GridFacts((1, 3, 5, 7, 9, 11, 13, 15), bits=3, width=4, nearest=3),
}


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Where each vector of codes lies in a grid, and its neighbours where it does not.

    places: int32, by packed codes: the index of the point, or -1 - row. Packed codes with a code beyond the levels
    have no meaning. starts: int32 (rows + 1,); the neighbours of a row are neighbours[starts[row]:starts[row + 1]].
    neighbours: uint16, indices of points.
    """

    places: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    neighbours: npt.NDArray[np.uint16]


def pack(codes: Integers, bits: int) -> npt.NDArray[np.int32]:
    """Vectors of codes (n, width) -> integers (n,)."""
    shifts = np.arange(codes.shape[1], dtype=np.int32) * np.int32(bits)
    packed: npt.NDArray[np.int32] = (codes.astype(np.int32) << shifts).sum(axis=1, dtype=np.int32)
    return packed


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array, made read-only: all who ask share it."""
    array.flags.writeable = False
    return array


@functools.cache
def codes(name: str) -> npt.NDArray[np.uint8]:
    """The vectors of a grid as codes, uint8 (points, width); read-only."""
    facts = FACTS[name]
    with np.load(PATH) as stored:
        packed = stored[name].astype(np.int32)
    shifts = np.arange(facts.width, dtype=np.int32) * np.int32(facts.bits)
    return _frozen((packed[:, None] >> shifts & np.int32((1 << facts.bits) - 1)).astype(np.uint8))


@functools.cache
def values(name: str) -> npt.NDArray[np.float32]:
    """The vectors of a grid as what they decode to, float32 (points, width); read-only."""
    return _frozen(np.array(FACTS[name].levels, dtype=np.float32)[codes(name)])


@functools.cache
def neighbourhood(name: str) -> Neighbourhood:
    """The look-up table of a grid; its arrays are read-only."""
    facts, points = FACTS[name], codes(name)
    every = np.indices((len(facts.levels),) * facts.width).reshape(facts.width, -1).T
    packed = pack(every, facts.bits)
    places = np.full(1 << facts.bits * facts.width, -1, dtype=np.int32)
    places[pack(points, facts.bits)] = np.arange(len(points))
    missing = places[packed] < 0
    counts, neighbours = _nearest(every[missing], points, facts.nearest)
    places[packed[missing]] = -1 - np.arange(len(counts))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return Neighbourhood(_frozen(places), _frozen(starts), _frozen(neighbours))


def _nearest(vectors: Integers, points: Integers, nearest: int) -> tuple[Integers, npt.NDArray[np.uint16]]:
    """How many points lie within the `nearest` smallest distances of each vector, and these points, nearest first."""
    a, b = vectors.astype(np.float32), points.astype(np.float32)  # small integers, so exact
    distance = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * (a @ b.T)
    limit = distance.min(axis=1, keepdims=True)
    for _ in range(nearest - 1):
        limit = np.min(distance, axis=1, where=distance > limit, initial=np.inf, keepdims=True)
    rows, columns = np.nonzero(distance <= limit)
    order = np.lexsort((columns, distance[rows, columns], rows))
    return np.bincount(rows, minlength=len(vectors)), columns[order].astype(np.uint16)


@functools.cache
def even_signs() -> npt.NDArray[np.uint8]:
    """All 8 sign bits for the 7 that are stored, uint8 (128,): the 8th makes their number even; read-only."""
    stored = np.arange(128, dtype=np.uint8)
    parity = np.unpackbits(stored[:, None], axis=1).sum(axis=1, dtype=np.uint8) & np.uint8(1)
    return _frozen(stored | parity << np.uint8(7))

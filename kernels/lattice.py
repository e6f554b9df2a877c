"""Which tensors are on the lattice of a format already, and blocks that hold such weights without loss.

`detect` says it of a sample of rows, for a plan; `repack` gives the blocks, each with its error, for the execution,
which takes them where they are no worse than those of a search. A block is exact where it decodes to the very floats
that the weights are stored as (F32, F16 or BF16), to the bit but for the sign of zero. The method is in
kernels.reference.lattice; numpy alone is fast enough, since all but the first candidates meet few blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.blocks import FORMATS
from kernels.codecs import E2M1_DOUBLED, NONLINEAR_VALUES
from kernels.reference import ternary
from kernels.reference.kquants_small import pack_two_bits
from kernels.reference.lattice import (
    ROUNDED_SCALE,
    Fitted,
    Levels,
    Storable,
    Target,
    fit_affine,
    fit_levels,
    halves_near,
    powers_near,
    small_floats_near,
)
from kernels.reference.layout import FOUR, LOW_NIBBLE, Bytes, Floats, c_arithmetic, new_records, pack_nibbles, to_bytes
from kernels.reference.microscaling import half_of_ue4m3

STORED = ("F32", "F16", "BF16")
# The share of sampled blocks that must be exact for a tensor to count as lying on a lattice.
ENOUGH = 0.9
# Blocks looked at first: ordinary weights have none on a lattice, and plans need not wait for the rest of them.
PROBED = 16
TASK_ELEMENTS = 1 << 16  # such that temporaries stay in the cache of a core

# From fitted groups (n_blocks, groups) to the fields of blocks.
Pack = Callable[[Floats, Floats, Bytes], dict[str, npt.NDArray[np.generic]]]


@dataclass(frozen=True, slots=True)
class Lattice:
    """What a format can hold: per `group` elements scale·levels[code], or, without levels, scale·code + minimum.

    extremes, storable: as in kernels.reference.lattice.Levels. top: the highest code of an
    affine one. pack: (scales (n, groups), minima, codes (n, elements)) -> fields.
    """

    group: int
    pack: Pack
    levels: tuple[int, ...] = ()
    extremes: tuple[float, ...] = ()
    storable: Storable = halves_near
    top: int = 0

    def fit(self, target: Target) -> Fitted:
        """Groups of weights on this lattice, as near as they can be."""
        if not self.levels:
            return fit_affine(target, self.top)
        return fit_levels(target, Levels(np.array(self.levels, np.float32), self.extremes, self.storable))


def _outermost(levels: range, first: tuple[float, ...]) -> tuple[float, ...]:
    """The levels but 0, from the outermost inwards, down to half of it; `first` before them."""
    ordered = sorted((level for level in levels if level), key=lambda level: -abs(level))
    return first + tuple(float(level) for level in ordered if level not in first)


def _four_bits(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    return {"d": scale[:, 0], "m": minimum[:, 0], "qs": pack_nibbles(codes)}


def _five_bits(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    high = np.packbits(codes >> FOUR, axis=1, bitorder="little")
    return {"d": scale[:, 0], "m": minimum[:, 0], "qh": high, "qs": pack_nibbles(codes & LOW_NIBBLE)}


def _bytes(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    return {"d": scale[:, 0], "qs": (codes.astype(np.int16) - 128).astype(np.int8)}


def _trits(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    packed = ternary.pack_trits(codes)
    return {"d": scale[:, 0], "qs": packed[:, :48], "qh": packed[:, 48:]}


def _two_bits(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    return {"d": scale[:, 0], "qs": pack_two_bits(codes)}


def _two_bits_in_order(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    return {"d": scale[:, 0], "qs": np.bitwise_or.reduce(codes.reshape(-1, 16, 4) << ternary.PLACES, axis=2)}


def _single_bits(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    return {"d": scale[:, 0], "qs": np.packbits(codes, axis=1, bitorder="little")}


def _powers(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    exponents = np.frexp(scale[:, 0])[1] + 127
    return {"e": np.where(scale[:, 0] > 0, exponents, 0).astype(np.uint8), "qs": pack_nibbles(codes)}


def _small_floats(scale: Floats, minimum: Floats, codes: Bytes) -> dict[str, npt.NDArray[np.generic]]:
    places = np.searchsorted(half_of_ue4m3(np.arange(127, dtype=np.uint8)), scale).astype(np.uint8)
    return {"d": places, "qs": pack_nibbles(codes.reshape(-1, 4, 16)).reshape(-1, 32)}


E2M1_EXTREMES = (12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0)

LATTICES: dict[str, Lattice] = {
    "Q4_0": Lattice(32, _four_bits, tuple(range(-8, 8)), _outermost(range(-8, 8), (-8.0,))),
    "Q4_1": Lattice(32, _four_bits, top=15),
    "Q5_0": Lattice(32, _five_bits, tuple(range(-16, 16)), _outermost(range(-16, 16), (-16.0,))),
    "Q5_1": Lattice(32, _five_bits, top=31),
    "Q8_0": Lattice(
        32, _bytes, tuple(range(-128, 128)), (127.0, 128.0, *(float(level) for level in range(126, 63, -1)))
    ),
    "IQ4_NL": Lattice(32, _four_bits, NONLINEAR_VALUES, _outermost(range(0), tuple(map(float, NONLINEAR_VALUES)))),
    "MXFP4": Lattice(32, _powers, E2M1_DOUBLED, E2M1_EXTREMES, powers_near),
    "NVFP4": Lattice(16, _small_floats, E2M1_DOUBLED, E2M1_EXTREMES, small_floats_near),
    "TQ1_0": Lattice(256, _trits, (-1, 0, 1), (1.0,)),
    "TQ2_0": Lattice(256, _two_bits, (-1, 0, 1), (1.0,)),
    "Q1_0": Lattice(128, _single_bits, (-1, 1), (1.0,)),
    "Q2_0": Lattice(64, _two_bits_in_order, (-1, 0, 1, 2), (1.0, 2.0)),
}


@dataclass(frozen=True, slots=True)
class Repacked:
    """Blocks (n, bytes), and the largest error of each as a part of its largest weight, (n,); 0: exact."""

    blocks: Bytes
    error: Floats


@dataclass(frozen=True, slots=True)
class Detection:
    """How the sampled blocks of a tensor lie to the lattice of a format.

    exact: the share that comes back to the bit. near: the share that does but for the rounding of scales to what the
    format stores, exact ones included. error: the largest of their errors, as a part of a block's largest weight.
    """

    exact: float
    near: float
    error: float

    @property
    def lossless(self) -> bool:
        """Whether all sampled blocks are exact."""
        return self.exact == 1

    @property
    def on_lattice(self) -> bool:
        """Whether the tensor was made for such a format: nearly all sampled blocks are as near as its scales allow."""
        return self.near >= ENOUGH


def repack(name: str, x: Floats, stored: str, *, threads: int = 0) -> Repacked:
    """The best blocks for weights on the lattice of a format; x float32 (n, elements), stored as F32, F16 or BF16.

    threads: 0 = all cores. Raises ValueError for a format without a lattice and for an unknown way to store.
    """
    if name not in LATTICES:
        raise ValueError(f"no lattice of {name!r}; there are {', '.join(LATTICES)}")
    if stored not in STORED:
        raise ValueError(f"floats stored as {', '.join(STORED)} expected, not {stored!r}")
    step = max(1, TASK_ELEMENTS // FORMATS[name].elements)
    parts = [x[start : start + step] for start in range(0, max(1, len(x)), step)]
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        done = list(pool.map(lambda part: _repack(name, part, stored), parts))
    return Repacked(np.concatenate([part.blocks for part in done]), np.concatenate([part.error for part in done]))


def repacked(name: str, x: Floats, stored: str, searched: Bytes, *, threads: int = 0) -> Bytes:
    """Blocks (n, bytes) of weights, (n, elements): of the lattice where they are as near as its scales allow.

    The others stay as a search found them. Raises what `repack` raises.
    """
    found = repack(name, x, stored, threads=threads)
    return np.where((found.error <= ROUNDED_SCALE)[:, None], found.blocks, searched)


def _repack(name: str, x: Floats, stored: str) -> Repacked:
    lattice, elements = LATTICES[name], FORMATS[name].elements
    groups = elements // lattice.group
    records = new_records(name, len(x))
    with c_arithmetic():
        found = lattice.fit(Target(np.ascontiguousarray(x).reshape(-1, lattice.group), stored))
        scale, minimum, error = (part.reshape(-1, groups) for part in (found.scale, found.minimum, found.error))
        fields = lattice.pack(scale, minimum, found.codes.reshape(-1, elements))
    for field in records.dtype.names or ():
        records[field] = fields[field]
    return Repacked(to_bytes(records), error.max(axis=1, initial=0))


def detect(name: str, x: Floats, stored: str) -> Detection:
    """How weights, float32 rows (rows, row_length) stored as F32, F16 or BF16, lie to the lattice of a format.

    Blocks of zeros say nothing and do not count; of a sample without others nothing is exact. Raises what `repack`
    raises, and ValueError for rows that are not whole blocks.
    """
    FORMATS[name].row_bytes(x.shape[1])
    blocks = x.reshape(-1, FORMATS[name].elements)
    blocks = blocks[np.abs(blocks).max(axis=1) > 0]
    if not len(blocks):
        return Detection(0.0, 0.0, 0.0)
    probe = blocks[:: -(-len(blocks) // PROBED)]
    error = repack(name, probe, stored, threads=1).error
    if (error <= ROUNDED_SCALE).mean() >= ENOUGH / 2:
        error = repack(name, blocks, stored).error
    near = error <= ROUNDED_SCALE
    return Detection(float((error == 0).mean()), float(near.mean()), float(error.max(where=near, initial=0)))

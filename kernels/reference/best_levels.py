"""The level "best" of the types of uneven levels: more scales than ggml tries, for MXFP4, NVFP4, TQ, Q1_0, Q2_0, IQ4.

The table kernels.best_levels says which. Every candidate is measured with the scale as it is stored, and a block only
replaces that of the fast search where its error is smaller. Layouts are those of kernels.reference.microscaling,
ternary and nonlinear. IQ4_XS: groups are searched as those of IQ4_NL; then d is the largest of their scales over each
of a few multiples, the multiples of groups may be one beside the nearest, and d is fitted to all codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.best_levels import LARGEST_MULTIPLES, LEVEL_SEARCHES, UNIT_FITS, LevelSearch
from kernels.lattice import LATTICES
from kernels.reference import microscaling, nonlinear, ternary
from kernels.reference.layout import Bytes, Floats, c_arithmetic, new_records, pack_nibbles, to_bytes, to_records
from kernels.reference.weights import by_block, of_rows

LARGEST_HALF = np.float32(65504)
Decode = Callable[[Bytes], Floats]


def error_weights(name: str, x: Floats, importance: Floats | None) -> Floats:
    """What the errors of blocks x (n, elements) count."""
    means = np.ones((1, x.shape[1]), np.float32) if importance is None else importance
    spread = LEVEL_SEARCHES[name].spread
    return of_rows(means, len(x)) if spread is None else by_block(x, means, spread)


def to_half(scale: Floats) -> Floats:
    """Scales as halves, within their range."""
    return np.clip(scale, -LARGEST_HALF, LARGEST_HALF).astype(np.float16).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of weights x (n, elements), what their errors count, and the levels they may have."""

    x: Floats
    weights: Floats
    levels: tuple[int, ...]

    def nearest(self, scale: Floats) -> tuple[Floats, Bytes]:
        """The levels nearest to the weights over scales (n,), and their codes; 0 is near everything."""
        values, code_of = np.unique(np.array(self.levels, np.float32), return_index=True)
        quotient = np.where(scale[:, None] != 0, self.x / scale[:, None], np.float32(0))
        places = np.searchsorted((values[1:] + values[:-1]) / 2, quotient)
        return values[places], code_of[places].astype(np.uint8)

    def measured(self, scale: Floats) -> tuple[Floats, Floats, Floats]:
        """The error with scales (n,), and Σ w·x·q and Σ w·q² of the nearest levels q."""
        q, _ = self.nearest(scale)
        error = (self.weights * np.square(q * scale[:, None] - self.x)).sum(axis=1)
        weighted = self.weights * q
        return error, (weighted * self.x).sum(axis=1), (weighted * q).sum(axis=1)

    def best(self, candidates: Iterator[Floats]) -> Floats:
        """The scales (n,) of least error."""
        found, least = np.zeros(len(self.x), np.float32), np.full(len(self.x), np.inf, np.float32)
        for scale in candidates:
            error, _, _ = self.measured(scale)
            found = np.where(error < least, scale, found)
            least = np.fmin(error, least)
        return found


def free_scales(groups: Groups, search: LevelSearch) -> Iterator[Floats]:
    """The starts, and what each is refitted to."""
    extreme = np.take_along_axis(groups.x, np.abs(groups.x).argmax(axis=1)[:, None], axis=1)[:, 0]
    for start in search.starts:
        scale = to_half(extreme / np.float32(start))
        yield scale
        for _ in range(search.refits):
            _, sum_qx, sum_q2 = groups.measured(scale)
            scale = to_half(np.where(sum_q2 > 0, sum_qx / sum_q2, np.float32(0)))
            yield scale


def stored_scales(name: str, fast: Bytes) -> Iterator[Floats]:
    """The scales (n_blocks, groups) of fast blocks of MXFP4 or NVFP4, and their neighbours."""
    records = to_records(name, fast)
    known, last = (records["e"][:, None], 254) if name == "MXFP4" else (records["d"], 126)
    value = microscaling.half_power if name == "MXFP4" else microscaling.half_of_ue4m3
    for step in (0, *LEVEL_SEARCHES[name].steps):
        yield value(np.clip(known.astype(np.int32) + step, 0, last).astype(np.uint8))


def block_errors(x: Floats, weights: Floats, y: Floats) -> npt.NDArray[np.float64]:
    """Σ w·(x - y)² of blocks (n, elements)."""
    difference = x.astype(np.float64) - y
    total: npt.NDArray[np.float64] = (weights * np.square(difference)).sum(axis=1)
    return total


def finished(name: str, x: Floats, weights: Floats, scale: Floats, fast: tuple[Bytes, Decode]) -> Bytes:
    """Blocks of the scales (n_blocks, groups), or the fast ones where those are no worse."""
    search = LEVEL_SEARCHES[name]
    if min(search.levels) == -max(search.levels):
        scale = np.abs(scale)
    groups = Groups(x.reshape(-1, search.group), weights.reshape(-1, search.group), search.levels)
    _, codes = groups.nearest(scale.reshape(-1))
    fields = LATTICES[name].pack(scale, np.zeros_like(scale), codes.reshape(x.shape))
    records = new_records(name, len(x))
    for field in records.dtype.names or ():
        records[field] = fields[field]
    return better_of(x, weights, to_bytes(records), fast)


def better_of(x: Floats, weights: Floats, blocks: Bytes, fast: tuple[Bytes, Decode]) -> Bytes:
    """Of two encodings of each block the one of less error; the fast one where they tie or there is NaN."""
    before, decode = fast
    better = block_errors(x, weights, decode(blocks)) < block_errors(x, weights, decode(before))
    return np.where(better[:, None], blocks, before)


def _encode(name: str, x: Floats, importance: Floats | None, fast: tuple[Bytes, Decode]) -> Bytes:
    """Blocks with the best scales of the table."""
    search = LEVEL_SEARCHES[name]
    with c_arithmetic():
        weights = error_weights(name, x, importance)
        groups = Groups(x.reshape(-1, search.group), weights.reshape(-1, search.group), search.levels)
        if search.steps:
            scale = groups.best(candidate.reshape(-1) for candidate in stored_scales(name, fast[0]))
        else:
            scale = groups.best(free_scales(groups, search))
        return finished(name, x, weights, scale.reshape(len(x), -1), fast)


def _units(groups: Groups, scale: Floats) -> tuple[Floats, Floats]:
    """The d (n_blocks,) and multiples (n_blocks, 8) of IQ4_XS from the scales (groups,) of groups of 32."""
    scales = scale.reshape(-1, 8)
    extreme = np.take_along_axis(scales, np.abs(scales).argmax(axis=1)[:, None], axis=1)[:, 0]
    d, multiples = np.zeros_like(extreme), np.zeros_like(scales)
    least = np.full(len(scales), np.inf, np.float32)

    def consider(tried: Floats, by: Floats) -> None:
        nonlocal d, multiples, least
        error = groups.measured((tried[:, None] * by).reshape(-1))[0].reshape(-1, 8).sum(axis=1)
        better = error < least
        d, multiples = np.where(better, tried, d), np.where(better[:, None], by, multiples)
        least = np.where(better, error, least)

    for multiple in LARGEST_MULTIPLES:
        tried = to_half(extreme / np.float32(multiple))
        inverse = np.where(tried != 0, 1 / tried, np.float32(0))[:, None]
        consider(tried, np.clip(np.rint(scales * inverse), -32, 31))
    for _ in range(UNIT_FITS):
        consider(d, _moved(groups, d, multiples))
        _, sum_qx, sum_q2 = (part.reshape(-1, 8) for part in groups.measured((d[:, None] * multiples).reshape(-1)))
        upper, lower = (multiples * sum_qx).sum(axis=1), (multiples * multiples * sum_q2).sum(axis=1)
        consider(to_half(np.where(lower > 0, upper / lower, np.float32(0))), multiples)
    return d, multiples


def _moved(groups: Groups, d: Floats, multiples: Floats) -> Floats:
    """The multiples, each of them one more or less where that makes the error of its group smaller."""
    best, least = multiples, groups.measured((d[:, None] * multiples).reshape(-1))[0].reshape(-1, 8)
    for step in (-1, 1):
        tried = np.clip(multiples + np.float32(step), -32, 31)
        error = groups.measured((d[:, None] * tried).reshape(-1))[0].reshape(-1, 8)
        best, least = np.where(error < least, tried, best), np.fmin(error, least)
    return best


def packed_iq4_xs(groups: Groups, d: Floats, multiples: Floats) -> Bytes:
    """Blocks of IQ4_XS of the codes nearest with d (n_blocks,) and multiples (n_blocks, 8)."""
    records = new_records("IQ4_XS", len(d))
    _, codes = groups.nearest((d[:, None] * multiples).reshape(-1))
    records["d"], records["qs"] = d, pack_nibbles(codes).reshape(-1, 128)
    records["scales_l"], records["scales_h"] = nonlinear.pack_scales((multiples + 32).astype(np.uint8))
    return to_bytes(records)


def encode_iq4_xs(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 136); importance as in kernels.codecs."""
    fast = nonlinear.encode_iq4_xs(x, importance), nonlinear.decode_iq4_xs
    search = LEVEL_SEARCHES["IQ4_NL"]
    with c_arithmetic():
        weights = error_weights("IQ4_NL", x, importance)
        groups = Groups(x.reshape(-1, 32), weights.reshape(-1, 32), search.levels)
        d, multiples = _units(groups, groups.best(free_scales(groups, search)))
        return better_of(x, weights, packed_iq4_xs(groups, d, multiples), fast)


def encode_iq4_nl(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    fast = nonlinear.encode_iq4_nl(x, importance), nonlinear.decode_iq4_nl
    return _encode("IQ4_NL", x, importance, fast)


def encode_mxfp4(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 17); importance as in kernels.codecs."""
    return _encode("MXFP4", x, importance, (microscaling.encode_mxfp4(x), microscaling.decode_mxfp4))


def encode_nvfp4(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 64) -> uint8 (n, 36); importance as in kernels.codecs."""
    return _encode("NVFP4", x, importance, (microscaling.encode_nvfp4(x), microscaling.decode_nvfp4))


def encode_tq1_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 54); importance as in kernels.codecs."""
    return _encode("TQ1_0", x, importance, (ternary.encode_tq1_0(x), ternary.decode_tq1_0))


def encode_tq2_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 66); importance as in kernels.codecs."""
    return _encode("TQ2_0", x, importance, (ternary.encode_tq2_0(x), ternary.decode_tq2_0))


def encode_q1_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 128) -> uint8 (n, 18); importance as in kernels.codecs."""
    return _encode("Q1_0", x, importance, (ternary.encode_q1_0(x), ternary.decode_q1_0))


def encode_q2_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 64) -> uint8 (n, 18); importance as in kernels.codecs."""
    return _encode("Q2_0", x, importance, (ternary.encode_q2_0(x), ternary.decode_q2_0))

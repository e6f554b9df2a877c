"""Q2_K to Q6_K at the level "best"; layouts are described in kernels.reference.kquants and kquants_small.

A super-block of the fast search is the start of a joint search over the multiples of its halves, and is kept where that
finds nothing with less error; see kernels.best_search.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.best_search import SPREADS, WINDOW_SEARCHES
from kernels.reference import kquants, kquants_small
from kernels.reference.best_search import Groups, Multiples, refine_multiples
from kernels.reference.layout import (
    FOUR,
    LOW_NIBBLE,
    TWO,
    Bytes,
    Floats,
    Records,
    c_arithmetic,
    pack_nibbles,
    to_bytes,
    to_records,
)
from kernels.reference.weights import by_block, of_rows

# Reads what the search starts from, and writes what it found together with the codes, uint8 (n, 256) from 0 up.
Reader = Callable[[Records], Multiples]
Writer = Callable[[Records, Multiples, Bytes], None]


def _multiples(records: Records, s: Bytes | Floats, m: Bytes | None = None) -> Multiples:
    """Halves of blocks with their multiples s and m, (n, groups)."""
    d = records["d"].astype(np.float32)[:, None]
    if m is None:
        return Multiples(d, np.zeros_like(d), s.astype(np.float32), np.zeros(s.shape, np.float32))
    return Multiples(d, records["dmin"].astype(np.float32)[:, None], s.astype(np.float32), m.astype(np.float32))


def _weights(name: str, x: Floats, importance: Floats | None) -> Floats:
    """The weights of errors (n, 256)."""
    if importance is not None and name == "Q6_K":
        return of_rows(importance, len(x))
    return by_block(x, np.ones((1, 256), np.float32) if importance is None else importance, SPREADS[name])


def _grouped(x: Floats, size: int) -> Floats:
    """Super-blocks (n, 256) as (size, n, groups)."""
    return np.ascontiguousarray(np.moveaxis(x.reshape(len(x), -1, size), 2, 0))


def _refined(name: str, x: Floats, importance: Floats | None, fast: Bytes, form: tuple[Reader, Writer]) -> Bytes:
    """The fast search's blocks, with those replaced for which the search found better ones."""
    records, search = to_records(name, fast).copy(), WINDOW_SEARCHES[name]
    read, write = form
    with c_arithmetic():
        weights = _weights(name, x, importance)
        groups = Groups(_grouped(x, search.group), _grouped(weights, search.group), search)
        found, better = refine_multiples(groups, read(records))
        codes = np.nan_to_num(np.moveaxis(groups.codes(found), 0, 2)).reshape(-1, 256)
        written = records.copy()
        written["d"] = found.d[:, 0]
        write(written, found, (codes - search.codes[0]).astype(np.uint8))
    return to_bytes(np.where(better, written, records))


def _read_q2_k(records: Records) -> Multiples:
    return _multiples(records, records["scales"] & LOW_NIBBLE, records["scales"] >> FOUR)


def _write_q2_k(records: Records, found: Multiples, codes: Bytes) -> None:
    records["dmin"] = found.dmin[:, 0]
    records["scales"] = found.s.astype(np.uint8) | found.m.astype(np.uint8) << FOUR
    records["qs"] = kquants_small.pack_two_bits(codes)


def _read_q3_k(records: Records) -> Multiples:
    return _multiples(records, kquants_small.unpack_signed_scales(records["scales"]).astype(np.float32) - 32)


def _write_q3_k(records: Records, found: Multiples, codes: Bytes) -> None:
    records["scales"] = kquants_small.pack_signed_scales((found.s + 32).astype(np.uint8))
    records["qs"] = kquants_small.pack_two_bits(codes & np.uint8(3))
    records["hmask"] = np.packbits(codes.reshape(-1, 8, 32) >> TWO, axis=1, bitorder="little")[:, 0]


def _read_affine(records: Records) -> Multiples:
    return _multiples(records, *kquants.unpack_scales(records["scales"]))


def _write_affine(records: Records, found: Multiples, codes: Bytes) -> None:
    records["dmin"] = found.dmin[:, 0]
    records["scales"] = kquants.pack_scales(found.s.astype(np.uint8), found.m.astype(np.uint8))
    records["qs"] = pack_nibbles((codes & LOW_NIBBLE).reshape(-1, 4, 64)).reshape(-1, 128)
    if "qh" in (records.dtype.names or ()):
        records["qh"] = np.packbits(codes.reshape(-1, 8, 32) >> FOUR, axis=1, bitorder="little")[:, 0]


def _read_q6_k(records: Records) -> Multiples:
    return _multiples(records, records["scales"])


def _write_q6_k(records: Records, found: Multiples, codes: Bytes) -> None:
    records["scales"] = found.s.astype(np.int8)
    records["ql"], records["qh"] = kquants.pack_six_bits(codes)


def encode_q2_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 84); importance as in kernels.codecs."""
    return _refined("Q2_K", x, importance, kquants_small.encode_q2_k(x, importance), (_read_q2_k, _write_q2_k))


def encode_q3_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 110); importance as in kernels.codecs."""
    return _refined("Q3_K", x, importance, kquants_small.encode_q3_k(x, importance), (_read_q3_k, _write_q3_k))


def encode_q4_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 144); importance as in kernels.codecs."""
    return _refined("Q4_K", x, importance, kquants.encode_q4_k(x, importance), (_read_affine, _write_affine))


def encode_q5_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 176); importance as in kernels.codecs."""
    return _refined("Q5_K", x, importance, kquants.encode_q5_k(x, importance), (_read_affine, _write_affine))


def encode_q6_k(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 256) -> uint8 (n, 210); importance as in kernels.codecs."""
    return _refined("Q6_K", x, importance, kquants.encode_q6_k(x, importance), (_read_q6_k, _write_q6_k))

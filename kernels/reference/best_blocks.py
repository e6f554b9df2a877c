"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 at the level "best"; layouts are described in kernels.reference.legacy.

A block of the fast search is kept but where another scale (and minimum) has less error as it decodes; see
kernels.best_search. Importance counts in all five, in Q8_0 too, whose fast search ignores it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.best_search import SCALE_SEARCHES, TRIM_SEARCHES
from kernels.reference import legacy
from kernels.reference.best_search import affine_codes, best_scale, best_scale_and_minimum, scale_codes
from kernels.reference.layout import (
    LOW_NIBBLE,
    Bytes,
    Floats,
    Records,
    c_arithmetic,
    pack_nibbles,
    to_bytes,
    to_records,
)
from kernels.reference.weights import by_row

# Records of blocks, codes (n, 32), and which blocks these are to replace.
Found = tuple[Records, npt.NDArray[np.int32], npt.NDArray[np.bool_]]


def _weights(x: Floats, importance: Floats | None) -> Floats:
    """The weights of errors (n, 32); without importance they are those of ones, every block being a row."""
    return by_row(x, np.ones((1, x.shape[1]), np.float32) if importance is None else importance)


def _scaled(name: str, x: Floats, importance: Floats | None, fast: Bytes) -> Found:
    """D of a type without minimum, and codes -nmax … nmax-1."""
    records, search = to_records(name, fast).copy(), SCALE_SEARCHES[name]
    with c_arithmetic():
        d, better = best_scale(x.T, _weights(x, importance).T, records["d"].astype(np.float32), search)
        records["d"][better] = d[better]
        codes = np.nan_to_num(scale_codes(x.T, d, -search.nmax, search.nmax - 1).T)
    return records, codes.astype(np.int32), better


def _affine(name: str, x: Floats, importance: Floats | None, fast: Bytes) -> Found:
    """D and m of a type with minimum, and codes 0 … nmax."""
    records, search = to_records(name, fast).copy(), TRIM_SEARCHES[name]
    with c_arithmetic():
        start = records["d"].astype(np.float32), records["m"].astype(np.float32)
        d, m, better = best_scale_and_minimum(x.T, _weights(x, importance).T, start, search)
        records["d"][better], records["m"][better] = d[better], m[better]
        codes = np.nan_to_num(affine_codes(x.T, d, m, search.nmax).T)
    return records, codes.astype(np.int32), better


def _with_codes(records: Records, codes: Bytes, better: npt.NDArray[np.bool_]) -> Bytes:
    """The blocks, with these codes of four or five bits where they are better."""
    names = records.dtype.names or ()
    records["qs"][better] = pack_nibbles(codes[better] & LOW_NIBBLE)
    if "qh" in names:
        records["qh"][better] = legacy.pack_fifth_bits(codes[better])
    return to_bytes(records)


def encode_q4_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    records, codes, better = _scaled("Q4_0", x, importance, legacy.encode_q4_0(x, importance))
    return _with_codes(records, (codes + 8).astype(np.uint8), better)


def encode_q4_1(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 20); importance as in kernels.codecs."""
    records, codes, better = _affine("Q4_1", x, importance, legacy.encode_q4_1(x, importance))
    return _with_codes(records, codes.astype(np.uint8), better)


def encode_q5_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 22); importance as in kernels.codecs."""
    records, codes, better = _scaled("Q5_0", x, importance, legacy.encode_q5_0(x, importance))
    return _with_codes(records, (codes + 16).astype(np.uint8), better)


def encode_q5_1(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 24); importance as in kernels.codecs."""
    records, codes, better = _affine("Q5_1", x, importance, legacy.encode_q5_1(x, importance))
    return _with_codes(records, codes.astype(np.uint8), better)


def encode_q8_0(x: Floats, importance: Floats | None = None) -> Bytes:
    """float32 (n, 32) -> uint8 (n, 34); importance as in kernels.codecs."""
    records, codes, better = _scaled("Q8_0", x, importance, legacy.encode_q8_0(x))
    records["qs"][better] = codes[better]
    return to_bytes(records)

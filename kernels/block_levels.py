"""Block formats whose levels are evenly spaced: scales and offsets out of blocks, other codes into them.

A weight of such a block is scale * q + offset; which elements share both says `step`. So whoever decides about codes by
other means than rounding can take the scales that a search found and put codes of their own in (core.methods.gptq).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.blocks import FORMATS
from kernels.reference.kquants import pack_six_bits, unpack_scales
from kernels.reference.kquants_small import THREE, pack_two_bits, unpack_signed_scales
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
from kernels.reference.legacy import pack_fifth_bits

Codes = npt.NDArray[np.int8]
Tables = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class Levels:
    """One format. step: elements that share a scale. ends: the lowest and the highest q.

    tables: records (n,) -> scales and offsets, (n, groups). pack: puts q, uint8 (n, elements), into records; int8's
    bits where q may be negative.
    """

    step: int
    ends: tuple[int, int]
    tables: Callable[[Records], Tables]
    pack: Callable[[Records, Bytes], None]


def _halves(records: Records, name: str) -> Floats:
    values: Floats = records[name].astype(np.float32)[:, None]
    return values


def _symmetric(middle: int) -> Callable[[Records], Tables]:
    def tables(records: Records) -> Tables:
        scales = _halves(records, "d")
        return scales, scales * np.float32(-middle)

    return tables


def _affine(records: Records) -> Tables:
    return _halves(records, "d"), _halves(records, "m")


def _affine_k(records: Records) -> Tables:
    scales, mins = unpack_scales(records["scales"])
    return _halves(records, "d") * scales, -(_halves(records, "dmin") * mins)


def _two_bits(records: Records) -> Tables:
    scales = records["scales"]
    return _halves(records, "d") * (scales & LOW_NIBBLE), -(_halves(records, "dmin") * (scales >> FOUR))


def _three_bits(records: Records) -> Tables:
    multiples = unpack_signed_scales(records["scales"]).astype(np.float32) - np.float32(32)
    scales = _halves(records, "d") * multiples
    return scales, scales * np.float32(-4)


def _six_bits(records: Records) -> Tables:
    scales = _halves(records, "d") * records["scales"].astype(np.float32)
    return scales, scales * np.float32(-32)


def _pack_four(records: Records, codes: Bytes) -> None:
    records["qs"] = pack_nibbles(codes)


def _pack_five(records: Records, codes: Bytes) -> None:
    records["qs"], records["qh"] = pack_nibbles(codes & LOW_NIBBLE), pack_fifth_bits(codes)


def _pack_eight(records: Records, codes: Bytes) -> None:
    records["qs"] = codes.view(np.int8)


def _pack_q2_k(records: Records, codes: Bytes) -> None:
    records["qs"] = pack_two_bits(codes)


def _pack_q3_k(records: Records, codes: Bytes) -> None:
    records["qs"] = pack_two_bits(codes & THREE)
    records["hmask"] = np.packbits(codes.reshape(-1, 8, 32) >> TWO, axis=1, bitorder="little")[:, 0]


def _pack_q4_k(records: Records, codes: Bytes) -> None:
    records["qs"] = pack_nibbles(codes.reshape(-1, 4, 64)).reshape(-1, 128)


def _pack_q5_k(records: Records, codes: Bytes) -> None:
    _pack_q4_k(records, codes & LOW_NIBBLE)
    records["qh"] = np.packbits(codes.reshape(-1, 8, 32) >> FOUR, axis=1, bitorder="little")[:, 0]


def _pack_q6_k(records: Records, codes: Bytes) -> None:
    records["ql"], records["qh"] = pack_six_bits(codes)


LEVELS: dict[str, Levels] = {
    "Q4_0": Levels(32, (0, 15), _symmetric(8), _pack_four),
    "Q4_1": Levels(32, (0, 15), _affine, _pack_four),
    "Q5_0": Levels(32, (0, 31), _symmetric(16), _pack_five),
    "Q5_1": Levels(32, (0, 31), _affine, _pack_five),
    # ggml never writes -128, for which some processors' instructions have no magnitude.
    "Q8_0": Levels(32, (-127, 127), _symmetric(0), _pack_eight),
    "Q2_K": Levels(16, (0, 3), _two_bits, _pack_q2_k),
    "Q3_K": Levels(16, (0, 7), _three_bits, _pack_q3_k),
    "Q4_K": Levels(32, (0, 15), _affine_k, _pack_q4_k),
    "Q5_K": Levels(32, (0, 31), _affine_k, _pack_q5_k),
    "Q6_K": Levels(16, (0, 63), _six_bits, _pack_q6_k),
}


def tables(name: str, blocks: Bytes) -> Tables:
    """Scales and offsets of blocks (n, bytes), float32 (n, groups) each."""
    with c_arithmetic():
        return LEVELS[name].tables(to_records(name, blocks))


def with_codes(name: str, blocks: Bytes, codes: Codes) -> Bytes:
    """Blocks (n, bytes) with the same scales and other codes, q int8 (n, elements)."""
    records = to_records(name, np.array(blocks))
    LEVELS[name].pack(records, np.ascontiguousarray(codes).view(np.uint8).reshape(-1, FORMATS[name].elements))
    return to_bytes(records)

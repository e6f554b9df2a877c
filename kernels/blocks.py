"""THE table of tensor formats: how many elements a block holds, how many bytes, and which fields in which order.

A row of `n` elements is stored as `n / elements` blocks of `bytes` bytes each. All fields are little-endian and
packed without padding, in the order given. Ids, sizes and layouts are those of ggml (ggml.h, ggml-common.h,
gguf-py constants.py). This module is light: standard library only, so the window may import it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a block: its name, its numpy dtype string and how many of them there are (0 = a scalar)."""

    name: str
    dtype: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """Facts about one tensor format; behaviour is in `kernels.codecs`."""

    name: str
    type_id: int
    elements: int
    bytes: int
    fields: tuple[Field, ...]
    quantized: bool = True

    @property
    def bits_per_weight(self) -> float:
        """Storage cost of one element in bits, scales included."""
        return 8 * self.bytes / self.elements

    def divides(self, row_length: int) -> bool:
        """Whether a row of `row_length` elements is a whole number of blocks."""
        return row_length % self.elements == 0

    def row_bytes(self, row_length: int) -> int:
        """Bytes of one row of `row_length` elements; raises ValueError where blocks do not divide it."""
        if not self.divides(row_length):
            raise ValueError(f"{self.name}: row length {row_length} is not a multiple of {self.elements}")
        return row_length // self.elements * self.bytes


ROWS: tuple[BlockFormat, ...] = (
    BlockFormat("F32", 0, 1, 4, (Field("x", "<f4"),), quantized=False),
    BlockFormat("F16", 1, 1, 2, (Field("x", "<f2"),), quantized=False),
    BlockFormat("BF16", 30, 1, 2, (Field("x", "<u2"),), quantized=False),
    BlockFormat("Q4_0", 2, 32, 18, (Field("d", "<f2"), Field("qs", "u1", 16))),
    BlockFormat("Q4_1", 3, 32, 20, (Field("d", "<f2"), Field("m", "<f2"), Field("qs", "u1", 16))),
    BlockFormat("Q5_0", 6, 32, 22, (Field("d", "<f2"), Field("qh", "u1", 4), Field("qs", "u1", 16))),
    BlockFormat("Q5_1", 7, 32, 24, (Field("d", "<f2"), Field("m", "<f2"), Field("qh", "u1", 4), Field("qs", "u1", 16))),
    BlockFormat("Q8_0", 8, 32, 34, (Field("d", "<f2"), Field("qs", "i1", 32))),
    BlockFormat(
        "Q2_K",
        10,
        256,
        84,
        (Field("scales", "u1", 16), Field("qs", "u1", 64), Field("d", "<f2"), Field("dmin", "<f2")),
    ),
    BlockFormat(
        "Q3_K",
        11,
        256,
        110,
        (Field("hmask", "u1", 32), Field("qs", "u1", 64), Field("scales", "u1", 12), Field("d", "<f2")),
    ),
    BlockFormat(
        "Q4_K",
        12,
        256,
        144,
        (Field("d", "<f2"), Field("dmin", "<f2"), Field("scales", "u1", 12), Field("qs", "u1", 128)),
    ),
    BlockFormat(
        "Q5_K",
        13,
        256,
        176,
        (
            Field("d", "<f2"),
            Field("dmin", "<f2"),
            Field("scales", "u1", 12),
            Field("qh", "u1", 32),
            Field("qs", "u1", 128),
        ),
    ),
    BlockFormat(
        "Q6_K",
        14,
        256,
        210,
        (Field("ql", "u1", 128), Field("qh", "u1", 64), Field("scales", "i1", 16), Field("d", "<f2")),
    ),
    BlockFormat("IQ1_S", 19, 256, 50, (Field("d", "<f2"), Field("qs", "u1", 32), Field("qh", "<u2", 8))),
    BlockFormat("IQ1_M", 29, 256, 56, (Field("qs", "u1", 32), Field("qh", "u1", 16), Field("scales", "u1", 8))),
    BlockFormat("IQ2_XXS", 16, 256, 66, (Field("d", "<f2"), Field("qs", "<u2", 32))),
    BlockFormat("IQ2_XS", 17, 256, 74, (Field("d", "<f2"), Field("qs", "<u2", 32), Field("scales", "u1", 8))),
    BlockFormat(
        "IQ2_S",
        22,
        256,
        82,
        (
            Field("d", "<f2"),
            Field("qs", "u1", 32),
            Field("signs", "u1", 32),
            Field("qh", "u1", 8),
            Field("scales", "u1", 8),
        ),
    ),
    BlockFormat("IQ3_XXS", 18, 256, 98, (Field("d", "<f2"), Field("qs", "u1", 64), Field("scales_signs", "<u4", 8))),
    BlockFormat(
        "IQ3_S",
        21,
        256,
        110,
        (
            Field("d", "<f2"),
            Field("qs", "u1", 64),
            Field("qh", "u1", 8),
            Field("signs", "u1", 32),
            Field("scales", "u1", 4),
        ),
    ),
    BlockFormat("IQ4_NL", 20, 32, 18, (Field("d", "<f2"), Field("qs", "u1", 16))),
    BlockFormat(
        "IQ4_XS",
        23,
        256,
        136,
        (Field("d", "<f2"), Field("scales_h", "<u2"), Field("scales_l", "u1", 4), Field("qs", "u1", 128)),
    ),
    BlockFormat("TQ1_0", 34, 256, 54, (Field("qs", "u1", 48), Field("qh", "u1", 4), Field("d", "<f2"))),
    BlockFormat("TQ2_0", 35, 256, 66, (Field("qs", "u1", 64), Field("d", "<f2"))),
    BlockFormat("MXFP4", 39, 32, 17, (Field("e", "u1"), Field("qs", "u1", 16))),
    BlockFormat("NVFP4", 40, 64, 36, (Field("d", "u1", 4), Field("qs", "u1", 32))),
    BlockFormat("Q1_0", 41, 128, 18, (Field("d", "<f2"), Field("qs", "u1", 16))),
    BlockFormat("Q2_0", 42, 64, 18, (Field("d", "<f2"), Field("qs", "u1", 16))),
)

FORMATS: dict[str, BlockFormat] = {row.name: row for row in ROWS}
BY_ID: dict[int, BlockFormat] = {row.type_id: row for row in ROWS}

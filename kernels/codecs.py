"""THE table of codecs: which functions, in which module of every backend, encode and decode a tensor format.

A backend (`kernels.reference`, `kernels.cpu`, `kernels.gpu`) has the same module stems with the same function names,
so a format is one row here, one function pair per backend, and nothing else. This module is light: it names
functions and imports none.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.blocks import FORMATS, BlockFormat


@dataclass(frozen=True, slots=True)
class Codec:
    """How one format is coded: `encode(x: f32 (n, elements)) -> u8 (n, bytes)` and `decode`, by name."""

    format: BlockFormat
    module: str
    encode: str
    decode: str


@dataclass(frozen=True, slots=True)
class AffineSearch:
    """Candidates of a search for scale and minimum: codes 0..nmax, and steps+1 stretched scales.

    Candidate k maps the range of a group to nmax + first + step·k codes (ggml-quants.c, make_qkx2_quants).
    """

    nmax: int
    first: float
    step: float
    steps: int


def _codec(name: str, module: str) -> Codec:
    stem = name.lower()
    return Codec(FORMATS[name], module, f"encode_{stem}", f"decode_{stem}")


ROWS: tuple[Codec, ...] = (
    _codec("F32", "floats"),
    _codec("F16", "floats"),
    _codec("BF16", "floats"),
    _codec("Q4_0", "legacy"),
    _codec("Q4_1", "legacy"),
    _codec("Q5_0", "legacy"),
    _codec("Q5_1", "legacy"),
    _codec("Q8_0", "legacy"),
    _codec("Q4_K", "kquants"),
    _codec("Q5_K", "kquants"),
    _codec("Q6_K", "kquants"),
)

CODECS: dict[str, Codec] = {row.format.name: row for row in ROWS}

# Search constants of quantize_row_q4_K_ref and quantize_row_q5_K_ref in ggml-quants.c.
AFFINE_SEARCHES: dict[str, AffineSearch] = {
    "Q4_K": AffineSearch(nmax=15, first=-1.0, step=0.1, steps=20),
    "Q5_K": AffineSearch(nmax=31, first=-0.5, step=0.1, steps=15),
}

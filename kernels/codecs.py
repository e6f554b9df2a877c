"""THE table of codecs: which functions, in which module of every backend, encode and decode a tensor format.

A backend (`kernels.reference`, `kernels.cpu`, `kernels.gpu`) has the same module stems with the same function names,
so a format is one row here, one function pair per backend, and nothing else. This module is light: it names
functions and imports none.

Importance says how much the error in each column of a tensor matters (the mean square of the activations that meet
it). An encoder that uses it takes `encode(x, importance=None)`, importance float32 (blocks_per_row, elements) of one
row: block b is weighted by importance[b % blocks_per_row], and a row is blocks_per_row consecutive blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from kernels.blocks import FORMATS, BlockFormat

BACKENDS = ("reference", "cpu", "gpu")
# How hard an encoder searches. "reference": ggml's search, step for step, so that the bytes are ggml's. "fast": the
# same search by whatever arithmetic is fastest. "best": looks farther, in more time; no block is worse than by "fast".
Fit = Literal["reference", "fast", "best"]
FITS: tuple[Fit, ...] = get_args(Fit)
# What an encoder does with importance: nothing at all, weigh errors where it is given, or refuse to work without it.
Importance = Literal["ignored", "used", "required"]


@dataclass(frozen=True, slots=True)
class Level:
    """How a format is encoded at one level of search: the module of a backend that has the codec's `encode` for it.

    importance: what that encoder does with it; one that ignores it does not take it. backends: those that have the
    module. weighted: those of them whose `encode` takes importance.
    """

    module: str
    importance: Importance
    backends: tuple[str, ...] = BACKENDS
    weighted: tuple[str, ...] = BACKENDS


@dataclass(frozen=True, slots=True)
class Codec:
    """How one format is coded: `encode(x: f32 (n, elements)) -> u8 (n, bytes)` and `decode`, by name.

    module, importance, backends, weighted: as in `Level`, of the fast search; `decode` is in the same module.
    exact: the backends whose fast search writes ggml's bytes, and so is the reference search as well.
    best: the level that looks farther, or None where that gains nothing: then the fast search is the best.
    """

    format: BlockFormat
    module: str
    encode: str
    decode: str
    importance: Importance
    backends: tuple[str, ...] = BACKENDS
    weighted: tuple[str, ...] = BACKENDS
    exact: tuple[str, ...] = ("reference", "cpu")
    best: Level | None = None

    def at(self, fit: Fit) -> Level:
        """How the format is encoded at a level of search."""
        if fit == "best" and self.best is not None:
            return self.best
        kept = self.exact if fit == "reference" else BACKENDS
        able, weighted = (tuple(name for name in names if name in kept) for names in (self.backends, self.weighted))
        return Level(self.module, self.importance, able, weighted)


@dataclass(frozen=True, slots=True)
class AffineSearch:
    """Candidates of a search for scale and minimum: codes 0..nmax, and steps+1 stretched scales.

    Candidate k maps the range of a group to nmax + first + step·k codes (ggml-quants.c, make_qkx2_quants).
    """

    nmax: int
    first: float
    step: float
    steps: int


def _codec(
    name: str,
    module: str,
    importance: Importance,
    backends: tuple[str, ...] = BACKENDS,
    weighted: tuple[str, ...] = BACKENDS,
    exact: tuple[str, ...] = ("reference", "cpu"),
) -> Codec:
    stem = name.lower()
    able = tuple(backend for backend in backends if backend in weighted)
    best = BEST.get(name)
    return Codec(FORMATS[name], module, f"encode_{stem}", f"decode_{stem}", importance, backends, able, exact, best)


# Formats of levels that are not whole multiples of a step, or of few levels.
UNEVEN_LEVELS = ("IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "Q1_0", "Q2_0")
# The levels that look farther than the fast search, of the formats for which that lowers the error. Formats without a
# row are encoded by the fast search at that level too.
BEST: dict[str, Level] = {
    **{name: Level("best_blocks", "used") for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")},
    **{name: Level("best_super_blocks", "used") for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")},
    **{name: Level("best_levels", "used") for name in UNEVEN_LEVELS},
}

# On the grids ggml's choice between near points is not repeated by the fast searches, which make the same error.
SPECIFIED = ("reference",)


ROWS: tuple[Codec, ...] = (
    _codec("F32", "floats", "ignored"),
    _codec("F16", "floats", "ignored"),
    _codec("BF16", "floats", "ignored"),
    _codec("Q4_0", "legacy", "used"),
    _codec("Q4_1", "legacy", "used"),
    _codec("Q5_0", "legacy", "used"),
    _codec("Q5_1", "legacy", "used"),
    _codec("Q8_0", "legacy", "ignored"),
    _codec("Q2_K", "kquants_small", "used"),
    _codec("Q3_K", "kquants_small", "used"),
    _codec("Q4_K", "kquants", "used"),
    _codec("Q5_K", "kquants", "used"),
    _codec("Q6_K", "kquants", "used"),
    _codec("IQ1_S", "iq1", "required", exact=SPECIFIED),
    _codec("IQ1_M", "iq1", "used", exact=SPECIFIED),
    _codec("IQ2_XXS", "iq2", "required", exact=SPECIFIED),
    _codec("IQ2_XS", "iq2", "required", exact=SPECIFIED),
    _codec("IQ2_S", "iq2", "used", exact=SPECIFIED),
    _codec("IQ3_XXS", "iq3", "used", exact=SPECIFIED),
    _codec("IQ3_S", "iq3", "used", exact=SPECIFIED),
    _codec("IQ4_NL", "nonlinear", "used"),
    _codec("IQ4_XS", "nonlinear", "used"),
    _codec("TQ1_0", "ternary", "ignored"),
    _codec("TQ2_0", "ternary", "ignored"),
    _codec("MXFP4", "microscaling", "ignored"),
    _codec("NVFP4", "microscaling", "ignored"),
    _codec("Q1_0", "ternary", "ignored"),
    _codec("Q2_0", "ternary", "ignored"),
)

CODECS: dict[str, Codec] = {row.format.name: row for row in ROWS}

# Search constants of quantize_row_q2_K_ref, quantize_row_q4_K_ref and quantize_row_q5_K_ref in ggml-quants.c.
AFFINE_SEARCHES: dict[str, AffineSearch] = {
    "Q2_K": AffineSearch(nmax=3, first=-0.5, step=0.1, steps=15),
    "Q4_K": AffineSearch(nmax=15, first=-1.0, step=0.1, steps=20),
    "Q5_K": AffineSearch(nmax=31, first=-0.5, step=0.1, steps=15),
}

# Those of quantize_row_q4_1_impl, q5_1, q2_K, q4_K and q5_K, which are used with importance.
WEIGHTED_AFFINE_SEARCHES: dict[str, AffineSearch] = {
    name: AffineSearch(nmax, first=-0.9, step=0.05, steps=36)
    for name, nmax in (("Q4_1", 15), ("Q5_1", 31), ("Q2_K", 3), ("Q4_K", 15), ("Q5_K", 31))
}

# The 16 values, times the scale of a group, that the codes of IQ4_NL and IQ4_XS stand for (kvalues_iq4nl).
NONLINEAR_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

# Twice the values of the 4-bit float E2M1, which the codes of MXFP4 and NVFP4 are (kvalues_mxfp4).
E2M1_DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)

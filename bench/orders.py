"""THE table of orders that must hold between the rows of `bench.methods`, and how far a difference is beyond chance.

A text of some thousand tokens says only so much: of each difference between two rows on the same tokens stands its
standard error, by drawing blocks of consecutive tokens again and again (Künsch, The jackknife and the bootstrap for
general stationary observations, 1989). Whether an order holds is decided by the figures alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.judge import CATEGORIES, TAIL, Scores, Tokens
from bench.layer_errors import Errors

BLOCK, DRAWS = 16, 400


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A row's figures. seconds, peak_bytes: of the process. errors: None where weights cannot be compared."""

    bits_per_weight: float
    seconds: float
    peak_bytes: int
    errors: Errors | None
    scores: Scores
    tokens: Mapping[str, Tokens]

    def value(self, figure: str, category: str = "") -> float:
        """A figure by its name, of a category where it is one of a text; NaN where it could not be measured."""
        if category:
            return float(getattr(self.scores[category], figure))
        return float("nan") if self.errors is None else float(getattr(self.errors, figure))


def pooled(parts: Sequence[Measured]) -> Measured:
    """A row's figures over several models: of all tokens together, and the mean of errors and seconds."""
    tokens = {name: Tokens.joined([part.tokens[name] for part in parts]) for name in CATEGORIES}
    return Measured(
        sum(part.bits_per_weight for part in parts) / len(parts),
        sum(part.seconds for part in parts) / len(parts),
        max(part.peak_bytes for part in parts),
        Errors.mean([part.errors for part in parts]),
        {name: own.score() for name, own in tokens.items()},
        tokens,
    )


@dataclass(frozen=True, slots=True)
class Order:
    """Rows that must not get worse from the first to the last. strict: each must be better than the next.

    figures: all must be in order, of each category where they are of a text; of `a|b` one is enough.
    """

    title: str
    rows: tuple[str, ...]
    figures: tuple[str, ...]
    strict: bool = False

    def misses(self, found: Mapping[str, Measured]) -> list[str]:
        """What does not hold, in words; nothing where all of it does."""
        return [
            words
            for better, worse in pairwise(self.rows)
            for figures in self.figures
            if all(self.against(found, better, worse, figure) for figure in figures.split("|"))
            for figure in figures.split("|")
            for words in self.against(found, better, worse, figure)
        ]

    def excused(self, found: Mapping[str, Measured]) -> list[str]:
        """What is against the order in a figure that another one stands in for; not what could not be measured."""
        every = [
            words
            for better, worse in pairwise(self.rows)
            for figures in self.figures
            for figure in figures.split("|")
            for words in self.against(found, better, worse, figure)
        ]
        return [words for words in every if words not in self.misses(found) and " nan" not in words]

    def against(self, found: Mapping[str, Measured], better: str, worse: str, figure: str) -> list[str]:
        """Where a figure is not in order, in words."""
        missed = []
        for category in CATEGORIES if figure in STATISTICS else ("",):
            first, second = (found[name].value(figure, category) for name in (better, worse))
            if not (first < second or (first == second and not self.strict)):
                at = f" on {category}" if category else ""
                chance = _chance(found[better], found[worse], figure, category) if category else ""
                missed.append(f"{figure}{at}: {better} {first:.4g}, {worse} {second:.4g}{chance}")
        return missed


def _chance(first: Measured, second: Measured, figure: str, category: str) -> str:
    difference = first.value(figure, category) - second.value(figure, category)
    error = standard_error(first.tokens[category], second.tokens[category], figure)
    return f"; worse by {difference:.3g}, standard error {error:.2g}"


def standard_error(first: Tokens, second: Tokens, figure: str) -> float:
    """Of the difference of a figure between two rows on the same tokens."""
    random = np.random.default_rng(0)
    count = len(first.kld) // BLOCK
    if not count:
        return float("nan")
    starts = random.integers(0, len(first.kld) - BLOCK + 1, (DRAWS, count))
    drawn = (starts[:, :, None] + np.arange(BLOCK)).reshape(DRAWS, -1)
    statistic = STATISTICS[figure]
    return float((statistic(first, drawn) - statistic(second, drawn)).std(ddof=1))


def _ppl(tokens: Tokens, drawn: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(tokens.surprise[drawn].mean(axis=1, dtype=np.float64)))


def _kld(tokens: Tokens, drawn: np.ndarray) -> np.ndarray:
    return np.asarray(tokens.kld[drawn].mean(axis=1, dtype=np.float64))


def _tail(tokens: Tokens, drawn: np.ndarray) -> np.ndarray:
    return np.asarray(np.percentile(tokens.kld[drawn], TAIL, axis=1))


# Figures of texts, of tokens drawn again: (draws,).
STATISTICS = {"ppl": _ppl, "kld": _kld, "tail": _tail}
QUALITY = ("kld|output", "ppl", "tail")
SQUARES = ("weights", *QUALITY)
ORDERS: tuple[Order, ...] = (
    Order("per group <= per channel <= per tensor, 4 bits", ("int4 g64", "int4 channel", "int4 tensor"), QUALITY),
    Order("per group <= per channel, 3 bits", ("int3 g64", "int3 channel"), QUALITY),
    Order("smaller groups <= larger ones, 4 bits", ("int4 g32", "int4 g64"), QUALITY),
    Order("per channel <= per tensor, 8 bits", ("int8 channel", "int8 tensor"), QUALITY),
    Order("asymmetric <= symmetric on skewed rows, 4 bits", ("int4 channel asym", "int4 channel"), ("skewed",)),
    Order("asymmetric <= symmetric in groups, 4 bits", ("int4 g64 asym", "int4 g64"), SQUARES),
    Order("asymmetric <= symmetric in groups, 3 bits", ("int3 g64 asym", "int3 g64"), SQUARES),
    Order("percentile <= min/max, 4 bits, per channel", ("int4 channel percentile", "int4 channel"), SQUARES),
    Order("percentile <= min/max, 3 bits, per channel", ("int3 channel percentile", "int3 channel"), SQUARES),
    Order("MSE <= min/max, 4 bits, per channel", ("int4 channel mse", "int4 channel"), SQUARES),
    Order("MSE <= min/max, 3 bits, per channel", ("int3 channel mse", "int3 channel"), SQUARES),
    Order("MSE <= min/max, 4 bits, per group", ("int4 g64 mse", "int4 g64"), SQUARES),
    Order("MSE <= min/max, 4 bits, per group, asymmetric", ("int4 g64 asym mse", "int4 g64 asym"), SQUARES),
    Order("MSE <= min/max, 3 bits, per group", ("int3 g64 mse", "int3 g64"), SQUARES),
    Order("weighted scales < MSE, 4 bits", ("int4 g64 weighted", "int4 g64 mse"), QUALITY, strict=True),
    Order("weighted scales < MSE, 3 bits", ("int3 g64 weighted", "int3 g64 mse"), QUALITY, strict=True),
    Order("HQQ <= min/max, 4 bits, asymmetric", ("hqq4 g64 asym", "int4 g64 asym"), QUALITY),
    Order("HQQ <= min/max, 3 bits, asymmetric", ("hqq3 g64 asym", "int3 g64 asym"), QUALITY),
    Order("NF4 <= FP4", ("nf4", "fp4"), SQUARES),
    *(
        Order(
            f"AWQ < {word}, {bits} bits, asymmetric",
            (f"awq{bits} g64 asym", f"int{bits} g64 asym{rule}"),
            QUALITY,
            True,
        )
        for bits in (4, 3)
        for word, rule in (("min/max", ""), ("MSE", " mse"))
    ),
    Order("MSE <= min/max, 3 bits, per group, asymmetric", ("int3 g64 asym mse", "int3 g64 asym"), SQUARES),
    Order("SmoothQuant <= plain, W8A8 with one scale", ("smoothquant a8 static", "int8 channel a8 static"), QUALITY),
    Order("SmoothQuant <= plain, W8A8 token by token", ("smoothquant a8", "int8 channel a8"), QUALITY),
    Order("token by token <= one scale, W8A8", ("int8 channel a8", "int8 channel a8 static"), QUALITY),
    *(
        Order(
            f"GPTQ with weighted scales < GPTQ < rounding, {bits} bits",
            (f"gptq{bits} g64 weighted", f"gptq{bits} g64", f"int{bits} g64"),
            QUALITY,
            strict=True,
        )
        for bits in (4, 3)
    ),
    *(
        Order(
            f"GPTQ with weighted scales < rounding with weighted scales, {bits} bits",
            (f"gptq{bits} g64 weighted", f"int{bits} g64 weighted"),
            QUALITY,
            strict=True,
        )
        for bits in (4, 3)
    ),
    Order("GPTQ with passes of coordinate descent <= without", ("gptq4 g64 weighted", "gptq4 g64 no passes"), QUALITY),
    Order("GPTQ towards the original's outputs <= without", ("gptq4 g64 target", "gptq4 g64 weighted"), QUALITY),
    Order(
        "GPTQ with weighted scales < rounding with weighted scales, 2 bits",
        ("gptq2 g32 asym weighted", "int2 g32 asym weighted"),
        QUALITY,
        strict=True,
    ),
)


def judged(found: Mapping[str, Measured]) -> int:
    """Prints which orders hold, of those whose rows were all made; how many do not."""
    missed = 0
    for order in ORDERS:
        if all(name in found for name in order.rows):
            misses = order.misses(found)
            missed += bool(misses)
            print(f"- {'MISSED' if misses else 'held'}: {order.title}")
            for words in misses:
                print(f"  - {words}")
            for words in order.excused(found):
                print(f"  - though {words}")
    return missed

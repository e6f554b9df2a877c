"""Integers with and without zero points on rows that lie to one side of zero, which a trained model has few of."""

from __future__ import annotations

import numpy as np

from core.methods.linear import Scheme
from core.methods.ranges import RangeSetting, quantize
from core.methods.table import CHANNEL

ROWS, COLUMNS, SEED = 64, 1024, 5
# How far the middle of a row lies from zero, in standard deviations of its weights.
SHIFTS = (0.5, 1.0, 2.0)
BITS = (2, 3, 4, 5, 6, 7, 8)
GROUPS = (CHANNEL, 64)
RULES = ("minmax", "mse")


def skewed_rows(shift: float) -> np.ndarray:
    """Normal weights, float32 (ROWS, COLUMNS), every other row shifted up or down."""
    random = np.random.default_rng(SEED)
    side = np.where(np.arange(ROWS) % 2, 1, -1)[:, None]
    return (random.standard_normal((ROWS, COLUMNS)) + shift * side).astype(np.float32)


def error(w: np.ndarray, scheme: Scheme, rule: str) -> float:
    """Squared error over squares, in percent."""
    made = quantize(w, scheme, RangeSetting(rule)).values()
    return 100 * float(np.square(made - w, dtype=np.float64).sum() / np.square(w, dtype=np.float64).sum())


def show_skewed() -> int:
    """Prints the largest share that zero points leave of the error for each shift; how many shifts miss the order."""
    missed = 0
    for shift in SHIFTS:
        w = skewed_rows(shift)
        shares = {
            (bits, group, rule): error(w, Scheme(bits, group, False), rule) / error(w, Scheme(bits, group), rule)
            for bits in BITS
            for group in GROUPS
            for rule in RULES
        }
        missed += (worst := max(shares.values())) > 1
        title = f"asymmetric <= symmetric on random rows {shift} deviations from zero, 2 to 8 bits"
        range_ = f"{100 * min(shares.values()):.0f} to {100 * worst:.0f} % of the error"
        print(f"- {'MISSED' if worst > 1 else 'held'}: {title}: {range_}")
    return missed

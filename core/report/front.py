"""The Pareto front of models by size and loss."""

from __future__ import annotations

from collections.abc import Sequence


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of these (size, loss) no other beats in both, in the order of sizes."""
    best, found = float("inf"), []
    for at in sorted(range(len(points)), key=lambda at: points[at]):
        if points[at][1] < best:
            best = points[at][1]
            found.append(at)
    return found

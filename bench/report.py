"""One way to print benchmark figures: a title, a table, and for each figure its target and whether it was met."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. at_most: the target is a ceiling (else a floor); target None: no target is set."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure is within its target; True where there is none."""
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target

    def cells(self) -> tuple[str, str, str, str]:
        """Name, value, target and verdict as text."""
        if self.target is None:
            return self.name, f"{self.value:.4g} {self.unit}", "", ""
        target = f"{'at most' if self.at_most else 'at least'} {self.target:.4g} {self.unit}"
        return self.name, f"{self.value:.4g} {self.unit}", target, "met" if self.is_met else "MISSED"


def show(title: str, figures: Sequence[Figure]) -> int:
    """Prints the figures as a table and returns how many missed their target."""
    print(f"\n{title}\n  {machine()}", flush=True)
    rows = [("figure", "measured", "target", ""), *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return sum(not figure.is_met for figure in figures)


def machine() -> str:
    """The machine in a few words: processor, cores, system, Python."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()

"""How long a quantization takes: seconds per weight and type, measured on this machine, corrected by past jobs.

This module is light; what measures is core.speed. A key names what was timed, so that another program, processor or
number of threads is another key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

# Starting a worker, loading compiled code and the plan, which no job is without: assumed, not measured.
START_S = 0.7
# Past jobs further off than this say more about what else the machine did than about the estimate.
FURTHEST = 5.0
JOBS_COUNTED = 8


class Operation(NamedTuple):
    """What is timed: "decode", "encode" or "measure" per weight, "disk" per byte. weighted: with importance.

    Of jobs that take a text through a model (core.estimate.walking): "start" once, "macs" per product that is added,
    "spread" per number that is not multiplied by a matrix, "squares" and "watch" per number that is looked at, "factor"
    per columns cubed, "solve" per weight, "solve_columns" per weight and column, "round" and "pack" per weight.
    """

    kind: Literal[
        "decode",
        "encode",
        "measure",
        "disk",
        "start",
        "macs",
        "spread",
        "squares",
        "watch",
        "factor",
        "solve",
        "solve_columns",
        "round",
        "pack",
    ]
    type_name: str = ""
    weighted: bool = False


@dataclass(frozen=True, slots=True)
class How:
    """With what is computed. machine: names processor, cores and the program's kernels. fit: the level of search."""

    machine: str
    device: str
    threads: int
    fit: str

    def key(self, operation: Operation) -> str:
        """Under which name the operation's seconds are kept."""
        if operation.kind in ("disk", "start"):
            return f"{self.machine}|{operation.kind}"
        level = (self.fit, "importance" if operation.weighted else "plain") if operation.kind == "encode" else ()
        return "|".join((self.machine, self.device, str(self.threads), operation.kind, operation.type_name, *level))


@dataclass(frozen=True, slots=True)
class Work:
    """What one tensor costs an output: from which type to which, how many weights, and the bytes written."""

    source_type: str
    target_type: str
    weighted: bool
    elements: int
    bytes: int

    def operations(self, first: bool) -> Iterator[tuple[Operation, int]]:
        """Each operation and its amount; a tensor is decoded once for all outputs, with the first of them."""
        if first:
            yield Operation("decode", self.source_type), self.elements
        same = self.source_type == self.target_type
        yield Operation("measure") if same else Operation("encode", self.target_type, self.weighted), self.elements
        yield Operation("disk"), self.bytes


Outputs = Sequence[Sequence[Work]]


def operations(outputs: Outputs) -> Counter[Operation]:
    """All operations of one pass that makes these outputs, with their amounts."""
    amounts: Counter[Operation] = Counter()
    for number, works in enumerate(outputs):
        for work in works:
            for operation, amount in work.operations(number == 0):
                amounts[operation] += amount
    return amounts


def predicted_seconds(outputs: Outputs, how: How, speeds: Mapping[str, float]) -> float | None:
    """Seconds for one pass, None where something was never timed."""
    return seconds_of(operations(outputs), how, speeds)


def seconds_of(amounts: Mapping[Operation, int], how: How, speeds: Mapping[str, float]) -> float | None:
    """Seconds for all operations, None where one was never timed."""
    if any(how.key(operation) not in speeds for operation in amounts):
        return None
    return START_S + sum(speeds[how.key(operation)] * amount for operation, amount in amounts.items())


def correction(ratios: Sequence[float], furthest: float = FURTHEST) -> float:
    """What to multiply a prediction by: the median of measured through predicted of past jobs, 1 without any.

    furthest: what is further off than that is not counted.
    """
    sound = [ratio for ratio in ratios if 1 / furthest < ratio < furthest]
    return median(sound) if sound else 1.0

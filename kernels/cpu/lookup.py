"""Lanes and short rising tables: which level is nearest, which value a code stands for; and a question to all lanes.

Tables are constants of the compiled code. A position in a rising table is the number of entries not above a value, so
every entry costs one comparison and one masked addition, in every lane at once and on every kind of processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from llvmlite import ir

from kernels.cpu.compiled import intrinsic, types
from kernels.cpu.vectors import LANES, LLVM_FLOATS, LLVM_INTEGERS, floats, integers, mask


def _constant(llvm_type: Any, value: float) -> Any:
    return ir.Constant(llvm_type, [value] * LANES)


def _stairs(builder: Any, reached: list[Any], values: Sequence[int]) -> Any:
    """Integer lanes values[0] + Σ of the steps to the next value whose condition holds, in two sums side by side."""
    sums = [_constant(LLVM_INTEGERS, values[0]), _constant(LLVM_INTEGERS, 0)]
    for i, (condition, (before, after)) in enumerate(zip(reached, pairwise(values), strict=True)):
        step = builder.select(condition, _constant(LLVM_INTEGERS, after - before), _constant(LLVM_INTEGERS, 0))
        sums[i % 2] = builder.add(sums[i % 2], step)
    return builder.add(*sums)


def stairs_of_floats(comparison: str, thresholds: Sequence[float], values: Sequence[int]) -> Any:
    """A function of float lanes: values[i] where i thresholds are reached (`comparison` ">=") or passed (">")."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        reached = [builder.fcmp_ordered(comparison, args[0], _constant(LLVM_FLOATS, t)) for t in thresholds]
        return _stairs(builder, reached, values)

    def typed(typing: Any, a: Any) -> Any:
        return (integers(floats), generate) if a == floats else None

    return intrinsic(typed)


def stairs_of_codes(values: Sequence[int]) -> Any:
    """A function of integer lanes 0 … len(values)-1: values[code], integer lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        steps = range(1, len(values))
        reached = [builder.icmp_signed(">=", args[0], _constant(LLVM_INTEGERS, i)) for i in steps]
        return _stairs(builder, reached, values)

    def typed(typing: Any, a: Any) -> Any:
        return (integers(integers), generate) if a == integers else None

    return intrinsic(typed)


@intrinsic
def any_lane(typing: Any, condition: Any) -> Any:
    """Whether the condition holds in any lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return (types.boolean(mask), generate) if condition == mask else None

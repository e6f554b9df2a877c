"""From a weight matrix to its quantized form: THE table of which method is computed how."""

from __future__ import annotations

from collections.abc import Callable

from core.checkpoints.settings import Settings
from core.methods import bitnet, fourbit, hqq, llm_int8, ranges
from core.methods.bitnet import Signs
from core.methods.fourbit import FourBit
from core.methods.linear import Floats, Linear
from core.methods.llm_int8 import Rows

Quantized = Linear | FourBit | Rows | Signs
# (weights (rows, columns), settings, type of the source, importance of the columns or None) -> quantized weights
Solver = Callable[[Floats, Settings, str, Floats | None], Quantized]


def _integers(w: Floats, settings: Settings, dtype: str, importance: Floats | None) -> Quantized:
    return ranges.quantize(w, settings.scheme(dtype), settings.ranges, importance)


def _searched(w: Floats, settings: Settings, dtype: str, importance: Floats | None) -> Quantized:
    return ranges.quantize(w, settings.scheme(dtype), ranges.RangeSetting("mse"), importance)


def _half_quadratic(w: Floats, settings: Settings, dtype: str, importance: Floats | None) -> Quantized:
    return hqq.quantize(w, settings.scheme(dtype))


def _four_bits(w: Floats, settings: Settings, dtype: str, importance: Floats | None) -> Quantized:
    return fourbit.quantize(w, settings.choice.method, settings.double)


def _rows(w: Floats, settings: Settings, dtype: str, importance: Floats | None) -> Quantized:
    return llm_int8.quantize(w)


def _ternary(w: Floats, settings: Settings, dtype: str, importance: Floats | None) -> Quantized:
    return bitnet.ternary(w)


def _one_bit(w: Floats, settings: Settings, dtype: str, importance: Floats | None) -> Quantized:
    return bitnet.one_bit(w)


SOLVERS: dict[str, Solver] = {
    "int": _integers,
    "smoothquant": _integers,
    "awq": _searched,  # of experts, whose inputs are not looked at
    "hqq": _half_quadratic,
    "nf4": _four_bits,
    "fp4": _four_bits,
    "llm-int8": _rows,
    "ternary": _ternary,
    "bitnet": _one_bit,
}

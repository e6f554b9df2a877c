"""THE table of the fields of a method's settings: fields of MethodOptions, in words, and when each of them counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

from core.methods.table import ACTIVATION, ACTIVATIONS, METHOD, PRESTEPS, Method

_T = QT_TRANSLATE_NOOP
# Up to so many bits an automatic range is one of the search by error.
SEARCHED_BITS = 4
RANGE_WORDS = {
    "": _T("MethodFields", "Automatic"),
    "minmax": _T("MethodFields", "All weights"),
    "percentile": _T("MethodFields", "A percentile of them"),
    "mse": _T("MethodFields", "Least squared error"),
    "entropy": _T("MethodFields", "Least entropy lost"),
    "given": _T("MethodFields", "By hand"),
}
ACTIVATION_WORDS = {"": _T("MethodFields", "16 bits")} | {row.name: row.title for row in ACTIVATIONS}
ACTIVATION_RANGES = ("", "minmax", "percentile", "mse", "entropy")
ORDER_WORDS = {
    "groups": _T("MethodFields", "Within groups"),
    "static": _T("MethodFields", "Sorted over all"),
    "off": _T("MethodFields", "As they are"),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What decides whether a field counts: the choices that others depend on."""

    method: Method
    bits: int
    range: str = ""
    asymmetric: bool = False
    is_calibrated: bool = False
    activations: str = ""
    activation_range: str = ""
    prestep: str = ""

    @property
    def is_static(self) -> bool:
        """Whether activations have ranges that are found on a text."""
        return bool(self.activations) and ACTIVATION[self.activations].calibration

    @property
    def is_smoothed(self) -> bool:
        """Whether SmoothQuant folds scales first."""
        return "alpha" in self.method.options or self.prestep == "smoothquant"

    @property
    def is_searched(self) -> bool:
        """Whether ranges are searched by error."""
        return bool(self.method.ranges) and (self.range or ("mse" if self.bits <= SEARCHED_BITS else "")) == "mse"


@dataclass(frozen=True, slots=True)
class Field:
    """One row of the form. name: of the field of MethodOptions and of the widget. term: its glossary entry.

    words: of a switch's box, else of the label. choices: values in words, for a choice; what a method does not have is
    left out. limits, decimals, step: of a number; unset: what it says below its limits, where it may have no value.
    """

    name: str
    words: str
    term: str
    kind: Literal["switch", "choice", "number"]
    counts: Callable[[Chosen], bool]
    choices: Callable[[Method], dict[Any, str]] = lambda method: {}
    limits: tuple[float, float] = (0, 1)
    decimals: int = 0
    step: float = 1
    unset: str = ""


def _symmetry(method: Method) -> dict[Any, str]:
    words = {False: _T("MethodFields", "Symmetric"), True: _T("MethodFields", "With zero points")}
    return {not symmetric: words[not symmetric] for symmetric in method.symmetric}


def _option(name: str) -> Callable[[Chosen], bool]:
    return lambda chosen: name in chosen.method.options


def _ranged(rule: str) -> Callable[[Chosen], bool]:
    return lambda chosen: bool(chosen.method.ranges) and chosen.range == rule


FIELDS: tuple[Field, ...] = (
    Field(
        "asymmetric",
        _T("MethodFields", "Integers"),
        "zero_point",
        "choice",
        lambda chosen: bool(chosen.method.groups) and len(chosen.method.symmetric) > 1,
        _symmetry,
    ),
    Field(
        "restricted",
        _T("MethodFields", "Leave the lowest integer out"),
        "restricted",
        "switch",
        lambda chosen: "restricted" in chosen.method.options and not chosen.asymmetric,
    ),
    Field(
        "range",
        _T("MethodFields", "Range"),
        "range",
        "choice",
        lambda chosen: bool(chosen.method.ranges),
        lambda method: {name: RANGE_WORDS[name] for name in ("", *method.ranges)},
    ),
    Field(
        "percentile",
        _T("MethodFields", "Percentile"),
        "range",
        "number",
        _ranged("percentile"),
        limits=(50.01, 100),
        decimals=2,
        step=0.1,
    ),
    Field(
        "range_low",
        _T("MethodFields", "From"),
        "range",
        "number",
        _ranged("given"),
        limits=(-1000, 0),
        decimals=4,
        step=0.1,
    ),
    Field(
        "range_high",
        _T("MethodFields", "To"),
        "range",
        "number",
        _ranged("given"),
        limits=(0, 1000),
        decimals=4,
        step=0.1,
    ),
    Field(
        "activations",
        _T("MethodFields", "Activations"),
        "activation_bits",
        "choice",
        lambda chosen: len(chosen.method.activations) > 1,
        lambda method: {name: ACTIVATION_WORDS[name] for name in method.activations},
    ),
    Field(
        "activation_range",
        _T("MethodFields", "Their range"),
        "range",
        "choice",
        lambda chosen: chosen.is_static,
        lambda method: {name: RANGE_WORDS[name] for name in ACTIVATION_RANGES},
    ),
    Field(
        "activation_percentile",
        _T("MethodFields", "Their percentile"),
        "range",
        "number",
        lambda chosen: chosen.is_static and chosen.activation_range == "percentile",
        limits=(50.01, 100),
        decimals=3,
        step=0.01,
    ),
    Field(
        "prestep",
        _T("MethodFields", "Before it"),
        "prestep",
        "choice",
        _option("prestep"),
        lambda method: {"": _T("MethodFields", "Nothing")} | {row.name: row.title for row in PRESTEPS},
    ),
    Field(
        "alpha",
        _T("MethodFields", "Moved to weights"),
        "alpha",
        "number",
        lambda chosen: chosen.is_smoothed,
        decimals=2,
        step=0.05,
    ),
    Field(
        "double_quant",
        _T("MethodFields", "Scales in 8 bits (double quantization)"),
        "double_quant",
        "switch",
        _option("double_quant"),
    ),
    Field(
        "act_order",
        _T("MethodFields", "Columns"),
        "act_order",
        "choice",
        _option("act_order"),
        lambda method: ORDER_WORDS,
    ),
    Field(
        "damp",
        _T("MethodFields", "Damping"),
        "damp",
        "number",
        _option("damp"),
        limits=(0.0001, 1),
        decimals=4,
        step=0.01,
    ),
    Field(
        "sinks",
        _T("MethodFields", "First position"),
        "sinks",
        "number",
        _option("sinks"),
        limits=(1, 1_000_000),
    ),
    Field(
        "target",
        _T("MethodFields", "Original's outputs"),
        "asymmetric_target",
        "number",
        _option("target"),
        decimals=2,
        step=0.1,
    ),
    Field(
        "passes",
        _T("MethodFields", "Passes of improvement"),
        "passes",
        "number",
        _option("passes"),
        limits=(0, 100),
    ),
    Field(
        "samples",
        _T("MethodFields", "Windows"),
        "calibration",
        "number",
        lambda chosen: chosen.is_calibrated,
        limits=(1, 100_000),
    ),
    Field(
        "length",
        _T("MethodFields", "Tokens of each"),
        "calibration",
        "number",
        lambda chosen: chosen.is_calibrated,
        limits=(16, 131_072),
        unset=_T("MethodFields", "Automatic"),
    ),
)


def recommended_method() -> str:
    """The name of the method that is recommended."""
    return next(method.name for method in METHOD.values() if method.recommended)


def words_of(words: str) -> str:
    """Words of this file in the user's language."""
    return QCoreApplication.translate("MethodFields", words)

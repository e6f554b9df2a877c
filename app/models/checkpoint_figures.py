"""Figures of a finished checkpoint as tables: errors of layers, ranges that integers cover, what meets the layers."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt

from app import text
from app.models.columns import Column, RowsModel
from app.models.modules import in_layer_order, order_text
from core.jobs import ActivationFigures, ClippingFigures, LayerFigures, QuantizeResult

_T = QT_TRANSLATE_NOOP


def known(value: float | None) -> str:
    """A number, or a dash where there is none."""
    return text.DASH if value is None else text.number(value)


def percent(share: float) -> str:
    """A share in percent with the digits that matter."""
    return f"{100 * share:.3g}"


def gain(figures: LayerFigures) -> float:
    """How much of rounding's error the method took away, as a share; below 0 where it added to it."""
    return 1 - figures.error / figures.rounded_error if figures.rounded_error else 0.0


def guard_words(is_guarded: bool) -> str:
    """Whether rounding was taken, in a word; '' where not."""
    return QCoreApplication.translate("LayersModel", "rounding taken") if is_guarded else ""


class FiguresModel(RowsModel):
    """One table of a CheckpointResult. FIELD: the field whose rows are shown."""

    FIELD = ""

    def set_result(self, result: QuantizeResult | None) -> None:
        """Shows the rows of this result in the order of the layers."""
        self.set_rows(in_layer_order(getattr(result, self.FIELD, ())))

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """Full names as tooltips."""
        return row.name if role == Qt.ItemDataRole.ToolTipRole and column.key == "name" else None


class LayersModel(FiguresModel):
    """What a calibrated method made of each matrix, beside plain rounding."""

    FIELD = "layers"
    CONTEXT = "LayersModel"
    COLUMNS = (
        Column("name", _T("LayersModel", "Matrix"), lambda r: r.name, term="tensor", order=order_text),
        Column("layer", _T("LayersModel", "Layer"), lambda r: r.layer, str, True),
        Column(
            "error", _T("LayersModel", "Output error, %"), lambda r: r.error, percent, numeric=True, term="output_error"
        ),
        Column(
            "rounded_error",
            _T("LayersModel", "Of rounding, %"),
            lambda r: r.rounded_error,
            percent,
            numeric=True,
            term="output_error",
        ),
        Column("gain", _T("LayersModel", "Less by, %"), gain, percent, numeric=True),
        Column("damp", _T("LayersModel", "Damping"), lambda r: r.damp, text.number, True, "damp"),
        Column("guarded", _T("LayersModel", "Guard"), lambda r: r.guarded, guard_words, term="guard"),
    )


class ClippingModel(FiguresModel):
    """Which range of its weights the integers of each matrix cover."""

    FIELD = "clipping"
    CONTEXT = "ClippingModel"
    COLUMNS = (
        Column("name", _T("ClippingModel", "Matrix"), lambda r: r.name, term="tensor", order=order_text),
        Column("layer", _T("ClippingModel", "Layer"), lambda r: r.layer, str, True),
        Column("low", _T("ClippingModel", "Range from"), lambda r: r.low, text.number, True, "range"),
        Column("high", _T("ClippingModel", "To"), lambda r: r.high, text.number, True, "range"),
        Column("clipped", _T("ClippingModel", "Clipped, %"), lambda r: r.clipped, percent, True, "clipped"),
        Column("covered", _T("ClippingModel", "Covered, %"), lambda r: r.covered, percent, True, "covered"),
        Column("weights_low", _T("ClippingModel", "Weights from"), lambda r: r.histogram.low, text.number, True),
        Column("weights_high", _T("ClippingModel", "To"), lambda r: r.histogram.high, text.number, True),
    )


def percentile_of(figures: ActivationFigures, wanted: float) -> float | None:
    """A percentile, None where it was not kept."""
    return next((number for at, number in figures.percentiles if at == wanted), None)


def outlier_count(figures: ActivationFigures) -> int:
    """How many columns have outliers."""
    return len(figures.outliers)


def largest_of(figures: ActivationFigures) -> float:
    """The largest magnitude of all columns."""
    return max((*figures.largest, abs(figures.low), abs(figures.high)))


class ActivationsModel(FiguresModel):
    """What meets each set of matrices on the calibration text."""

    FIELD = "activations"
    CONTEXT = "ActivationsModel"
    COLUMNS = (
        Column("name", _T("ActivationsModel", "Matrix"), lambda r: r.name, term="tensor", order=order_text),
        Column("layer", _T("ActivationsModel", "Layer"), lambda r: r.layer, str, True),
        Column(
            "outliers",
            _T("ActivationsModel", "Outlier columns"),
            outlier_count,
            str,
            numeric=True,
            term="outlier_column",
        ),
        Column("largest", _T("ActivationsModel", "Largest"), largest_of, text.number, True),
        Column("low", _T("ActivationsModel", "From"), lambda r: r.low, text.number, True),
        Column("high", _T("ActivationsModel", "To"), lambda r: r.high, text.number, True),
        Column("median", _T("ActivationsModel", "Median"), lambda r: percentile_of(r, 50.0), known, True),
        Column("p99", _T("ActivationsModel", "99 %"), lambda r: percentile_of(r, 99.0), known, True),
        Column("range_low", _T("ActivationsModel", "Range from"), lambda r: r.range_low, known, True, "range"),
        Column("range_high", _T("ActivationsModel", "To"), lambda r: r.range_high, known, True, "range"),
    )


def clipping_words(figures: ClippingFigures) -> str:
    """One line with a matrix's name and exact figures."""
    return QCoreApplication.translate(
        "ClippingModel", "{0}   covers {1} to {2} of {3} to {4}   {5} % clipped   reaches {6} % of the largest"
    ).format(
        figures.name,
        *map(text.number, (figures.low, figures.high, figures.histogram.low, figures.histogram.high)),
        percent(figures.clipped),
        percent(figures.covered),
    )


def layer_words(figures: LayerFigures) -> str:
    """One line with a matrix's name and exact figures."""
    words = QCoreApplication.translate("LayersModel", "{0}   output error {1} %   rounding {2} %   {3}")
    less = QCoreApplication.translate("LayersModel", "{0} % less").format(percent(gain(figures)))
    return words.format(
        figures.name, percent(figures.error), percent(figures.rounded_error), guard_words(figures.guarded) or less
    )


def activation_words(figures: ActivationFigures) -> str:
    """One line with a matrix's name and exact figures."""
    return QCoreApplication.translate(
        "ActivationsModel", "{0}   {1} to {2}   largest {3}   {4} columns reach {5}"
    ).format(
        figures.name,
        text.number(figures.low),
        text.number(figures.high),
        text.number(largest_of(figures)),
        outlier_count(figures),
        text.number(figures.threshold),
    )

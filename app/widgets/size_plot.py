"""Size against quality of the models of a comparison, with the Pareto front.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication
from PySide6.QtWidgets import QComboBox, QLabel, QWidget

from app import text
from app.models.comparisons import Comparison, Measured
from app.widgets.plot_export import CONTROL
from app.widgets.point_plot import Drawing, Point, PointPlot
from core.jobs import ModelEvaluation
from core.report.front import pareto

_T = QT_TRANSLATE_NOOP
translate = QCoreApplication.translate
# More names than this would cover each other.
LABELLED = 14
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that can be plotted, less being better. log: on a logarithmic axis."""

    key: str
    label: str
    axis: str
    value: Callable[[ModelEvaluation], float]
    error: Callable[[ModelEvaluation], float]
    log: bool = True


MEASURES: tuple[Measure, ...] = (
    Measure("mean_kld", _T("SizePlot", "Mean KLD"), _T("SizePlot", "Mean KLD, nats"), lambda m: m.mean_kld,
            lambda m: m.mean_kld_window_error),
    Measure("kld_99", _T("SizePlot", "99 % KLD"), _T("SizePlot", "99 % KLD, nats"), lambda m: m.kld_99, lambda m: 0.0),
    Measure("ppl", _T("SizePlot", "Perplexity"), _T("SizePlot", "Perplexity"), lambda m: m.ppl, lambda m: m.ppl_error,
            log=False),
    Measure("rms_dp", _T("SizePlot", "RMS Δp"), _T("SizePlot", "RMS Δp, %"), lambda m: m.rms_dp,
            lambda m: m.rms_dp_error),
    Measure("other_top", _T("SizePlot", "Other top token"), _T("SizePlot", "Other token likeliest, %"),
            lambda m: 100 - m.same_top_p, lambda m: m.same_top_p_error),
)  # fmt: skip


class SizePlot(PointPlot):
    """Shows a Comparison."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(theme, "size_plot", parent)
        self._comparison: Comparison | None = None
        self.choice = QComboBox()
        self.choice.setObjectName("comparison_measure")
        for row in MEASURES:
            self.choice.addItem(translate("SizePlot", row.label), row.key)
        self.choice.currentIndexChanged.connect(self._show)
        label = QLabel(translate("SizePlot", "M&easure"))
        label.setBuddy(self.choice)
        for control in (label, self.choice):
            control.setProperty(CONTROL, True)
            self.controls.addWidget(control)

    def set_comparison(self, comparison: Comparison) -> None:
        """Shows its models."""
        self._comparison = comparison
        self._show()

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the plot for CSV."""
        models = self._comparison.models if self._comparison else ()
        keys = [row.key for row in MEASURES]
        rows = [[m.name, m.evaluation.bytes, *(row.value(m.evaluation) for row in MEASURES)] for m in models]
        return ["model", "bytes", *keys], rows

    def _show(self) -> None:
        if self._comparison is None:
            return
        measure, models = MEASURES[self.choice.currentIndex()], self._comparison.models
        few = len(models) <= LABELLED
        points = tuple(_point(model, measure, few) for model in models)
        front = tuple(points[at].name for at in pareto([(point.x, point.y) for point in points]))
        title = translate("SizePlot", "{0} and size: models made from {1}").format(
            translate("SizePlot", measure.label), self._comparison.title
        )
        hint = translate(
            "SizePlot", "Dashed: the Pareto front. Bars: one standard error. Point at a model for figures."
        )
        size = translate("SizePlot", "Size of the files, MiB")
        self.draw(Drawing(title, size, translate("SizePlot", measure.axis), points, measure.log, front, hint))


def _point(model: Measured, measure: Measure, labelled: bool) -> Point:
    found = model.evaluation
    words = translate("SizePlot", "{0}   {1}   mean KLD {2} ± {3}   99 % {4}   perplexity {5}   same top {6} %").format(
        model.title,
        text.size(found.bytes),
        f"{found.mean_kld:.5f}",
        f"{found.mean_kld_window_error:.5f}",
        text.number(found.kld_99),
        f"{found.ppl:.3f}",
        f"{found.same_top_p:.2f}",
    )
    return Point(
        model.name,
        found.bytes / _MIB,
        measure.value(found),
        measure.error(found),
        label=model.short if labelled else "",
        words=words,
    )

"""What meets a matrix on the calibration text: how it is spread, and which of its columns have outliers.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QWidget

from app import text
from app.models.checkpoint_figures import ActivationsModel, activation_words
from app.widgets.columns_plot import ColumnsPlot
from app.widgets.figure_view import FigureView
from app.widgets.range_plot import Mark, RangePlot
from core.jobs import ActivationFigures

# Percentiles that are marked; the others are in the table.
MARKED = (0.1, 99.9)


class ActivationView(FigureView):
    """Shows the `activations` of a CheckpointResult, those that meet one matrix at a time."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(theme, "activation_view", ActivationsModel(), parent)
        self.spread = RangePlot(theme, self.tr("Value of the activation"), self.tr("Activations"))
        self.columns = ColumnsPlot(theme)
        for plot in (self.spread, self.columns):
            plot.pointed.connect(self.say)
            plot.menu_wanted.connect(self.open_menu)
        both = QWidget()
        line = QHBoxLayout(both)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(16)
        line.addWidget(self.spread, 1)
        line.addWidget(self.columns, 1)
        self.compose(both)

    def title_of(self, row: ActivationFigures) -> str:
        """What is shown of which matrix, and how many see the same."""
        if not row.shared:
            return self.tr("What meets {0}").format(row.name)
        return self.tr("What meets {0} and {1} more").format(row.name, len(row.shared))

    def words_of(self, row: ActivationFigures) -> str:
        """Extremes, and how many columns have outliers."""
        return activation_words(row)

    def row_of(self, name: str) -> Any:
        """The figures of a matrix, or of those that see the same."""
        return super().row_of(name) or next((row for row in self.model.rows if name in row.shared), None)

    def show_row(self, row: ActivationFigures) -> None:
        """The spread with percentiles, and the range of a static scale where there is one."""
        marks = [Mark(number, f"{at:g} %") for at, number in row.percentiles if at in MARKED]
        if row.range_low is not None and row.range_high is not None:
            ends = (row.range_low, row.range_high)
            marks = [Mark(end, text.number(end), is_range=True) for end in ends]
        self.spread.show_histogram(row.histogram, marks)
        self.columns.show_figures(row)

    def scatter_items(self) -> list[Any]:
        """The drawn items, for vector export."""
        return self.columns.scatter_items()

    def reset_view(self) -> None:
        """Shows all of both plots."""
        self.spread.reset_view()
        self.columns.reset_view()

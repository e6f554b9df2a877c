"""Which range of a matrix's weights its integers cover: the histogram of the weights with the chosen range.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QWidget

from app import text
from app.models.checkpoint_figures import ClippingModel, clipping_words
from app.widgets.figure_view import FigureView
from app.widgets.range_plot import Mark, RangePlot
from core.jobs import ClippingFigures


class ClippingView(FigureView):
    """Shows the `clipping` of a CheckpointResult, one matrix at a time."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(theme, "clipping_view", ClippingModel(), parent)
        self.plot = RangePlot(theme, self.tr("Value of the weight"), self.tr("Weights of a sample"))
        self.plot.pointed.connect(self.say)
        self.plot.menu_wanted.connect(self.open_menu)
        self.compose(self.plot)

    def title_of(self, row: ClippingFigures) -> str:
        """What is shown of which matrix."""
        return self.tr("Range covered of {0}").format(row.name)

    def words_of(self, row: ClippingFigures) -> str:
        """Range, share that is clipped, and how far it reaches."""
        return clipping_words(row)

    def show_row(self, row: ClippingFigures) -> None:
        """The histogram with the mean range of all groups."""
        marks = [Mark(row.low, text.number(row.low), True), Mark(row.high, text.number(row.high), True)]
        self.plot.show_histogram(row.histogram, marks)

    def reset_view(self) -> None:
        """Shows the whole histogram."""
        self.plot.reset_view()

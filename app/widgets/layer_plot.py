"""The output error of every matrix that a calibrated method solved, beside that of plain rounding.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, Signal
from PySide6.QtWidgets import QLabel, QWidget

from app.models.checkpoint_figures import LayersModel, layer_words, percent
from app.models.modules import in_layer_order, place
from app.models.names import model_title
from app.widgets.point_plot import Drawing, Point, PointPlot
from core.jobs import LayerFigures, QuantizeResult

translate = QCoreApplication.translate
# Series of points, each with its own symbol: what the method left, plain rounding, and where rounding was taken.
METHOD, ROUNDING, GUARDED = 0, 1, 5
ROUNDED_NAME = "{0}\n"
MOST_TICKS = 16


class LayerPlot(PointPlot):
    """Shows the `layers` of a CheckpointResult, or figures one after another while a job runs.

    A point for each matrix and one for plain rounding above it, joined by a line: as long as what the method gained.
    """

    tensor_selected = Signal(str)

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(theme, "layer_plot", parent)
        self._figures: tuple[LayerFigures, ...] = ()
        self._title_of = ""
        key = QLabel(translate("LayerPlot", "● method   ■ rounding   ⬟ rounding taken"))
        key.setProperty("role", "caption")
        self.layout().insertWidget(1, key)
        self.chosen.connect(self._tell)

    def set_result(self, result: QuantizeResult) -> LayerPlot:
        """Shows a result; returns itself."""
        return self.set_figures(getattr(result, "layers", ()), model_title(result.output))

    def set_figures(self, figures: Sequence[LayerFigures], of: str) -> LayerPlot:
        """Shows these in the order of the layers; of: the model's name. Returns itself."""
        self._figures, self._title_of = tuple(in_layer_order(figures)), of
        self.draw(self._drawn())
        self.plot.getPlotItem().getAxis("bottom").setTicks([self._layer_ticks()])
        return self

    def _layer_ticks(self) -> list[tuple[float, str]]:
        """A tick where a layer begins, of many layers at every n-th."""
        layers = sorted({place(each.name).layer or 0 for each in self._figures})
        every = next((n for n in (1, 2, 5, 10, 20) if len(layers) / n <= MOST_TICKS), 50)
        return [(float(layer), str(layer)) for layer in layers if layer % every == 0]

    def select(self, name: str) -> None:
        """Rings the point of a matrix; a name without a point removes the ring. Emits nothing."""
        super().select(name.strip())

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the plot for CSV."""
        model = LayersModel()
        model.set_rows(self._figures)
        return model.table()

    def _tell(self, name: str) -> None:
        """A point of rounding stands for its matrix."""
        self.select(name)
        self.tensor_selected.emit(name.strip())

    def _drawn(self) -> Drawing:
        members = Counter(place(each.name).layer or 0 for each in self._figures)
        seen: Counter[int] = Counter()
        points = []
        for each in self._figures:
            layer = place(each.name).layer or 0
            x = layer + seen[layer] / members[layer]
            seen[layer] += 1
            words = layer_words(each)
            points.append(
                Point(each.name, x, 100 * each.error, series=GUARDED if each.guarded else METHOD, words=words)
            )
            if not each.guarded:
                name = ROUNDED_NAME.format(each.name)
                points.append(Point(name, x, 100 * each.rounded_error, series=ROUNDING, words=words))
        return Drawing(
            title=translate("LayerPlot", "Output error by matrix: {0}").format(self._title_of),
            bottom=translate("LayerPlot", "Layer"),
            left=translate("LayerPlot", "Error, %"),
            points=tuple(points),
            hint=self._summary(),
        )

    def _summary(self) -> str:
        """What came of all of it, in words."""
        if not self._figures:
            return translate("LayerPlot", "Each matrix appears when it is solved.")
        error = float(np.mean([each.error for each in self._figures]))
        rounded = float(np.mean([each.rounded_error for each in self._figures]))
        guarded = sum(each.guarded for each in self._figures)
        words = translate("LayerPlot", "{0} matrices; {1} % error in the mean, {2} % by rounding").format(
            len(self._figures), percent(error), percent(rounded)
        )
        taken = translate("LayerPlot", "; rounding taken for {0}").format(guarded) if guarded else ""
        return f"{words}{taken}."

    def _bars(self) -> list[Any]:
        """A line from each matrix to what rounding would have left."""
        places = {point.name: xy for point, xy in zip(self._shown, self.places, strict=True)}
        pairs = [(xy, places.get(ROUNDED_NAME.format(name))) for name, xy in places.items()]
        ends = [end for own, other in pairs if other is not None for end in (own, other)]
        if not ends:
            return []
        x, y = np.array(ends).T
        return [pg.PlotDataItem(x, y, connect="pairs", pen=pg.mkPen(self._theme.color("muted"), width=1))]

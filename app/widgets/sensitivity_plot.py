"""How sensitive each piece of a model is, ranked or in the order of the layers, with standard errors.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QComboBox, QLabel, QWidget

from app import text
from app.models.modules import EMBEDDING, SERIES_LABELS, SERIES_REST, place
from app.models.modules import word as module_word
from app.models.names import model_title
from app.widgets.plot_export import CONTROL
from app.widgets.point_plot import SYMBOLS, Drawing, Point, PointPlot
from core.jobs import Piece, SensitivityResult

translate = QCoreApplication.translate
GLYPHS = dict(zip(SYMBOLS, "●■▼◆▲⬟★⬢", strict=True))
# Pieces of several tensors: which series they are drawn in, and the words for it.
PARTS = {"attn": 0, "ffn": 5}


class SensitivityPlot(PointPlot):
    """Shows a SensitivityResult."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(theme, "sensitivity_plot", parent)
        self._result: SensitivityResult | None = None
        self.order = QComboBox()
        self.order.setObjectName("sensitivity_order")
        self.order.addItem(translate("SensitivityPlot", "Ranked"))
        self.order.addItem(translate("SensitivityPlot", "By layer"))
        self.order.currentIndexChanged.connect(self._show)
        label = QLabel(translate("SensitivityPlot", "&Order"))
        label.setBuddy(self.order)
        for control in (label, self.order):
            control.setProperty(CONTROL, True)
            self.controls.addWidget(control)

    def set_result(self, result: SensitivityResult) -> None:
        """Shows its pieces."""
        self._result = result
        self._show()

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the plot for CSV."""
        pieces = self._result.pieces if self._result else ()
        rows = [[at, p.name, p.layer, p.mean_kld, p.mean_kld_error] for at, p in enumerate(pieces, start=1)]
        return ["rank", "piece", "layer", "mean_kld", "mean_kld_error"], rows

    def _show(self) -> None:
        if self._result is None:
            return
        ranked = self.order.currentIndex() == 0
        layers = 1 + max((piece.layer or 0 for piece in self._result.pieces), default=0)
        points = tuple(
            _point(piece, at, float(at) if ranked else _by_layer(piece, layers))
            for at, piece in enumerate(self._result.pieces, start=1)
        )
        title = translate("SensitivityPlot", "Divergence when one piece alone is {1}: {0}").format(
            model_title(self._result.source), self._result.target
        )
        bottom = translate("SensitivityPlot", "Rank") if ranked else translate("SensitivityPlot", "Layer")
        left = translate("SensitivityPlot", "Mean KLD, nats")
        self.draw(Drawing(title, bottom, left, points, hint=self._legend(points)))

    def _legend(self, points: tuple[Point, ...]) -> str:
        assert self._result is not None
        words = {series: module_word(label) for series, label in enumerate(SERIES_LABELS)}
        if self._result.by == "group":
            words |= {0: module_word("Attention"), 5: module_word("Feed-forward")}
        if self._result.by == "layer":
            words |= {0: translate("SensitivityPlot", "Layer")}
        present = sorted({point.series for point in points})
        return "   ".join(f"{GLYPHS[SYMBOLS[series]]} {words[series]}" for series in present)


def _by_layer(piece: Piece, layers: int) -> float:
    if piece.layer is not None:
        return float(piece.layer)
    return -1.0 if place(piece.name).module.group == EMBEDDING else float(layers)


def series_of(piece: Piece) -> int:
    """The plot series of a piece."""
    if piece.layer is None:
        return SERIES_REST
    if len(piece.name.split(".")) == 2:  # a layer
        return 0
    return PARTS.get(piece.name.rpartition(".")[2], place(piece.name).module.series)


def _point(piece: Piece, rank: int, x: float) -> Point:
    words = translate("SensitivityPlot", "{0}. {1}   mean KLD {2} ± {3}   99 % {4}   {5}").format(
        rank,
        piece.name,
        f"{piece.mean_kld:.6f}",
        f"{piece.mean_kld_error:.6f}",
        text.number(piece.kld_99),
        text.size(piece.bytes),
    )
    label = piece.name if rank == 1 else ""
    return Point(piece.name, x, piece.mean_kld, piece.mean_kld_error, series_of(piece), label, words)

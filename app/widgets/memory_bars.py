"""Sizes before and after as stacked horizontal bars on one scale, with the figures of each group under them."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QCoreApplication, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QContextMenuEvent, QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from app import text
from app.models.modules import ATTENTION, EMBEDDING, FEED_FORWARD, GROUPS, OTHER, OUTPUT
from app.models.modules import word as group_word
from app.models.sizes import GroupSize, group_sizes
from app.widgets.plot_export import export_menu
from app.widgets.stacked_bars import StackedBars
from core.jobs import Plan, QuantizeResult

# The Okabe-Ito colours that stay apart in a bar; each segment also carries its name where it is wide enough.
SERIES: dict[str, str] = {
    EMBEDDING: "series0",
    ATTENTION: "series1",
    FEED_FORWARD: "series2",
    OUTPUT: "series3",
    OTHER: "series7",
}
_BAR, _GAP, _LEGEND_GAP = 26, 8, 14


class SizeBars(StackedBars):
    """Two bars, before above after, on one scale; the legend below gives each group's bytes before and after.

    Usage: `SizeBars(theme).set_result(result)`; a tooltip over a segment gives its exact bytes.
    """

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(theme, "size_bars", parent)
        self._sizes: tuple[GroupSize, ...] = ()

    def set_result(self, model: Plan | QuantizeResult | None) -> SizeBars:
        """Shows the sizes of a plan or a result, or nothing; returns itself."""
        self._sizes = group_sizes(model) if model else ()
        self.setAccessibleName(self.tr("Size before and after"))
        self.setAccessibleDescription(self._spoken())
        self.update()
        return self

    @property
    def sizes(self) -> tuple[GroupSize, ...]:
        """What is shown."""
        return self._sizes

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the bars for CSV: bytes per group before and after."""
        return ["group", "bytes_before", "bytes_after"], [[s.group, s.before, s.after] for s in self._sizes]

    def sizeHint(self) -> QSize:
        """Two bars and two lines of legend."""
        legend = 2 * QFontMetrics(self.caption()).height()
        return QSize(640, 2 * _BAR + _GAP + _LEGEND_GAP + legend)

    def minimumSizeHint(self) -> QSize:
        """As high as the hint, and wide enough for the legend."""
        return QSize(360, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws bars and legend."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.draw(painter)

    def draw(self, painter: QPainter) -> None:
        """Draws on any painter, in this widget's coordinates."""
        self.forget_parts()
        if not self._sizes:
            return
        totals = (sum(s.before for s in self._sizes), sum(s.after for s in self._sizes))
        labels = (self.tr("Before"), self.tr("After"))
        metrics = QFontMetrics(self.font())
        left = max(metrics.horizontalAdvance(label) for label in labels) + 12
        figures = [text.size(total) for total in totals]
        right = max(metrics.horizontalAdvance(figure) for figure in figures) + 12
        scale = max(self.width() - left - right, 1) / max(*totals, 1)
        for row, side in enumerate(("before", "after")):
            y = row * (_BAR + _GAP)
            painter.setFont(self.font())
            painter.setPen(self._theme.color("text"))
            painter.drawText(QRect(0, y, left, _BAR), Qt.AlignmentFlag.AlignVCenter, labels[row])
            end = self._draw_bar(painter, QRectF(left, y, totals[row] * scale, _BAR), side)
            painter.setFont(self.font())
            painter.setPen(self._theme.color("text"))
            painter.drawText(QRect(round(end) + 8, y, right, _BAR), Qt.AlignmentFlag.AlignVCenter, figures[row])
        self._draw_legend(painter, QRect(0, 2 * _BAR + _GAP + _LEGEND_GAP, self.width(), 0))

    def _draw_bar(self, painter: QPainter, bar: QRectF, side: str) -> float:
        total = sum(getattr(s, side) for s in self._sizes)
        x = bar.left()
        for size in self._sizes:
            n_bytes = getattr(size, side)
            width = bar.width() * n_bytes / total if total else 0
            segment = QRectF(x, bar.top(), max(width - 1, 0.5), bar.height())
            label = self._label(size.group)
            self.draw_part(painter, segment, SERIES[size.group], label, f"{label}: {text.size(n_bytes)}")
            x += width
        return x

    def _draw_legend(self, painter: QPainter, area: QRect) -> None:
        font = self.caption()
        metrics = QFontMetrics(font)
        step = area.width() // len(self._sizes)
        painter.setFont(font)
        for column, size in enumerate(self._sizes):
            x, y = area.left() + column * step, area.top()
            painter.fillRect(QRectF(x, y + (metrics.height() - 10) / 2, 10, 10), self._theme.color(SERIES[size.group]))
            room = step - 24
            painter.setPen(self._theme.color("text"))
            label = metrics.elidedText(self._label(size.group), Qt.TextElideMode.ElideRight, room)
            painter.drawText(x + 16, y + metrics.ascent(), label)
            painter.setPen(self._theme.color("muted"))
            figures = metrics.elidedText(_from_to(size), Qt.TextElideMode.ElideRight, room)
            painter.drawText(x + 16, y + metrics.height() + metrics.ascent(), figures)

    def _label(self, group: str) -> str:
        return group_word(GROUPS[group])

    def _spoken(self) -> str:
        return "; ".join(f"{self._label(size.group)} {_from_to(size)}" for size in self._sizes)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Export as PNG, SVG, CSV."""
        export_menu(self, "size-before-and-after").popup(event.globalPos())


def _from_to(size: GroupSize) -> str:
    """'45.1 → 49.8 MiB', with both units where they differ."""
    before, after = text.size(size.before), text.size(size.after)
    if before.split()[1] == after.split()[1]:
        before = before.split()[0]
    return QCoreApplication.translate("SizeBars", "{0} → {1}").format(before, after)

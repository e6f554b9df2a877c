"""What bars of several parts have in common: names inside the parts that have room, and tooltips over all of them."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QHelpEvent, QPainter
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

_PAD = 6


def readable_on(fill: QColor) -> QColor:
    """Black or white, whichever contrasts more with `fill` (relative luminance of WCAG 2)."""

    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.03928 else ((channel + 0.055) / 1.055) ** 2.4

    luminance = 0.2126 * linear(fill.redF()) + 0.7152 * linear(fill.greenF()) + 0.0722 * linear(fill.blueF())
    return QColor("black") if luminance > 0.179 else QColor("white")


class StackedBars(QWidget):
    """A widget that draws parts with `draw_part`, after `forget_parts`; name: its objectName."""

    def __init__(self, theme: Any, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._parts: list[tuple[QRectF, str]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setObjectName(name)
        theme.follow(self, self.update)

    def forget_parts(self) -> None:
        """Drawing begins anew."""
        self._parts = []

    def draw_part(self, painter: QPainter, area: QRectF, color: str, label: str, tip: str) -> None:
        """A part in a colour of the theme, with its label where there is room; tip: said over it."""
        fill = self._theme.color(color)
        painter.fillRect(area, fill)
        self.draw_label(painter, area, label, readable_on(fill))
        self._parts.append((area, tip))

    def draw_label(self, painter: QPainter, area: QRectF, label: str, color: QColor) -> None:
        """Words in the middle of an area, where it is wide enough for them."""
        font = self.caption()
        if QFontMetrics(font).horizontalAdvance(label) + 2 * _PAD <= area.width():
            painter.setFont(font)
            painter.setPen(color)
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, label)

    def caption(self) -> QFont:
        """The font of labels and legends."""
        font = QFont(self.font())
        font.setPixelSize(11)
        return font

    def event(self, event: QEvent) -> bool:
        """Tooltips over the parts."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            hit = next((words for area, words in self._parts if area.contains(event.position())), "")
            QToolTip.showText(event.globalPos(), hit, self)
            return True
        return super().event(event)

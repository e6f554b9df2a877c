"""Draws a share as a thin bar with its percentage in a table cell."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from app.theme import Theme

BAR_HEIGHT = 6
WORDS_WIDTH = 48
PADDING = 8


class ProgressDelegate(QStyledItemDelegate):
    """The share comes from `role`; a cell without one is left to its text."""

    def __init__(self, theme: Theme, role: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._role = role

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draws the cell's background, the bar and the words."""
        share = index.data(self._role)
        if share is None:
            super().paint(painter, option, index)
            return
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(option.rect, self._theme.color("selection"))
        cell = QRectF(option.rect).adjusted(PADDING, 0, -PADDING, 0)
        bar = QRectF(cell.left(), cell.center().y() - BAR_HEIGHT / 2, cell.width() - WORDS_WIDTH, BAR_HEIGHT)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._theme.color("grid"))
        painter.drawRoundedRect(bar, BAR_HEIGHT / 2, BAR_HEIGHT / 2)
        if share > 0:
            bar.setWidth(max(bar.width() * share, BAR_HEIGHT))
            painter.setBrush(self._theme.color("accent" if share < 1 else "good"))
            painter.drawRoundedRect(bar, BAR_HEIGHT / 2, BAR_HEIGHT / 2)
        painter.setPen(self._theme.color("text"))
        painter.drawText(cell, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, str(index.data()))
        painter.restore()

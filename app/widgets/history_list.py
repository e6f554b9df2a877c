"""A list of entries with two lines each: a title and a quieter caption."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.models.results import CAPTION_ROLE

_HEIGHT, _PAD = 48, 12


class TwoLineDelegate(QStyledItemDelegate):
    """Paints DisplayRole over CAPTION_ROLE; the chosen entry has a bar at its left as well as a colour."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme

    def sizeHint(self, _option: QStyleOptionViewItem, _index: QModelIndex | QPersistentModelIndex) -> QSize:
        """All entries are of one height."""
        return QSize(160, _HEIGHT)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draws one entry."""
        area = QRect(option.rect)  # type: ignore[attr-defined]  # missing in the stubs
        state = option.state  # type: ignore[attr-defined]
        color = self._theme.color
        painter.save()
        if state & QStyle.StateFlag.State_Selected:
            painter.fillRect(area, color("selection"))
            painter.fillRect(QRect(area.left(), area.top(), 3, area.height()), color("accent"))
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(area, color("hover"))
        font = QFont(option.font)  # type: ignore[attr-defined]
        caption = QFont(font)
        caption.setPixelSize(11)
        inner = area.adjusted(_PAD, 7, -8, -7)
        self._line(painter, font, color("text"), inner, str(index.data()))
        lower = inner.adjusted(0, inner.height() // 2, 0, 0)
        self._line(painter, caption, color("muted"), lower, str(index.data(CAPTION_ROLE)))
        painter.restore()

    def _line(self, painter: QPainter, font: QFont, color: Any, area: QRect, words: str) -> None:
        metrics = QFontMetrics(font)
        line = QRect(area.left(), area.top(), area.width(), metrics.height())
        painter.setFont(font)
        painter.setPen(color)
        painter.drawText(
            line,
            Qt.AlignmentFlag.AlignVCenter,
            metrics.elidedText(words, Qt.TextElideMode.ElideMiddle, area.width()),
        )


class HistoryList(QListView):
    """A list view of two-line entries."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("history")
        self.setItemDelegate(TwoLineDelegate(theme, self))
        self.setMouseTracking(True)
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        theme.follow(self, self.viewport().update)

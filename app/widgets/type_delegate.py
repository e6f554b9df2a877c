"""Chooses a type in a table cell with a combo box that offers only what fits the tensor."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QPersistentModelIndex, QPoint, QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPolygon
from PySide6.QtWidgets import QComboBox, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.models.plan import AUTOMATIC, CHOICES_ROLE

Index = QModelIndex | QPersistentModelIndex
_ARROW = 18


class TypeDelegate(QStyledItemDelegate):
    """The editor of a cell that has types under CHOICES_ROLE; a small arrow tells that there is a choice."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme

    def createEditor(self, parent: QWidget, _option: QStyleOptionViewItem, index: Index) -> QWidget:
        """A combo box with 'Automatic' and the types that fit."""
        editor = QComboBox(parent)
        editor.setStyleSheet("QComboBox { padding: 0 4px; border-radius: 0; min-height: 16px; }")
        editor.view().setMinimumWidth(120)
        editor.addItem(self.tr("Automatic"), AUTOMATIC)
        for name in index.data(CHOICES_ROLE):
            editor.addItem(name, name)
        editor.activated.connect(lambda _row: self._finish(editor))
        return editor

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        """Begins with the choice in force and opens the list, so that one click chooses."""
        assert isinstance(editor, QComboBox)
        editor.setCurrentIndex(max(editor.findData(index.data(Qt.ItemDataRole.EditRole)), 0))
        editor.showPopup()

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        """Hands the choice to the model."""
        assert isinstance(editor, QComboBox)
        model.setData(index, editor.currentData(), Qt.ItemDataRole.EditRole)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        """Room for the type and the arrow."""
        return super().sizeHint(option, index) + QSize(_ARROW, 0)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """The cell, with an arrow at its right end where it can be edited."""
        if not index.flags() & Qt.ItemFlag.ItemIsEditable:
            super().paint(painter, option, index)
            return
        super().paint(painter, option, index)
        area = QRect(option.rect)  # type: ignore[attr-defined]  # missing in the stubs
        middle = QPoint(area.right() - _ARROW // 2, area.center().y())
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._theme.color("muted"))
        painter.drawPolygon(QPolygon([middle + QPoint(-4, -2), middle + QPoint(4, -2), middle + QPoint(0, 3)]))
        painter.restore()

    def _finish(self, editor: QComboBox) -> None:
        self.commitData.emit(editor)
        self.closeEditor.emit(editor)

"""A table with a filter box above it: sorting by click, rows of 26 px, names elided in the middle, copy as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QItemSelection, QModelIndex, Qt, Signal
from PySide6.QtGui import QAction, QFont, QFontDatabase, QGuiApplication, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from app import text
from app.models.columns import RowsFilter, RowsModel
from app.theme import Theme
from app.widgets.column_widths import Columns, ColumnWidths

ROW_HEIGHT = 26


def monospace() -> QFont:
    """The system's fixed-pitch font at body size, for names of tensors and keys."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setPixelSize(12)
    return font


class TableView(QTableView):
    """A read-only table of whole rows."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self._widths: ColumnWidths | None = None
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        header.setObjectName(f"{name}_header")
        header.setHighlightSections(False)
        header.setMinimumSectionSize(40)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy_selection)

    def set_columns(self, columns: Columns) -> None:
        """How the columns share the width; called once the model is set."""
        self._widths = ColumnWidths(self, columns)

    def fit(self) -> None:
        """Looks at the contents anew: figures are never cut."""
        if self._widths:
            self._widths.fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Shares the new width out."""
        super().resizeEvent(event)
        if self._widths:
            self._widths.share()

    def copy_selection(self) -> None:
        """Puts the selected rows on the clipboard, cells apart by tabs."""
        model = self.model()
        lines = [
            "\t".join(str(model.index(row.row(), column).data()) for column in range(model.columnCount()))
            for row in self.selectionModel().selectedRows()
        ]
        QGuiApplication.clipboard().setText("\n".join(lines))


class FilterTable(QWidget):
    """A RowsModel in a TableView below its filter box. `selected` carries the row's value, or None."""

    selected = Signal(object)
    activated = Signal(object)

    def __init__(self, theme: Theme, model: RowsModel, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.source = model
        self.rows = RowsFilter(model, self)
        self._rows_words = "{0}"
        self.filter_box = QLineEdit()
        self.filter_box.setClearButtonEnabled(True)
        self.filter_box.setObjectName(f"{name}_filter")
        find = QAction(self)
        theme.decorate(find, "search", "muted")
        self.filter_box.addAction(find, QLineEdit.ActionPosition.LeadingPosition)
        self.count = QLabel()
        self.count.setProperty("role", "caption")
        self.view = TableView(name)
        self.view.setModel(self.rows)
        self.view.setSortingEnabled(True)
        self.view.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.top = QHBoxLayout()
        self.top.setSpacing(8)
        self.top.addWidget(self.filter_box, 1)
        self.top.addWidget(self.count)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(self.top)
        layout.addWidget(self.view, 1)
        self._connect()

    def set_texts(self, texts: Mapping[str, str]) -> None:
        """The words around the table: `filter` (placeholder), `name` (of the table), `rows` ('{0} tensors')."""
        self._rows_words = texts.get("rows", "{0}")
        self.filter_box.setPlaceholderText(texts["filter"])
        self.filter_box.setAccessibleName(texts["filter"])
        self.view.setAccessibleName(texts["name"])
        self._count()

    def current(self) -> Any:
        """The value of the selected row, or None."""
        rows = self.view.selectionModel().selectedRows()
        return self.source.rows[self.rows.mapToSource(rows[0]).row()] if rows else None

    def select(self, name: str) -> bool:
        """Selects the row of that name and scrolls to it; False where it is not shown."""
        row = self.source.row_of(name)
        index = self.rows.mapFromSource(self.source.index(row, 0)) if row >= 0 else QModelIndex()
        if not index.isValid():
            return False
        self.view.selectRow(index.row())
        self.view.scrollTo(index)
        return True

    def _connect(self) -> None:
        self.filter_box.textChanged.connect(self.rows.set_filter)
        self.view.selectionModel().selectionChanged.connect(self._on_selection)
        self.view.doubleClicked.connect(lambda: self.activated.emit(self.current()))
        for signal in (self.rows.rowsInserted, self.rows.rowsRemoved, self.rows.modelReset, self.rows.layoutChanged):
            signal.connect(self._count)
        for signal in (self.rows.rowsInserted, self.rows.modelReset, self.rows.dataChanged):
            signal.connect(self.view.fit)
        self.view.horizontalHeader().sortIndicatorChanged.connect(self.view.fit)
        shortcut = QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self.filter_box.setFocus)
        self._count()

    def _on_selection(self, chosen: QItemSelection, _left: QItemSelection) -> None:
        self.selected.emit(self.current() if chosen.indexes() else None)

    def _count(self) -> None:
        shown, known = self.rows.rowCount(), self.source.rowCount()
        figure = text.exact(known) if shown == known else self.tr("{0} of {1}").format(shown, text.exact(known))
        self.count.setText(self._rows_words.format(figure))

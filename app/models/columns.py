"""Tables of frozen values for views: columns as rows of data, one model and one filter for all of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QCoreApplication,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)

from app.glossary import explanation

Index = QModelIndex | QPersistentModelIndex
SORT_ROLE = Qt.ItemDataRole.UserRole + 1
NAME_ROLE = Qt.ItemDataRole.UserRole + 2
LONGEST = 4
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)


@dataclass(frozen=True, slots=True)
class Column:
    """One column. value: what is exported, and sorted unless `order` gives another key; shown: its text.

    term: its glossary entry.
    """

    key: str
    title: str
    value: Callable[[Any], Any]
    shown: Callable[[Any], str] = str
    numeric: bool = False
    term: str = ""
    order: Callable[[Any], Any] | None = None


class RowsModel(QAbstractTableModel):
    """A read-only table over frozen values that have a `name`.

    Subclasses give COLUMNS and may override `decorate` for marks, fonts and tooltips.
    """

    COLUMNS: tuple[Column, ...] = ()
    CONTEXT = ""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: tuple[Any, ...] = ()
        self._row_of: dict[str, int] = {}

    def set_rows(self, rows: Sequence[Any]) -> None:
        """Shows these rows. Where only values change (same names, same order) selections and scrolling are kept."""
        new = tuple(rows)
        if [row.name for row in new] == [row.name for row in self.rows] and new:
            self.rows = new
            self.dataChanged.emit(self.index(0, 0), self.index(len(new) - 1, len(self.COLUMNS) - 1))
            return
        self.beginResetModel()
        self.rows = new
        self._row_of = {row.name: i for i, row in enumerate(new)}
        self.endResetModel()

    def row_of(self, name: str) -> int:
        """The row of this name, -1 where there is none."""
        return self._row_of.get(name, -1)

    def longest(self, section: int) -> list[int]:
        """The rows with the longest texts in this column: enough to know how wide it has to be."""
        column = self.COLUMNS[section]
        lengths = [len(column.shown(column.value(row))) for row in self.rows]
        return heapq.nlargest(LONGEST, range(len(lengths)), key=lengths.__getitem__)

    def column_of(self, key: str) -> int:
        """The number of the column of this key."""
        return next(i for i, column in enumerate(self.COLUMNS) if column.key == key)

    def title(self, section: int) -> str:
        """A column's title in the user's language."""
        return QCoreApplication.translate(self.CONTEXT, self.COLUMNS[section].title)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Keys and exact values of all rows, for CSV."""
        values = [[column.value(row) for column in self.COLUMNS] for row in self.rows]
        return [column.key for column in self.COLUMNS], values

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """Further roles of one cell (tooltip, font, icon); None where the view's own is right."""
        return None

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  # Qt's own default
        """Rows; a table has no children."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  # Qt's own default
        """Columns."""
        return 0 if parent.isValid() else len(self.COLUMNS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One cell in one role."""
        if not index.isValid():
            return None
        row, column = self.rows[index.row()], self.COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.shown(column.value(row))
        if role == SORT_ROLE:
            return column.order(row) if column.order else sort_key(column.value(row))
        if role == NAME_ROLE:
            return row.name
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT if column.numeric else _LEFT
        return self.decorate(row, column, role)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Column titles, aligned like their columns, with the glossary entry as tooltip."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.title(section)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT if self.COLUMNS[section].numeric else _LEFT
        if role == Qt.ItemDataRole.ToolTipRole and self.COLUMNS[section].term:
            return explanation(self.COLUMNS[section].term)
        return None


def sort_key(value: Any) -> Any:
    """A value Qt can compare: an unknown or infinite figure sorts above all numbers."""
    if value is None:
        return float("inf")
    if isinstance(value, tuple):
        product = 1
        for item in value:
            product *= item
        return float(product)
    return value


class RowsFilter(QSortFilterProxyModel):
    """Rows whose cells hold all words of the filter, sorted by exact values."""

    def __init__(self, source: RowsModel, parent: Any = None) -> None:
        super().__init__(parent)
        self._words: list[str] = []
        self.setSortRole(SORT_ROLE)
        self.setSourceModel(source)

    def set_filter(self, wanted: str) -> None:
        """Keeps the rows that have every word of `wanted` in some cell; upper and lower case are the same."""
        self._words = wanted.casefold().split()
        self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        """Whether every word of the filter is in some cell of this row."""
        if not self._words:
            return True
        model = self.sourceModel()
        cells = [str(model.data(model.index(source_row, column))) for column in range(model.columnCount(source_parent))]
        line = " ".join(cells).casefold()
        return all(word in line for word in self._words)

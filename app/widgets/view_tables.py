"""The tables below the views of a result: that of all tensors, and one of its own for a view that has other figures."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QStackedWidget, QWidget

from app.widgets.column_widths import Columns
from app.widgets.filter_table import FilterTable
from app.widgets.plan_table import NameDelegate
from app.widgets.result_views import View
from core.jobs import QuantizeResult

NAME_WIDTH, FIGURE_WIDTH = 220, 84
KEPT_COLUMNS = 4


class ViewTables(QStackedWidget):
    """Begins with the table of all tensors; others are made when their view is first shown.

    Signals: selected(str), the name of the row that was selected, '' for none.
    """

    selected = Signal(str)

    def __init__(self, theme: Any, tensors: FilterTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._tensors = tensors
        self._own: dict[str, FilterTable] = {}
        self._result: QuantizeResult | None = None
        self.addWidget(tensors)
        tensors.selected.connect(lambda row: self.selected.emit(row.name if row else ""))

    def set_result(self, result: QuantizeResult) -> None:
        """Shows another result in the tables made so far; that of all tensors is its owner's."""
        self._result = result
        for table in self._own.values():
            table.source.set_result(result)

    def show_view(self, view: View) -> None:
        """Brings the table of a view to the front."""
        table = self._tensors if view.model is None else self.table(view)
        self.setCurrentWidget(table)
        table.view.fit()

    def table(self, view: View) -> FilterTable:
        """A view's own table, made on first use."""
        assert view.model is not None
        if view.key not in self._own:
            self._own[view.key] = self._make(view)
        return self._own[view.key]

    def select(self, name: str) -> None:
        """Selects the row of this name in the table in front, taking away a filter that hides it."""
        table = self.currentWidget()
        assert isinstance(table, FilterTable)
        if not table.select(name):
            table.filter_box.clear()
            table.select(name)

    def _make(self, view: View) -> FilterTable:
        assert view.model is not None
        model = view.model()
        table = FilterTable(self._theme, model, f"{view.key}_table")
        model.setParent(table)
        table.set_texts({"filter": self.tr("Filter matrices"), "name": self.tr("Figures of each matrix")})
        table.view.setItemDelegateForColumn(0, NameDelegate(table.view))
        count = len(model.COLUMNS)
        # What the name tells too goes first, then what was thought least important: the last columns.
        spare = (1, *range(count - 1, KEPT_COLUMNS, -1))
        table.view.set_columns(Columns((NAME_WIDTH, *[FIGURE_WIDTH] * (count - 1)), spare=spare))
        table.selected.connect(lambda row: self.selected.emit(row.name if row else ""))
        model.set_result(self._result)
        self.addWidget(table)
        return table

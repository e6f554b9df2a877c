"""The per-tensor plan with its filter, the choice of a type per tensor, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QMenu,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from app.models.columns import NAME_ROLE
from app.models.plan import AUTOMATIC, PlanModel, reason_text, types_for
from app.widgets.column_widths import Columns
from app.widgets.elided_label import ElidedLabel
from app.widgets.filter_table import FilterTable, monospace
from app.widgets.type_delegate import TypeDelegate
from core.jobs import TensorPlan

_WIDTHS = (160, 64, 58, 86, 56, 80, 72, 130)


class PlanTable(FilterTable):
    """A FilterTable over a PlanModel (objectName of the view: plan_table).

    A type is chosen in the column `To` (double click, F2), or for all selected rows in the context menu.
    """

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        self.model = PlanModel(theme)
        super().__init__(theme, self.model, "plan_table", parent)
        self.model.setParent(self)
        self.set_texts({"filter": self.tr("Filter tensors, types, reasons"), "name": self.tr("Plan for each tensor")})
        self.reset = QPushButton(self.tr("Reset overrides"))
        self.reset.setObjectName("reset_overrides")
        self.reset.clicked.connect(self.model.reset_overrides)
        self.reset.hide()
        self.top.addWidget(self.reset)
        self.model.overrides_changed.connect(self._show_reset)
        self.detail = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.detail.setObjectName("plan_detail")
        self.detail.setProperty("role", "caption")
        self.layout().addWidget(self.detail)
        self._prepare_view(theme)
        self.selected.connect(self._explain)
        self.model.dataChanged.connect(lambda: self._explain(self.current()))
        self.model.modelReset.connect(lambda: self._explain(None))
        self._explain(None)

    def _prepare_view(self, theme: Any) -> None:
        view = self.view
        triggers = QAbstractItemView.EditTrigger
        view.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed | triggers.SelectedClicked)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setItemDelegateForColumn(self.model.column_of("to"), TypeDelegate(theme, view))
        view.setItemDelegateForColumn(0, NameDelegate(view))
        view.setItemDelegateForColumn(self.model.column_of("reason"), WordsDelegate(view))
        before, bits, reason, source, shape = map(
            self.model.column_of, ("source_bytes", "bpw", "reason", "from", "shape")
        )
        view.set_columns(Columns(_WIDTHS, rest=reason, spare=(before, bits, reason, source, shape)))
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._open_menu)

    def selected_names(self) -> list[str]:
        """Names of the selected tensors."""
        return [str(index.data(NAME_ROLE)) for index in self.view.selectionModel().selectedRows()]

    def menu(self) -> QMenu | None:
        """The types that fit all selected tensors; None where there is nothing to choose."""
        names = self.selected_names()
        offered = self.model.offered
        fitting = [set(types_for(self.model.rows[self.model.row_of(name)], offered)) for name in names]
        common = set.intersection(*fitting) if fitting else set()
        if not common:
            return None
        menu = QMenu(self)
        heading = menu.addAction(self.tr("Type of the selected tensors ({0})").format(len(names)))
        heading.setEnabled(False)
        menu.addAction(self.tr("Automatic")).triggered.connect(lambda: self.model.override(names, AUTOMATIC))
        for name in types_for(self.model.rows[self.model.row_of(names[0])], offered):
            if name in common:
                action = menu.addAction(name)
                action.triggered.connect(lambda _checked=False, name=name: self.model.override(names, name))
        return menu

    def offer(self, types: Sequence[str]) -> None:
        """Which types may be chosen for single tensors; none: they follow from other choices."""
        self.model.offered = types
        self._explain(self.current())

    def _explain(self, tensor: TensorPlan | None) -> None:
        """The reason in full, because the column is seldom wide enough."""
        hint = self.tr("Select a tensor to read its reason in full; double-click its type to choose another.")
        if not self.model.offered:
            hint = self.tr("Select a tensor to read its reason in full; rules give layers other settings.")
        self.detail.setText(f"{tensor.name}: {reason_text(tensor)}" if tensor else hint)

    def _open_menu(self, at: QPoint) -> None:
        menu = self.menu()
        if menu:
            menu.popup(self.view.viewport().mapToGlobal(at))

    def _show_reset(self) -> None:
        n = len(self.model.overrides)
        self.reset.setVisible(n > 0)
        self.reset.setText(self.tr("Reset overrides ({0})").format(n))


class WordsDelegate(QStyledItemDelegate):
    """Sentences: what is cut is their end."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        """Replaces where the text is cut, leaves the rest."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideRight  # type: ignore[attr-defined]  # missing in the stubs


class NameDelegate(QStyledItemDelegate):
    """Names in a fixed-pitch font."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        """Replaces the font, leaves the rest."""
        super().initStyleOption(option, index)
        option.font = monospace()  # type: ignore[attr-defined]  # missing in the stubs

"""The editor of rules by pattern: a small table, buttons for its rows, and what is wrong said below it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractItemModel, QCoreApplication, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.models.rules import PATTERN, TYPE, PatternRules, RulesModel
from app.widgets.filter_table import ROW_HEIGHT
from app.widgets.note_line import NoteLine
from app.widgets.plan_table import NameDelegate
from kernels.blocks import ROWS

translate = QCoreApplication.translate
Index = QModelIndex | QPersistentModelIndex


class RulesTable(QWidget):
    """Rules of a model, tried from the top; `model.changed` tells when they ask for something else.

    prefix: of the objectNames. For tests: objectNames `rules_table`,
    `add_rule`, `remove_rule`, `rule_up`, `rule_down`, `rule_problem`.
    """

    def __init__(self, theme: Any, model: PatternRules, hint_words: str, prefix: str = "") -> None:
        super().__init__()
        self._prefix = prefix
        self.model = model
        model.setParent(self)
        self.view = self._make_view()
        self._hint = hint = QLabel(hint_words)
        hint.setWordWrap(True)
        hint.setProperty("role", "caption")
        self.problem = NoteLine(theme, "error", "bad")
        self.problem.setObjectName(f"{prefix}rule_problem")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(hint)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.problem)
        layout.addLayout(self._make_buttons(theme))
        for signal in (self.model.dataChanged, self.model.modelReset):
            signal.connect(self._show_state)
        self.view.selectionModel().selectionChanged.connect(self._show_state)
        self._show_state()

    def _make_view(self) -> QTableView:
        view = QTableView()
        view.setObjectName(f"{self._prefix}rules_table")
        view.setAccessibleName(self.tr("Rules by pattern"))
        view.setModel(self.model)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setTabKeyNavigation(False)
        view.verticalHeader().hide()
        view.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        view.horizontalHeader().setHighlightSections(False)
        view.horizontalHeader().setSectionResizeMode(PATTERN, QHeaderView.ResizeMode.Stretch)
        view.setItemDelegateForColumn(PATTERN, NameDelegate(view))
        view.setColumnWidth(self.model.columnCount() - 1, 70)
        return view

    def _make_buttons(self, theme: Any) -> QHBoxLayout:
        self.add_button = QPushButton(self.tr("A&dd rule"))
        self.add_button.setObjectName(f"{self._prefix}add_rule")
        theme.decorate(self.add_button, "plus")
        self.add_button.clicked.connect(self._add)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.add_button)
        row.addStretch(1)
        self._tools: list[QToolButton] = []
        for name, icon, words, act in (
            ("rule_up", "up", self.tr("Try this rule earlier"), lambda: self._move(-1)),
            ("rule_down", "down", self.tr("Try this rule later"), lambda: self._move(1)),
            ("remove_rule", "remove", self.tr("Remove this rule"), self._remove),
        ):
            tool = QToolButton()
            tool.setObjectName(self._prefix + name)
            tool.setToolTip(words)
            tool.setAccessibleName(words)
            theme.decorate(tool, icon)
            tool.clicked.connect(act)
            self._tools.append(tool)
            row.addWidget(tool)
        return row

    def _row(self) -> int:
        rows = self.view.selectionModel().selectedRows()
        return rows[0].row() if rows else -1

    def _add(self) -> None:
        row = self.model.add()
        self.view.selectRow(row)
        self.view.edit(self.model.index(row, PATTERN))

    def _remove(self) -> None:
        row = self._row()
        self.model.remove(row)
        self.view.selectRow(min(row, self.model.rowCount() - 1))

    def _move(self, by: int) -> None:
        row = self._row()
        self.model.move(row, row + by)
        self.view.selectRow(min(max(row + by, 0), self.model.rowCount() - 1))

    def _show_state(self) -> None:
        row, last = self._row(), self.model.rowCount() - 1
        for tool, able in zip(self._tools, (row > 0, 0 <= row < last, row >= 0), strict=True):
            tool.setEnabled(able)
        self._hint.setVisible(last < 0)
        self.problem.say(self.model.problem)


class TypeRules(RulesTable):
    """Rules that give types to tensors."""

    model: RulesModel

    def __init__(self, theme: Any) -> None:
        words = translate(
            "RulesTable",
            "A type for every tensor whose name an expression finds, such as ffn_down or blk\\.(0|1)\\. "
            "The first rule that finds a tensor decides.",
        )
        super().__init__(theme, RulesModel(theme), words)
        self.view.setItemDelegateForColumn(TYPE, _TypeEditor(self.view))
        self.view.setColumnWidth(TYPE, 84)


class _TypeEditor(QStyledItemDelegate):
    """A combo box with every type that a tensor can have."""

    def createEditor(self, parent: QWidget, _option: QStyleOptionViewItem, _index: Index) -> QWidget:
        """A combo box without frame, as high as the row."""
        editor = QComboBox(parent)
        editor.setStyleSheet("QComboBox { padding: 0 4px; border-radius: 0; min-height: 16px; }")
        editor.view().setMinimumWidth(100)
        editor.addItems([row.name for row in ROWS])
        editor.activated.connect(lambda _row: self._finish(editor))
        return editor

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        """Begins with the type in force and opens the list, so that one click chooses."""
        assert isinstance(editor, QComboBox)
        editor.setCurrentText(index.data(Qt.ItemDataRole.EditRole))
        editor.showPopup()

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        """Hands the choice to the model."""
        assert isinstance(editor, QComboBox)
        model.setData(index, editor.currentText(), Qt.ItemDataRole.EditRole)

    def _finish(self, editor: QComboBox) -> None:
        self.commitData.emit(editor)
        self.closeEditor.emit(editor)

"""The editor of mixed precision: rules by pattern in a table, and a form for what the layers of one rule become."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QLabel, QVBoxLayout, QWidget

from app.models.method_fields import ACTIVATION_WORDS, words_of
from app.models.method_rules import MethodRulesModel, row_of
from app.widgets.rules_table import RulesTable
from core.jobs import MethodRule
from core.methods.table import GROUPS, INTEGERS, METHODS, group_word

KEEP = "keep"
SAME = object()


class MethodRules(QWidget):
    """Signals: changed() when the rules ask for something else.

    For tests: objectNames `rule_method`, `rule_bits`, `rule_group`, `rule_asymmetric`, `rule_activations`, and those of
    RulesTable.
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = MethodRulesModel(theme)
        hint = self.tr(
            "Other settings for layers whose name an expression finds, such as down_proj or layers\\.(0|1)\\. "
            "The first rule that finds a layer decides."
        )
        self.table = RulesTable(theme, self.model, hint, "method_")
        self.table.view.setColumnWidth(1, 110)
        self.table.view.setColumnWidth(2, 66)
        self.editors = self._make_editors()
        self._form = self._make_form()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.table, 1)
        layout.addWidget(self._form)
        self.model.changed.connect(self.changed)
        self.model.dataChanged.connect(self._show_rule)
        self.model.modelReset.connect(self._show_rule)
        self.table.view.selectionModel().selectionChanged.connect(self._show_rule)
        self._show_rule()

    def set_rules(self, rules: tuple[MethodRule, ...]) -> None:
        """Takes over rules; says that they changed."""
        self.model.set_rules([row_of(rule) for rule in rules])

    def _make_editors(self) -> dict[str, QComboBox]:
        same = self.tr("Same")
        offers: dict[str, list[tuple[str, Any]]] = {
            "method": [(same, ""), *((row.name, row.name) for row in METHODS), (self.tr("As they are"), KEEP)],
            "bits": [(same, 0), *((str(bits), bits) for bits in INTEGERS)],
            "group": [(same, SAME), *((group_word(group), group) for group in GROUPS)],
            "asymmetric": [(same, SAME), (self.tr("Symmetric"), False), (self.tr("With zero points"), True)],
            "activations": [(same, SAME), *((words_of(words), key) for key, words in ACTIVATION_WORDS.items())],
        }
        editors = {}
        for name, offered in offers.items():
            combo = QComboBox()
            combo.setObjectName(f"rule_{name}")
            combo.setMinimumContentsLength(5)
            combo.setStyleSheet("QComboBox { padding: 2px 0 2px 6px; }")
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            for words, value in offered:
                combo.addItem(words, value)
            combo.activated.connect(lambda _at, name=name: self._edit(name))
            editors[name] = combo
        return editors

    def _make_form(self) -> QWidget:
        form = QWidget()
        grid = QGridLayout(form)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(6)
        titles = {
            "method": self.tr("Method"),
            "bits": self.tr("Bits"),
            "group": self.tr("Group"),
            "asymmetric": self.tr("Integers"),
            "activations": self.tr("Activations"),
        }
        for name, words in titles.items():
            row, column = PLACES[name]
            label = QLabel(words)
            label.setBuddy(self.editors[name])
            grid.addWidget(label, row, column)
            grid.addWidget(self.editors[name], row, column + 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        return form

    def _row(self) -> int:
        rows = self.table.view.selectionModel().selectedRows()
        return rows[0].row() if rows else -1

    def _edit(self, name: str) -> None:
        """What the user chose for the selected rule; a rule that keeps its layers says nothing else."""
        value = self.editors[name].currentData()
        if name == "method":
            changes = {"keep": True, "method": ""} if value == KEEP else {"keep": False, "method": value}
        else:
            changes = {"keep": False, name: None if value is SAME else value}
        self.model.change(self._row(), changes)

    def _show_rule(self) -> None:
        row = self._row()
        self._form.setVisible(row >= 0)
        if row < 0:
            return
        rule = self.model.rules[row].rule
        for name, combo in self.editors.items():
            value = KEEP if name == "method" and rule.keep else getattr(rule, name)
            with QSignalBlocker(combo):
                combo.setCurrentIndex(max(_index(combo, value), 0))
            combo.setEnabled(name == "method" or not rule.keep)


# Row and column of each editor's label.
PLACES = {"method": (0, 0), "bits": (0, 2), "group": (1, 0), "asymmetric": (1, 2), "activations": (2, 0)}


def _index(combo: QComboBox, value: Any) -> int:
    """The entry of exactly this value: False is not 0 here."""
    wanted = SAME if value is None else value
    found = (
        at for at in range(combo.count()) if type(combo.itemData(at)) is type(wanted) and combo.itemData(at) == wanted
    )
    return next(found, -1)

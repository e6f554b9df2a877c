"""Rules by pattern as a table: an expression, the type for what it finds, and how many tensors that decides."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QAbstractTableModel, QCoreApplication, QModelIndex, Qt, Signal
from PySide6.QtGui import QIcon

from app import text
from app.models.columns import Index
from core.jobs import Override, Plan
from kernels.blocks import FORMATS

PATTERN, TYPE, COUNT = range(3)
TITLES = (
    QT_TRANSLATE_NOOP("RulesModel", "Expression"),
    QT_TRANSLATE_NOOP("RulesModel", "Type"),
    QT_TRANSLATE_NOOP("RulesModel", "Tensors"),
)
FIRST_TYPE = "Q6_K"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row; problem: why its expression is none, '' where it is one or is still empty."""

    pattern: str
    type: str
    problem: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether it can be planned with."""
        return bool(self.pattern) and not self.problem


def checked(pattern: str, type_name: str) -> Rule:
    """A rule with what is wrong with its expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        return Rule(pattern, type_name, str(error))
    return Rule(pattern, type_name)


class RulesModel(QAbstractTableModel):
    """Rules in the order in which they are tried. Signals: changed() when what they ask for is another."""

    changed = Signal()

    def __init__(self, theme: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._counts: Counter[str] | None = None
        self._warning = QIcon()
        self.rules: tuple[Rule, ...] = ()
        theme.follow(self, self._draw)
        self._draw()

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The rules that can be planned with."""
        return tuple(Override(tensor=rule.pattern, type=rule.type) for rule in self.rules if rule.is_usable)

    @property
    def problem(self) -> str:
        """The first faulty expression and what is wrong with it, in words; '' where none is."""
        faulty = next((rule for rule in self.rules if rule.problem), None)
        return self.tr("{0} is no regular expression: {1}.").format(faulty.pattern, faulty.problem) if faulty else ""

    def set_overrides(self, overrides: tuple[Override, ...]) -> None:
        """Takes over the rules of a recipe; says that they changed."""
        self._set([checked(override.tensor, override.type) for override in overrides])

    def add(self) -> int:
        """Appends an empty rule, to be filled in; returns its row."""
        self._set([*self.rules, Rule("", FIRST_TYPE)])
        return len(self.rules) - 1

    def remove(self, row: int) -> None:
        """Takes a rule away."""
        self._set([rule for at, rule in enumerate(self.rules) if at != row])

    def move(self, row: int, to: int) -> None:
        """Gives a rule another place; none where there is no such place."""
        if 0 <= to < len(self.rules):
            rules = list(self.rules)
            rules.insert(to, rules.pop(row))
            self._set(rules)

    def count(self, plan: Plan | None) -> None:
        """Learns from a plan how many tensors each rule decides."""
        self._counts = Counter(tensor.rule for tensor in plan.tensors) if plan else None
        if self.rules:
            self.dataChanged.emit(self.index(0, COUNT), self.index(len(self.rules) - 1, COUNT))

    def _set(self, rules: list[Rule]) -> None:
        before = self.overrides
        self.beginResetModel()
        self.rules = tuple(rules)
        self.endResetModel()
        self._announce(before)

    def _announce(self, before: tuple[Override, ...]) -> None:
        if self.overrides != before:
            self.changed.emit()

    def _draw(self) -> None:
        self._warning = self._theme.icon("warning", "bad")

    # ------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  # Qt's own default
        """Rules."""
        return 0 if parent.isValid() else len(self.rules)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  # Qt's own default
        """Expression, type, tensors."""
        return 0 if parent.isValid() else len(TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Column titles, that of the figure at the right."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return QCoreApplication.translate("RulesModel", TITLES[section])
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Expression and type can be edited."""
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.isValid() and index.column() != COUNT else flags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One cell in one role."""
        if not index.isValid():
            return None
        rule, column = self.rules[index.row()], index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return (rule.pattern, rule.type, self._count_words(rule))[column]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DecorationRole and column == PATTERN and rule.problem:
            return self._warning
        if role == Qt.ItemDataRole.ToolTipRole:
            return rule.problem or (rule.pattern if column == PATTERN else self._count_tip(column))
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Takes over an expression, whatever it is, or a known type."""
        if role != Qt.ItemDataRole.EditRole or not index.isValid():
            return False
        rule, before = self.rules[index.row()], self.overrides
        if index.column() == PATTERN:
            new = checked(str(value).strip(), rule.type)
        elif value in FORMATS:
            new = replace(rule, type=value)
        else:
            return False
        self.rules = (*self.rules[: index.row()], new, *self.rules[index.row() + 1 :])
        self.dataChanged.emit(self.index(index.row(), 0), self.index(index.row(), COUNT))
        self._announce(before)
        return True

    def _count_words(self, rule: Rule) -> str:
        if self._counts is None or not rule.is_usable:
            return text.DASH
        return str(self._counts[rule.pattern])

    def _count_tip(self, column: int) -> str | None:
        return (
            self.tr("Tensors whose type this rule decides: those of rules above are not counted again.")
            if (column == COUNT)
            else None
        )


def _alignment(column: int) -> int:
    side = Qt.AlignmentFlag.AlignRight if column == COUNT else Qt.AlignmentFlag.AlignLeft
    return int(side | Qt.AlignmentFlag.AlignVCenter)

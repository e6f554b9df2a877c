"""Rules by pattern as a table: an expression, what is done with what it finds, and how many tensors that decides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from PySide6.QtCore import QT_TRANSLATE_NOOP, QAbstractTableModel, QCoreApplication, QModelIndex, Qt, Signal
from PySide6.QtGui import QIcon

from app import text
from app.models.columns import Index
from core.jobs import Override, Plan
from kernels.blocks import FORMATS

PATTERN, TYPE, COUNT = range(3)
FIRST_TYPE = "Q6_K"


class PatternRule(Protocol):
    """One row."""

    @property
    def pattern(self) -> str:
        """Its expression."""

    @property
    def problem(self) -> str:
        """Why its expression is none, '' where it is one or is still empty."""


def expression_problem(pattern: str) -> str:
    """Why a pattern is no regular expression, '' where it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


def is_usable(rule: PatternRule) -> bool:
    """Whether it can be planned with."""
    return bool(rule.pattern) and not rule.problem


@dataclass(frozen=True, slots=True)
class Rule:
    """One row; problem: why its expression is none, '' where it is one or is still empty."""

    pattern: str
    type: str
    problem: str = ""


def checked(pattern: str, type_name: str) -> Rule:
    """A rule with what is wrong with its expression."""
    return Rule(pattern, type_name, expression_problem(pattern))


class PatternRules(QAbstractTableModel):
    """Rules in the order in which they are tried: the first column is their expression, the last how many they decide.

    Subclasses give TITLES (translated in CONTEXT), EDITABLE columns and the methods below `one rule`. Signals:
    changed() when what they ask for is another.
    """

    CONTEXT = ""
    TITLES: tuple[str, ...] = ()
    EDITABLE: tuple[int, ...] = (PATTERN,)
    changed = Signal()

    def __init__(self, theme: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._counts: Counter[str] | None = None
        self._warning = QIcon()
        self.rules: tuple[Any, ...] = ()
        theme.follow(self, self._draw)
        self._draw()

    # ------------------------------------------------------------ one rule

    def blank(self) -> Any:
        """A rule to be filled in."""
        raise NotImplementedError

    def shown(self, rule: Any, column: int) -> str:
        """A cell between the expression and the count."""
        raise NotImplementedError

    def edited(self, rule: Any, column: int, value: Any) -> Any | None:
        """The rule with another value in a column; None where that is none."""
        raise NotImplementedError

    # ------------------------------------------------------------ all of them

    @property
    def usable(self) -> tuple[Any, ...]:
        """The rules that can be planned with."""
        return tuple(rule for rule in self.rules if is_usable(rule))

    @property
    def problem(self) -> str:
        """The first faulty expression and what is wrong with it, in words; '' where none is."""
        faulty = next((rule for rule in self.rules if rule.problem), None)
        words = QCoreApplication.translate("PatternRules", "{0} is no regular expression: {1}.")
        return words.format(faulty.pattern, faulty.problem) if faulty else ""

    def set_rules(self, rules: Sequence[Any]) -> None:
        """Takes over rules; says that they changed."""
        before = self.usable
        self.beginResetModel()
        self.rules = tuple(rules)
        self.endResetModel()
        self._announce(before)

    def put(self, row: int, rule: Any) -> None:
        """Replaces one rule."""
        before = self.usable
        self.rules = (*self.rules[:row], rule, *self.rules[row + 1 :])
        self.dataChanged.emit(self.index(row, 0), self.index(row, self.columnCount() - 1))
        self._announce(before)

    def add(self) -> int:
        """Appends an empty rule, to be filled in; returns its row."""
        self.set_rules([*self.rules, self.blank()])
        return len(self.rules) - 1

    def remove(self, row: int) -> None:
        """Takes a rule away."""
        self.set_rules([rule for at, rule in enumerate(self.rules) if at != row])

    def move(self, row: int, to: int) -> None:
        """Gives a rule another place; none where there is no such place."""
        if 0 <= to < len(self.rules):
            rules = list(self.rules)
            rules.insert(to, rules.pop(row))
            self.set_rules(rules)

    def count(self, plan: Plan | None) -> None:
        """Learns from a plan how many tensors each rule decides."""
        self._counts = Counter(tensor.rule for tensor in plan.tensors) if plan else None
        if self.rules:
            last = self.columnCount() - 1
            self.dataChanged.emit(self.index(0, last), self.index(len(self.rules) - 1, last))

    def _announce(self, before: tuple[Any, ...]) -> None:
        if self.usable != before:
            self.changed.emit()

    def _draw(self) -> None:
        self._warning = self._theme.icon("warning", "bad")

    # ------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  # Qt's own default
        """Rules."""
        return 0 if parent.isValid() else len(self.rules)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  # Qt's own default
        """The titles."""
        return 0 if parent.isValid() else len(self.TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Column titles, that of the figure at the right."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return QCoreApplication.translate(self.CONTEXT, self.TITLES[section])
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignment(section)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Some columns can be edited."""
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.isValid() and index.column() in self.EDITABLE else flags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One cell in one role."""
        if not index.isValid():
            return None
        rule, column = self.rules[index.row()], index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return self._cell(rule, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._alignment(column)
        if role == Qt.ItemDataRole.DecorationRole and column == PATTERN and rule.problem:
            return self._warning
        if role == Qt.ItemDataRole.ToolTipRole:
            return rule.problem or self._tip(rule, column)
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Takes over what is a value for that column; an expression may be faulty."""
        if role != Qt.ItemDataRole.EditRole or not index.isValid():
            return False
        new = self.edited(self.rules[index.row()], index.column(), value)
        if new is None:
            return False
        self.put(index.row(), new)
        return True

    def _is_count(self, column: int) -> bool:
        return column == len(self.TITLES) - 1

    def _cell(self, rule: Any, column: int) -> str:
        if column == PATTERN:
            return str(rule.pattern)
        if not self._is_count(column):
            return self.shown(rule, column)
        return text.DASH if self._counts is None or not is_usable(rule) else str(self._counts[rule.pattern])

    def _tip(self, rule: Any, column: int) -> str | None:
        if not self._is_count(column):
            return self._cell(rule, column)
        words = "Tensors that this rule decides about: those of rules above are not counted again."
        return QCoreApplication.translate("PatternRules", words)

    def _alignment(self, column: int) -> int:
        side = Qt.AlignmentFlag.AlignRight if self._is_count(column) else Qt.AlignmentFlag.AlignLeft
        return int(side | Qt.AlignmentFlag.AlignVCenter)


class RulesModel(PatternRules):
    """Rules that give a type to the tensors they find."""

    CONTEXT = "RulesModel"
    TITLES = (
        QT_TRANSLATE_NOOP("RulesModel", "Expression"),
        QT_TRANSLATE_NOOP("RulesModel", "Type"),
        QT_TRANSLATE_NOOP("RulesModel", "Tensors"),
    )
    EDITABLE = (PATTERN, TYPE)

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The rules that can be planned with."""
        return tuple(Override(tensor=rule.pattern, type=rule.type) for rule in self.usable)

    def set_overrides(self, overrides: tuple[Override, ...]) -> None:
        """Takes over the rules of a recipe; says that they changed."""
        self.set_rules([checked(override.tensor, override.type) for override in overrides])

    def blank(self) -> Rule:
        """An empty rule of a common type."""
        return Rule("", FIRST_TYPE)

    def shown(self, rule: Rule, column: int) -> str:
        """The type."""
        return rule.type

    def edited(self, rule: Rule, column: int, value: Any) -> Rule | None:
        """Another expression, whatever it is, or a known type."""
        if column == PATTERN:
            return checked(str(value).strip(), rule.type)
        return replace(rule, type=value) if value in FORMATS else None

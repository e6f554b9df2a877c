"""Rules by pattern for checkpoints as a table: an expression, what its layers become, and how many layers that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

from app.models.method_fields import ACTIVATION_WORDS, words_of
from app.models.rules import PATTERN, PatternRules, expression_problem
from core.jobs import MethodRule
from core.methods.table import group_word


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One row; problem: why its expression is none."""

    rule: MethodRule
    problem: str = ""

    @property
    def pattern(self) -> str:
        """Its expression."""
        return self.rule.pattern


def row_of(rule: MethodRule) -> RuleRow:
    """A rule with what is wrong with its expression."""
    return RuleRow(rule, expression_problem(rule.pattern))


def becomes(rule: MethodRule) -> str:
    """What the layers of a rule become, in a few words: '8 bits, group 32', 'as they are'."""
    if rule.keep:
        return _tr("as they are")
    words = [rule.method] if rule.method else []
    words += [_tr("{0} bits").format(rule.bits)] if rule.bits else []
    words += [group_words(rule.group)] if rule.group is not None else []
    if rule.asymmetric is not None:
        words += [_tr("zero points") if rule.asymmetric else _tr("symmetric")]
    if rule.activations is not None:
        words += [_tr("activations {0}").format(words_of(ACTIVATION_WORDS[rule.activations]))]
    return ", ".join(words) or _tr("the same")


def group_words(group: int) -> str:
    """A group in words: 'per channel', 'group 32'."""
    return _tr("group {0}").format(group) if group > 0 else group_title(group)


def group_title(group: int) -> str:
    """A group as the entry of a list of groups: 'per channel', '32'."""
    return str(group) if group > 0 else _tr("per {0}").format(_tr(group_word(group)))


class MethodRulesModel(PatternRules):
    """Rules of MethodOptions; what a layer becomes is edited beside the table, by `change`."""

    CONTEXT = "MethodRules"
    TITLES = (
        QT_TRANSLATE_NOOP("MethodRules", "Expression"),
        QT_TRANSLATE_NOOP("MethodRules", "Becomes"),
        QT_TRANSLATE_NOOP("MethodRules", "Layers"),
    )

    @property
    def asked(self) -> tuple[MethodRule, ...]:
        """The rules that can be planned with."""
        return tuple(row.rule for row in self.usable)

    def change(self, row: int, changes: dict[str, Any]) -> None:
        """Gives some fields of a rule other values."""
        self.put(row, replace(self.rules[row], rule=self.rules[row].rule.model_copy(update=changes)))

    def blank(self) -> RuleRow:
        """A rule that leaves layers as they are: what every form can hold."""
        return RuleRow(MethodRule(pattern="", keep=True))

    def shown(self, rule: RuleRow, column: int) -> str:
        """What its layers become."""
        return becomes(rule.rule)

    def edited(self, rule: RuleRow, column: int, value: Any) -> RuleRow | None:
        """Another expression, whatever it is."""
        return row_of(rule.rule.model_copy(update={"pattern": str(value).strip()})) if column == PATTERN else None


def _tr(words: str) -> str:
    return QCoreApplication.translate("MethodRules", words)

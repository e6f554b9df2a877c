"""The per-tensor plan as a table: what is planned, why, and which types the user may choose instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt, Signal
from PySide6.QtGui import QFont, QIcon, QPixmap

from app import text
from app.models.columns import Column, Index, RowsModel
from app.models.modules import in_layer_order, order_text
from core.jobs import Override, Plan, TensorPlan
from kernels.blocks import FORMATS, ROWS

AUTOMATIC = ""
CHOICES_ROLE = Qt.ItemDataRole.UserRole + 5


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it: (49152, 576) -> '49152 × 576'."""
    return " × ".join(str(n) for n in shape)


def mib(n_bytes: int) -> str:
    """Bytes as MiB with two decimals, without the unit; small tensors are '< 0.01'."""
    value = n_bytes / 2**20
    return f"{value:.2f}" if value >= 0.005 or n_bytes == 0 else "< 0.01"


ALL_TYPES = tuple(row.name for row in ROWS)


def types_for(tensor: TensorPlan, offered: Sequence[str] = ALL_TYPES) -> tuple[str, ...]:
    """The types a user may choose for this tensor: those offered whose block divides its row length.

    Vectors (norms, biases) have no choice: inference programs expect them unquantized.
    """
    if len(tensor.shape) < 2:
        return ()
    return tuple(name for name in offered if FORMATS[name].divides(tensor.shape[-1]))


def reason_text(tensor: TensorPlan) -> str:
    """The reason with its mark as a word in front, so that colour is never the only carrier."""
    if tensor.overridden and not tensor.rule:
        return QCoreApplication.translate("PlanModel", "Chosen by you")
    if tensor.rule and not tensor.fallback:
        return QCoreApplication.translate("PlanModel", "Your rule {0}").format(tensor.rule)
    fallback = QCoreApplication.translate("PlanModel", "Fallback: {0}")
    return fallback.format(tensor.reason) if tensor.fallback else tensor.reason


class PlanModel(RowsModel):
    """Rows of a Plan; the column `to` can be edited, which records an override and asks for a new plan.

    Signals: overrides_changed().
    """

    overrides_changed = Signal()
    CONTEXT = "PlanModel"
    COLUMNS = (
        Column("tensor", QT_TRANSLATE_NOOP("PlanModel", "Tensor"), lambda t: t.name, term="tensor", order=order_text),
        Column("shape", QT_TRANSLATE_NOOP("PlanModel", "Shape"), lambda t: t.shape, shape_text, True, "shape"),
        Column("from", QT_TRANSLATE_NOOP("PlanModel", "From"), lambda t: t.source_type, term="type"),
        Column("to", QT_TRANSLATE_NOOP("PlanModel", "To"), lambda t: t.target_type, term="type"),
        Column("bpw", QT_TRANSLATE_NOOP("PlanModel", "Bits"), lambda t: t.bpw, text.bits, True, "bpw"),
        Column(
            "source_bytes",
            QT_TRANSLATE_NOOP("PlanModel", "Before, MiB"),
            lambda t: t.source_bytes,
            mib,
            True,
        ),
        Column("bytes", QT_TRANSLATE_NOOP("PlanModel", "After, MiB"), lambda t: t.bytes, mib, True),
        Column("reason", QT_TRANSLATE_NOOP("PlanModel", "Reason"), reason_text, term="fallback"),
    )

    def __init__(self, theme: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._icons: dict[str, QIcon] = {}
        theme.follow(self, self._draw_icons)
        self._draw_icons()
        self._overrides: dict[str, str] = {}
        # What a user may choose from; nothing where the tensors' types follow from other choices alone.
        self.offered: Sequence[str] = ALL_TYPES
        self._bold = QFont()
        self._bold.setBold(True)

    def set_plan(self, plan: Plan | None) -> None:
        """Shows this plan, or nothing."""
        self.set_rows(in_layer_order(plan.tensors) if plan else ())

    @property
    def overrides(self) -> tuple[Override, ...]:
        """The user's choices, in the order they were made."""
        return tuple(Override(tensor=name, type=chosen) for name, chosen in self._overrides.items())

    def override(self, names: list[str], chosen: str) -> None:
        """Sets one type for these tensors; AUTOMATIC gives the choice back to the plan."""
        before = dict(self._overrides)
        for name in names:
            if chosen == AUTOMATIC:
                self._overrides.pop(name, None)
            else:
                self._overrides[name] = chosen
        if self._overrides != before:
            self.overrides_changed.emit()

    def reset_overrides(self) -> None:
        """Gives all choices back to the plan."""
        self.override(list(self._overrides), AUTOMATIC)

    def forget(self) -> None:
        """Drops plan and choices silently: another model was chosen."""
        self._overrides.clear()
        self.set_rows(())

    def choices(self, index: Index) -> tuple[str, ...]:
        """Types that may be chosen in this row."""
        return types_for(self.rows[index.row()], self.offered)

    def flags(self, index: Index) -> Qt.ItemFlag:
        """The column `to` can be edited where there is a choice."""
        flags = super().flags(index)
        editable = index.isValid() and self.COLUMNS[index.column()].key == "to" and self.choices(index)
        return flags | Qt.ItemFlag.ItemIsEditable if editable else flags

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Records an override. Refuses a type whose blocks do not divide the row length."""
        if role != Qt.ItemDataRole.EditRole or (value != AUTOMATIC and value not in self.choices(index)):
            return False
        self.override([self.rows[index.row()].name], value)
        return True

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One cell; the edit role of `to` is the override or AUTOMATIC, CHOICES_ROLE the types that may be chosen."""
        if role == CHOICES_ROLE and index.isValid():
            return self.choices(index)
        if role == Qt.ItemDataRole.EditRole and index.isValid():
            return self._overrides.get(self.rows[index.row()].name, AUTOMATIC)
        return super().data(index, role)

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """Marks of fallen back and overridden rows, full texts as tooltips."""
        if role == Qt.ItemDataRole.DecorationRole and column.key == "to":
            return self._icons["edit" if row.overridden else "warning" if row.fallback else "none"]
        if role == Qt.ItemDataRole.FontRole and row.overridden and column.key in ("to", "reason"):
            return self._bold
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tooltip(row, column)
        return None

    def _draw_icons(self) -> None:
        blank = QPixmap(16, 16)
        blank.fill(Qt.GlobalColor.transparent)
        icon = self._theme.icon
        self._icons = {"edit": icon("edit", "accent"), "warning": icon("warning", "warn"), "none": QIcon(blank)}

    def _tooltip(self, row: Any, column: Column) -> str | None:
        if column.key == "to" and types_for(row, self.offered):
            return self.tr("Double-click or press F2 to choose another type")
        return row.name if column.key == "tensor" else reason_text(row) if column.key == "reason" else None

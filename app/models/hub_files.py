"""The files of a model on the Hub as table rows, and the forms in which it would run here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QObject, Qt
from PySide6.QtGui import QIcon

from app import text
from app.models.columns import Column, RowsModel
from app.models.hub import BADGES
from core.jobs import FitForm, HubFile

_T = QT_TRANSLATE_NOOP


def _use(file: HubFile) -> str:
    return file.skipped or _tr("needed")


class HubFiles(RowsModel):
    """Name, size, whether a quantization needs it or why not, and whether it is here."""

    CONTEXT = "HubFiles"
    COLUMNS = (
        Column("name", _T("HubFiles", "File"), lambda row: row.name),
        Column("bytes", _T("HubFiles", "Size"), lambda row: row.bytes, text.size, True),
        Column("use", _T("HubFiles", "To quantize"), _use),
        Column("here", _T("HubFiles", "Here"), lambda row: _tr("yes") if row.here else text.DASH),
    )

    def __init__(self, icon: Callable[[str, str], QIcon], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icon = icon

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """A mark for what is needed and for what is here, whole texts as tooltip."""
        if role == Qt.ItemDataRole.DecorationRole and column.key == "use":
            return self._icon("done", "good") if not row.skipped else self._icon("minus", "muted")
        if role == Qt.ItemDataRole.DecorationRole and column.key == "here" and row.here:
            return self._icon("done", "good")
        if role == Qt.ItemDataRole.ToolTipRole:
            return _use(row) if column.key == "use" else row.name
        return None


class FitForms(RowsModel):
    """Form, weights, memory to run it, verdict, and the longest context that fits."""

    CONTEXT = "FitForms"
    COLUMNS = (
        Column("name", _T("FitForms", "Form"), lambda row: form_words(row)),
        Column("weights", _T("FitForms", "Weights"), lambda row: row.weights, text.size, True),
        Column("total", _T("FitForms", "Memory"), lambda row: row.total, text.size, True),
        Column("verdict", _T("FitForms", "This computer"), lambda row: _tr(BADGES[row.verdict.level][0])),
        Column("context", _T("FitForms", "Context up to"), lambda row: row.longest_context or None,
               lambda value: text.DASH if value is None else text.exact(value), True),
    )  # fmt: skip

    def __init__(self, icon: Callable[[str, str], QIcon], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icon = icon

    def set_forms(self, forms: Sequence[FitForm]) -> None:
        """Shows these."""
        self.set_rows(forms)

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """The verdict's icon and its words."""
        if role == Qt.ItemDataRole.DecorationRole and column.key == "verdict":
            _, icon, color = BADGES[row.verdict.level]
            return self._icon(icon, color)
        return row.verdict.words if role == Qt.ItemDataRole.ToolTipRole else None


def form_words(form: FitForm) -> str:
    """A form in a word or two: 'as it is (BF16)', 'Q4_K_M', the file's name where its type is not known."""
    if form.name == "as it is":
        return _tr("as it is ({0})").format(form.type) if form.type else _tr("as it is")
    return form.type or form.name


def _tr(words: str) -> str:
    return QCoreApplication.translate("HubFiles", words)

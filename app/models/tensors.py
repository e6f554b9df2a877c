"""The tensors and the metadata of one model as table rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, Qt
from PySide6.QtGui import QFont

from app import text
from app.models.columns import Column, RowsModel
from core.jobs import MetadataRow, TensorInfo

_T = QT_TRANSLATE_NOOP


def shape_words(shape: tuple[int, ...]) -> str:
    """A shape as it is read aloud: '1536 × 576'; the last number is the row length."""
    return " × ".join(map(str, shape))


def bits_per_weight(tensor: TensorInfo) -> float:
    """Bits each weight of a tensor takes on disk."""
    return 8 * tensor.bytes / tensor.elements if tensor.elements else 0.0


class TensorsModel(RowsModel):
    """Name, shape, type, size and bits per weight of a model's tensors."""

    CONTEXT = "TensorsModel"
    COLUMNS = (
        Column("name", _T("TensorsModel", "Tensor"), lambda row: row.name),
        Column("shape", _T("TensorsModel", "Shape"), lambda row: row.shape, shape_words, True),
        Column("type", _T("TensorsModel", "Type"), lambda row: row.type),
        Column("bytes", _T("TensorsModel", "MiB"), lambda row: row.bytes, text.mib, True),
        Column("bpw", _T("TensorsModel", "Bits"), bits_per_weight, text.bits, True, "bpw"),
    )

    def __init__(self, name_font: QFont, parent: Any = None) -> None:
        super().__init__(parent)
        self._name_font = name_font

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """Names in a fixed-pitch font, with the exact figures as tooltip."""
        if role == Qt.ItemDataRole.FontRole and column.key == "name":
            return self._name_font
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.tr("{0}\n{1} weights, {2} bytes").format(
                row.name, text.exact(row.elements), text.exact(row.bytes)
            )
        return None


@dataclass(frozen=True, slots=True)
class MetadataLine:
    """One metadata entry; `name` is its key."""

    name: str
    type: str
    value: str


class MetadataModel(RowsModel):
    """Key, type and value of a model's metadata."""

    CONTEXT = "MetadataModel"
    COLUMNS = (
        Column("name", _T("MetadataModel", "Key"), lambda row: row.name),
        Column("type", _T("MetadataModel", "Type"), lambda row: row.type),
        Column("value", _T("MetadataModel", "Value"), lambda row: row.value, lambda value: value.replace("\n", "⏎")),
    )

    def __init__(self, name_font: QFont, parent: Any = None) -> None:
        super().__init__(parent)
        self._name_font = name_font

    def set_metadata(self, rows: tuple[MetadataRow, ...]) -> None:
        """Shows these entries."""
        self.set_rows([MetadataLine(row.key, row.type, row.value) for row in rows])

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """Keys in a fixed-pitch font, the whole value as tooltip."""
        if role == Qt.ItemDataRole.FontRole and column.key == "name":
            return self._name_font
        return row.value if role == Qt.ItemDataRole.ToolTipRole and column.key == "value" else None

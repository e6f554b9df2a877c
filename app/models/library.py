"""The models of the library as table rows, and a model described in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt

from app import text
from app.models.columns import Column, RowsModel
from core.jobs import ModelSummary

_T = QT_TRANSLATE_NOOP


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """One model; `name` is its path, which is what tells models apart."""

    name: str
    model: ModelSummary


class LibraryModel(RowsModel):
    """Name, architecture, parameters, type, size and location."""

    CONTEXT = "LibraryModel"
    COLUMNS = (
        Column("name", _T("LibraryModel", "Name"), lambda row: shown_name(row.model)),
        Column("architecture", _T("LibraryModel", "Architecture"), lambda row: row.model.architecture),
        Column("parameters", _T("LibraryModel", "Parameters"), lambda row: row.model.parameters, text.count, True),
        Column("type", _T("LibraryModel", "Type"), lambda row: row.model.type),
        Column("size", _T("LibraryModel", "Size"), lambda row: row.model.bytes, text.size, True),
        Column("location", _T("LibraryModel", "Location"), lambda row: location(row.model)),
    )

    def set_models(self, models: tuple[ModelSummary, ...]) -> None:
        """Shows these models."""
        self.set_rows([LibraryRow(model.path, model) for model in models])

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """The whole path as tooltip."""
        return row.model.path if role == Qt.ItemDataRole.ToolTipRole else None


def shown_name(model: ModelSummary) -> str:
    """What tells a model from its siblings on this computer: the name of its file or folder; the sample has its own."""
    if model.is_sample:
        return model.name
    path = Path(model.path)
    return path.stem if path.suffix in {".gguf", ".safetensors"} else path.name


def location(model: ModelSummary) -> str:
    """The folder a model lies in, the home folder shortened; the sample lies in the program."""
    if model.is_sample:
        return _tr("bundled")
    folder = str(Path(model.path).parent)
    home = str(Path.home())
    return f"~{folder[len(home) :]}" if folder.startswith(home) else folder


def describe(model: ModelSummary) -> str:
    """A model in two sentences: what it is, and how it is stored."""
    what = model.label or model.architecture
    return _tr("{0}, {1} parameters. Stored as {2} in {3}: {4} bits per weight.").format(
        what, text.count(model.parameters), model.type, text.size(model.bytes), text.bits(model.bits_per_weight)
    )


def facts(model: ModelSummary) -> list[tuple[str, str]]:
    """What headers tell beyond the description, as (name, value); unknown numbers are left out."""
    heads = str(model.heads)
    if model.kv_heads is not None and model.kv_heads != model.heads:
        heads = _tr("{0}, {1} key-value").format(model.heads, model.kv_heads)
    rows = (
        (_tr("Context"), _tr("{0} tokens").format(text.exact(model.context_length or 0)), model.context_length),
        (_tr("Width"), text.exact(model.embedding_length or 0), model.embedding_length),
        (_tr("Heads"), heads, model.heads),
        (_tr("Vocabulary"), _tr("{0} tokens").format(text.exact(model.vocabulary or 0)), model.vocabulary),
        (_tr("Chat template"), _tr("included") if model.has_chat_template else _tr("none"), True),
        (_tr("License"), model.license, model.license or None),
    )
    return [(name, value) for name, value, known in rows if known is not None]


def _tr(words: str) -> str:
    return QCoreApplication.translate("LibraryModel", words)

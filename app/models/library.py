"""The models of the library as table rows, unfinished downloads among them, and a model described in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QObject, Qt
from PySide6.QtGui import QIcon

from app import text
from app.models.columns import Column, RowsModel
from core.hub.cache import repo_in
from core.jobs import ModelSummary, PartialDownload

_T = QT_TRANSLATE_NOOP


@dataclass(frozen=True, slots=True)
class PartialModel:
    """A model of which a download has left something. name: tells it from others. repo: '' where it is not known."""

    name: str
    repo: str
    files: tuple[PartialDownload, ...]

    @property
    def done(self) -> int:
        """Bytes that are here."""
        return sum(file.done for file in self.files)

    @property
    def total(self) -> int | None:
        """Bytes of the files that were begun, None where that is not known."""
        return sum(file.total for file in self.files) if all(file.total for file in self.files) else None

    @property
    def running(self) -> bool:
        """Whether somebody is at it right now."""
        return any(file.running for file in self.files)

    @property
    def goes_on(self) -> bool:
        """Whether a download here goes on with it; what other programs left is begun anew."""
        return bool(self.repo) and any(file.ours for file in self.files)


def partial_models(files: Iterable[PartialDownload]) -> tuple[PartialModel, ...]:
    """Unfinished files put together by the folder they are in."""
    grouped: dict[tuple[str, str], list[PartialDownload]] = {}
    for file in files:
        grouped.setdefault((file.repo, str(Path(file.path).parent)), []).append(file)
    return tuple(PartialModel(f"partial:{folder}", repo, tuple(found)) for (repo, folder), found in grouped.items())


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """One model or unfinished download; `name` is a model's path, which is what tells models apart."""

    name: str
    model: ModelSummary | None = None
    partial: PartialModel | None = None


class LibraryModel(RowsModel):
    """Name, architecture, parameters, type, size and location."""

    CONTEXT = "LibraryModel"
    COLUMNS = (
        Column("name", _T("LibraryModel", "Name"), lambda row: _name(row)),
        Column("architecture", _T("LibraryModel", "Architecture"),
               lambda row: row.model.architecture if row.model else ""),
        Column("parameters", _T("LibraryModel", "Parameters"), lambda row: row.model.parameters if row.model else None,
               lambda value: text.DASH if value is None else text.count(value), True),
        Column("type", _T("LibraryModel", "Type"), lambda row: row.model.type if row.model else _progress(row.partial)),
        Column("size", _T("LibraryModel", "Size"), lambda row: row.model.bytes if row.model else row.partial.done,
               text.size, True),
        Column("location", _T("LibraryModel", "Location"),
               lambda row: location(row.model) if row.model else _tr("download, not finished")),
    )  # fmt: skip

    def __init__(self, icon: Callable[[str, str], QIcon] | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icon = icon

    def set_models(self, models: Sequence[ModelSummary], partial: Sequence[PartialModel] = ()) -> None:
        """Shows these models, and what was left unfinished below them."""
        rows = [LibraryRow(model.path, model) for model in models]
        self.set_rows(rows + [LibraryRow(one.name, partial=one) for one in partial])

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """The whole path as tooltip; a mark for what is not finished."""
        if role == Qt.ItemDataRole.DecorationRole and column.key == "type" and row.partial and self._icon:
            return self._icon("running" if row.partial.running else "paused", "warn")
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.model.path if row.model else "\n".join(file.name or file.path for file in row.partial.files)
        return None


def shown_name(model: ModelSummary) -> str:
    """What tells a model from its siblings on this computer: the name of its file or folder; the sample has its own.

    A folder in the Hub's cache, which is named after a commit, has the id of its model.
    """
    if model.is_sample:
        return model.name
    path = Path(model.path)
    return path.stem if path.suffix in {".gguf", ".safetensors"} else repo_in(model.path) or path.name


def location(model: ModelSummary) -> str:
    """The folder a model lies in, the home folder shortened; the sample lies in the program."""
    if model.is_sample:
        return _tr("bundled")
    if repo := repo_in(model.path):
        return _tr("cache, {0}").format(repo)
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


def _name(row: LibraryRow) -> str:
    if row.model is not None:
        return shown_name(row.model)
    assert row.partial is not None
    names = [file.name for file in row.partial.files if file.name]
    return row.partial.repo or (names[0] if names else _tr("unknown model"))


def _progress(partial: PartialModel | None) -> str:
    assert partial is not None
    if partial.running:
        return _tr("downloading")
    return _tr("partial, {0}").format(text.percent(partial.done / partial.total)) if partial.total else _tr("partial")


def _tr(words: str) -> str:
    return QCoreApplication.translate("LibraryModel", words)

"""The models that are to be measured, ticked in a list of those that can have been made from the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QFileDialog, QLabel, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from app import text
from app.models.library import shown_name
from app.models.names import model_title
from app.widgets.side_by_side import row
from core.jobs import ModelSummary

_PATH = Qt.ItemDataRole.UserRole


class MeasuredModels(QWidget):
    """Signals: changed() when something else is ticked. models: what the library has.

    For tests: `list` is the QListWidget, objectName `measured_models`.
    """

    changed = Signal()

    def __init__(self, theme: Any, models: Callable[[], Iterable[ModelSummary]]) -> None:
        super().__init__()
        self._library = models
        self._original = ""
        self._extra: list[str] = []
        self.list = QListWidget()
        self.list.setObjectName("measured_models")
        self.list.setAccessibleName(self.tr("Models to measure"))
        self.list.setMinimumHeight(120)
        self.list.itemChanged.connect(self.changed)
        self._others = QLabel()
        self._others.setProperty("role", "caption")
        file, folder = QPushButton(self.tr("Add a &file…")), QPushButton(self.tr("Add a f&older…"))
        theme.decorate(file, "add_file")
        theme.decorate(folder, "add_folder")
        file.clicked.connect(self._browse_file)
        folder.clicked.connect(self._browse_folder)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.list)
        layout.addWidget(row(file, folder, self._others))

    @property
    def chosen(self) -> tuple[str, ...]:
        """Paths of the models that are ticked."""
        items = [self.list.item(at) for at in range(self.list.count())]
        return tuple(item.data(_PATH) for item in items if item.checkState() == Qt.CheckState.Checked)

    def begin(self, original: str, model: str) -> None:
        """Begins anew: one model is ticked, '' for none."""
        self._extra = [model] if model and all(model != each.path for each in self._library()) else []
        self._fill(original, {model} if model else set())

    def set_original(self, original: str) -> None:
        """Lists what can have been made from this one; what is ticked stays ticked."""
        self._fill(original, set(self.chosen))

    def original_of(self, model: str) -> str:
        """The likeliest original of a model: of the same network, the one with the most bytes, if not itself; ''."""
        known = next((each for each in self._library() if each.path == model), None)
        if known is None:
            return ""
        alike = [each for each in self._library() if _is_alike(each, known) and each.bytes > known.bytes]
        return max(alike, key=lambda each: each.bytes).path if alike else ""

    # ------------------------------------------------------------ the list

    def _fill(self, source: str, ticked: set[str]) -> None:
        self._original = source
        models = list(self._library())
        original = next((each for each in models if each.path == source), None)
        alike = [each for each in models if each.path != source and (original is None or _is_alike(each, original))]
        with QSignalBlocker(self.list):
            self.list.clear()
            for each in alike:
                self._add(each.path, f"{shown_name(each)}   {each.type} · {text.size(each.bytes)}", each.path in ticked)
            for path in self._extra:
                self._add(path, model_title(path), ticked=path in ticked)
        left = len(models) - len(alike) - (original is not None)
        self._others.setText(self.tr("{0} models of other networks are not listed").format(left) if left else "")
        self.changed.emit()

    def _add(self, path: str, words: str, ticked: bool) -> None:
        item = QListWidgetItem(words)
        item.setData(_PATH, path)
        item.setToolTip(path)
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self.list.addItem(item)

    def _browse_file(self) -> None:
        kinds = self.tr("Models (*.gguf *.safetensors)")
        paths, _ = QFileDialog.getOpenFileNames(self, self.tr("Models to measure"), str(Path.home()), kinds)
        self.take(paths)

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.tr("Choose a model folder"), str(Path.home()))
        self.take([path] if path else [])

    def take(self, paths: list[str]) -> None:
        """Adds models from elsewhere, and ticks them."""
        ticked = {*self.chosen, *paths}
        listed = {self.list.item(at).data(_PATH) for at in range(self.list.count())}
        self._extra += [path for path in paths if path not in listed]
        self._fill(self._original, ticked)


def _is_alike(one: ModelSummary, other: ModelSummary) -> bool:
    """Whether two models can be forms of one: the same architecture, and the same sizes as far as both tell them."""
    sizes = ("layers", "embedding_length", "vocabulary")
    pairs = [(getattr(one, name), getattr(other, name)) for name in sizes]
    return one.architecture == other.architecture and all(a == b for a, b in pairs if a and b)

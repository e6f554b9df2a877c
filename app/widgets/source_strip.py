"""The model a page works on: its name and facts on one card, and the menu to choose another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from app import text
from app.models.library import shown_name
from app.widgets.elided_label import ElidedLabel
from core.jobs import ModelSummary


class ModelMenu(QMenu):
    """The models of the library, and the ways to a file or a folder outside of it. Signals: chosen(str), a path."""

    chosen = Signal(str)

    def __init__(self, models: Callable[[], Iterable[ModelSummary]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models = models
        self.aboutToShow.connect(self.fill)

    def fill(self) -> None:
        """Lists what the library has now."""
        self.clear()
        models = list(self._models())
        for model in models:
            action = self.addAction(f"{shown_name(model)}   {model.type} · {text.size(model.bytes)}".replace("&", "&&"))
            action.setToolTip(model.path)
            action.triggered.connect(lambda _checked=False, path=model.path: self.chosen.emit(path))
        if models:
            self.addSeparator()
        self.addAction(self.tr("Open a file…")).triggered.connect(self._open_file)
        self.addAction(self.tr("Open a model folder…")).triggered.connect(self._open_folder)

    def _open_file(self) -> None:
        kinds = self.tr("Models (*.gguf *.safetensors)")
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Choose a model file"), str(Path.home()), kinds)
        if path:
            self.chosen.emit(path)

    def _open_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.tr("Choose a model folder"), str(Path.home()))
        if path:
            self.chosen.emit(path)


class SourceStrip(QFrame):
    """One card: the model's name, architecture, type, parameters, size and path. Signals: chosen(str), a path."""

    chosen = Signal(str)

    def __init__(self, theme: Any, models: Callable[[], Iterable[ModelSummary]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setObjectName("source")
        self._name = ElidedLabel()
        self._name.setProperty("role", "section")
        self._facts = QLabel()
        self._path = ElidedLabel()
        self._path.setProperty("role", "caption")
        button = QPushButton(self.tr("Choose &model"))
        button.setObjectName("choose_model")
        theme.decorate(button, "models")
        menu = ModelMenu(models, button)
        menu.chosen.connect(self.chosen)
        button.setMenu(menu)
        line = QHBoxLayout()
        line.setSpacing(12)
        line.addWidget(self._name)
        line.addWidget(self._facts, 1)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addLayout(line)
        words.addWidget(self._path)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 8, 8, 8)
        layout.setSpacing(16)
        layout.addLayout(words, 1)
        layout.addWidget(button)

    def show_loading(self, path: str) -> None:
        """Names the file while its header is being read."""
        self._name.setText(Path(path).name)
        self._facts.setText(self.tr("Reading…"))
        self._path.setText(path)

    def show_model(self, model: ModelSummary) -> None:
        """Shows a model's facts."""
        self._name.setText(shown_name(model))
        parameters = self.tr("{0} parameters").format(text.count(model.parameters))
        self._facts.setText(" · ".join([model.label, model.type, parameters, text.size(model.bytes)]))
        self._path.setText(model.path)

    def show_unreadable(self, path: str, converts: bool = False) -> None:
        """Names a model that could not be read, or is to be converted first; why is said elsewhere."""
        self.show_loading(path)
        words = self.tr("Converted by llama.cpp first") if converts else self.tr("Cannot be read")
        self._facts.setText(words)

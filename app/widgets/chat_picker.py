"""Which model answers: a list of the .gguf files known, and a way to open another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QPaintEvent, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter, QWidget

from app import text
from app.models.library import shown_name
from core.jobs import ModelSummary

PATH = Qt.ItemDataRole.UserRole
OPEN_FILE = "\0open"


@dataclass(frozen=True, slots=True)
class Choice:
    """One model to chat with. type: Q4_K_M and the like, '' while unknown."""

    path: str
    name: str
    type: str
    bytes: int

    @classmethod
    def of(cls, model: ModelSummary) -> Choice:
        """A model of the library."""
        return cls(model.path, shown_name(model), model.type, model.bytes)

    @property
    def line(self) -> str:
        """Name, type where the name does not end with it, and size."""
        kind = "" if self.name.upper().endswith(self.type.upper()) else self.type
        return " · ".join(filter(None, (self.name, kind, text.size(self.bytes))))


class ModelPicker(QComboBox):
    """chosen: the path of a model that the user took, '' for none. browse: the user wants to open a file."""

    chosen = Signal(str)
    browse = Signal()

    def __init__(self, none_words: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._none_words = none_words
        self._current = ""
        self._choices: dict[str, Choice] = {}
        self.setModel(QStandardItemModel(self))
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(18)
        self.setMaxVisibleItems(16)
        self._hint = self.tr("GGUF files only: folders and checkpoints run in transformers and vLLM")
        self.setToolTip(self._hint)
        self.activated.connect(self._on_activated)

    def set_choices(self, known: Sequence[Choice], recent: Sequence[Choice]) -> None:
        """Fills the list, known models first; what is chosen stays chosen."""
        known_paths = {choice.path for choice in known}
        recent = list({choice.path: choice for choice in recent if choice.path not in known_paths}.values())
        self._choices = {choice.path: choice for choice in (*known, *recent)}
        self.clear()
        if self._none_words or not self._choices:
            self._add(self._none_words or self.tr("No model yet"), "")
        self._add_section(self.tr("Your models"), known)
        self._add_section(self.tr("Recently made or opened"), recent)
        self.insertSeparator(self.count())
        self._add(self.tr("Open file…"), OPEN_FILE)
        self.choose(self._current)

    def choose(self, path: str) -> None:
        """Shows a listed model as chosen ('' for none), without `chosen` being emitted."""
        self._current = path
        self.setCurrentIndex(self.findData(path, PATH))
        self.setToolTip(path or self._hint)

    def current(self) -> Choice | None:
        """The model chosen."""
        return self._choices.get(self._current)

    def paths(self) -> list[str]:
        """The models listed, from top to bottom."""
        rows = [self.itemData(row, PATH) for row in range(self.count())]
        return [path for path in rows if path and path != OPEN_FILE]

    def paintEvent(self, event: QPaintEvent) -> None:
        """Where there is no room for the whole line, its middle is left out: the type at its end matters."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        room = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, room.width()
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()

    def _add(self, words: str, path: str) -> None:
        self.addItem(words, path)
        if path != OPEN_FILE:
            self.setItemData(self.count() - 1, path, Qt.ItemDataRole.ToolTipRole)

    def _add_section(self, title: str, choices: Sequence[Choice]) -> None:
        if not choices:
            return
        heading = QStandardItem(title)
        heading.setFlags(Qt.ItemFlag.NoItemFlags)
        model = self.model()
        assert isinstance(model, QStandardItemModel)
        model.appendRow(heading)
        for choice in choices:
            self._add(choice.line, choice.path)

    def _on_activated(self, row: int) -> None:
        path = self.itemData(row, PATH)
        if path == OPEN_FILE:
            self.choose(self._current)
            self.browse.emit()
        elif path != self._current and path is not None:
            self.choose(path)
            self.chosen.emit(path)

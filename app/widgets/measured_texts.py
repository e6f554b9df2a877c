"""What models are measured on: kinds of the program's own texts, or the user's."""

from __future__ import annotations

from typing import get_args

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QLabel, QPushButton, QVBoxLayout, QWidget

from app.widgets.side_by_side import row
from app.widgets.texts import choose_dataset, choose_files, text_word
from core.jobs import Category


class MeasuredTexts(QWidget):
    """Signals: changed(). texts: the user's, as jobs name them; () = the program's own.

    For tests: `kinds` are the boxes; objectNames `measure_texts`, `measure_dataset` of the buttons.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.texts: tuple[str, ...] = ()
        words: dict[Category, str] = {
            "prose": self.tr("prose"),
            "code": self.tr("code"),
            "chat": self.tr("chats"),
            "languages": self.tr("some thirty languages"),
        }
        self.kinds: dict[Category, QCheckBox] = {
            category: QCheckBox(words[category]) for category in get_args(Category)
        }
        for box in self.kinds.values():
            box.setChecked(True)
            box.toggled.connect(self.changed)
        self.files = QPushButton()
        self.files.setObjectName("measure_texts")
        self.files.clicked.connect(self._choose_files)
        self.dataset = QPushButton(self.tr("&Data set of the Hub…"))
        self.dataset.setObjectName("measure_dataset")
        self.dataset.clicked.connect(lambda: choose_dataset(self, self.take))
        self._names = QLabel()
        self._names.setProperty("role", "caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(row(*self.kinds.values()))
        layout.addWidget(row(self.files, self.dataset, self._names))
        self._show()

    @property
    def categories(self) -> tuple[Category, ...]:
        """The kinds as a job names them: () = all, and where the texts are the user's."""
        ticked = self._ticked()
        return () if self.texts or len(ticked) == len(self.kinds) else ticked

    @property
    def is_empty(self) -> bool:
        """Whether nothing is chosen."""
        return not self.texts and not self._ticked()

    def take(self, texts: tuple[str, ...]) -> None:
        """Chooses texts of the user's, or with () the program's own."""
        self.texts = texts
        self._show()
        self.changed.emit()

    def _ticked(self) -> tuple[Category, ...]:
        return tuple(category for category, box in self.kinds.items() if box.isChecked())

    def _choose_files(self) -> None:
        if self.texts:
            self.take(())
        else:
            choose_files(self, self.tr("Texts to measure on"), self.take)

    def _show(self) -> None:
        for box in self.kinds.values():
            box.setEnabled(not self.texts)
        self._names.setText(", ".join(map(text_word, self.texts)))
        self._names.setToolTip("\n".join(self.texts))
        self.files.setText(self.tr("Use the program's texts") if self.texts else self.tr("Own text &files…"))
        self.dataset.setVisible(not self.texts)

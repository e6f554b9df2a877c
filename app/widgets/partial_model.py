"""A download that was not finished: how much of it is here, and buttons to go on or to throw it away."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from app import text
from app.models.library import PartialModel
from app.theme import Theme


class PartialModelView(QWidget):
    """resume_clicked, discard_clicked: for the one that is shown."""

    resume_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = QLabel()
        self._title.setProperty("role", "section")
        self._title.setWordWrap(True)
        self.words = QLabel()
        self.words.setObjectName("partial_words")
        self.words.setWordWrap(True)
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName(self.tr("What is here of it"))
        self._files = QLabel()
        self._files.setProperty("role", "caption")
        self._files.setWordWrap(True)
        self._files.setTextFormat(Qt.TextFormat.PlainText)
        self.resume = QPushButton(self.tr("Resume"))
        self.resume.setObjectName("partial_resume")
        self.resume.setProperty("primary", True)
        theme.decorate(self.resume, "play", "on_accent")
        self.resume.clicked.connect(self.resume_clicked)
        self.discard = QPushButton(self.tr("Discard"))
        self.discard.setObjectName("partial_discard")
        self.discard.setToolTip(self.tr("Remove what has arrived from the disk"))
        theme.decorate(self.discard, "remove")
        self.discard.clicked.connect(self.discard_clicked)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self.resume)
        buttons.addWidget(self.discard)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 0, 0, 0)
        layout.setSpacing(8)
        for part in (self._title, self.words, self._bar):
            layout.addWidget(part)
        layout.addLayout(buttons)
        layout.addWidget(self._files)
        layout.addStretch(1)

    def show_partial(self, partial: PartialModel) -> None:
        """Shows one."""
        self._title.setText(partial.repo or self.tr("Unknown model"))
        self._bar.setVisible(partial.total is not None)
        if partial.total:
            self._bar.setValue(round(1000 * partial.done / partial.total))
        self.words.setText(self._words(partial))
        self._files.setText("\n".join(file.name or file.path for file in partial.files))
        self.resume.setVisible(partial.goes_on and not partial.running)
        self.discard.setVisible(not partial.running)

    def _words(self, partial: PartialModel) -> str:
        here = self.tr("{0} are here").format(text.size(partial.done))
        if partial.total:
            here = self.tr("{0} of {1} are here").format(text.size(partial.done), text.size(partial.total))
        if partial.running:
            return self.tr("A download is under way: {0}.").format(here)
        if partial.goes_on:
            return self.tr("This download was not finished: {0}, and it goes on from there.").format(here)
        return self.tr("Another program left this download unfinished: {0}. It can only be begun anew.").format(here)

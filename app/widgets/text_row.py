"""The choice of the text that a calibrated method looks at: the program's own, files, or a data set of the Hub."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QSizePolicy, QWidget

from app.glossary import explain
from app.widgets.texts import add_sources, text_word


class TextRow(QWidget):
    """A label and a button with a menu. Signals: changed() when other texts are chosen.

    text: files and data sets as jobs name them, () = the program's own. For tests: objectName
    `choose_text` (its menu: `menu`).
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text: tuple[str, ...] = ()
        self.menu = QMenu(self)
        self.menu.addAction(self.tr("The texts that come with the program")).triggered.connect(
            lambda: self.set_text(())
        )
        add_sources(self.menu, self, self.tr("Calibration text"), self.set_text)
        self.button = QPushButton()
        self.button.setObjectName("choose_text")
        self.button.setMenu(self.menu)
        self.button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        theme.decorate(self.button, "file")
        self.label = QLabel(self.tr("Calibration text"))
        self.label.setBuddy(self.button)
        explain(self.label, "calibration")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.label)
        layout.addWidget(self.button, 1)
        self._show()

    def set_text(self, text: tuple[str, ...]) -> None:
        """Chooses texts."""
        if text != self.text:
            self.text = text
            self._show()
            self.changed.emit()

    def _show(self) -> None:
        names = ", ".join(text_word(text) for text in self.text) or self.tr("Built-in texts")
        self.button.setText(names.replace("&", "&&"))
        self.button.setAccessibleName(self.tr("Calibration text: {0}").format(names))
        self.button.setToolTip("\n".join(self.text) or self.tr("A mixture of prose, code and chat"))

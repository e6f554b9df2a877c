"""The head of a page: its title, room for its buttons, and the button that folds the inspector."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QWidget

from app.theme import Theme

MARGIN = 24


class PageHeader(QWidget):
    """A title to the left, what is added to the right of it."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        label = QLabel(title)
        label.setProperty("role", "title")
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(8)
        self._row.addWidget(label)
        self._row.addStretch(1)
        self.setMinimumHeight(32)

    def add(self, widget: QWidget) -> None:
        """Adds a widget at the right end."""
        self._row.addWidget(widget)

    def add_switch(self, widget: QWidget) -> None:
        """Adds a widget right behind the title."""
        self._row.insertSpacing(1, 8)
        self._row.insertWidget(2, widget)

    def add_fold(self, theme: Theme) -> QToolButton:
        """Adds the button that shows and hides an inspector; its `toggled` says which."""
        button = fold_button(theme)
        self.add(button)
        return button


def fold_button(theme: Theme) -> QToolButton:
    """A button that shows and hides an inspector; its `toggled` says which."""
    button = QToolButton()
    button.setCheckable(True)
    button.setChecked(True)
    words = QCoreApplication.translate("PageHeader", "Show or hide the inspector (Ctrl+I)")
    button.setToolTip(words)
    button.setAccessibleName(words)
    theme.decorate(button, "inspector")
    return button

"""The left rail: one button per page, icon over word, the selected one marked by a bar and colour."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QToolButton, QVBoxLayout, QWidget

from app.theme import Theme

WIDTH = 72
ICON = 22


class Rail(QWidget):
    """Emits the key of the page whose button was chosen."""

    chosen = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("rail")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(WIDTH)
        self._theme = theme
        self._buttons: dict[str, QToolButton] = {}
        self._group = QButtonGroup(self)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 8, 0, 8)
        self._layout.setSpacing(2)
        theme.follow(self, self._recolor)

    def add(self, key: str, word: str, shortcut: str) -> None:
        """Adds a page's button below the others."""
        button = QToolButton(self)
        button.setObjectName(f"rail_{key}")
        button.setText(word)
        button.setToolTip(f"{word} ({shortcut})")
        button.setCheckable(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(ICON, ICON))
        button.setFixedSize(WIDTH - 1, 58)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda: self.chosen.emit(key))
        button.toggled.connect(self._recolor)
        self._group.addButton(button)
        self._buttons[key] = button
        self._layout.addWidget(button)

    def add_stretch(self) -> None:
        """Moves what is added later to the lower end."""
        self._layout.addStretch(1)

    def select(self, key: str) -> None:
        """Marks a page as the one that is shown. Raises KeyError where there is none of that key."""
        self._buttons[key].setChecked(True)
        self._recolor()

    def _recolor(self) -> None:
        for key, button in self._buttons.items():
            button.setIcon(self._theme.icon(key, "accent" if button.isChecked() else "muted"))

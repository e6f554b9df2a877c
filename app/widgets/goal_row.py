"""The choice between the kinds of output, as radio buttons on one line."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QRadioButton, QWidget


class GoalRow(QWidget):
    """titles: words by key. Signals: chosen(str), the key of another kind. For tests: objectNames `goal_KEY`."""

    chosen = Signal(str)

    def __init__(self, titles: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._buttons: dict[str, QRadioButton] = {}
        self._group = QButtonGroup(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(16)
        layout.addWidget(QLabel(self.tr("Make")))
        for key, words in titles.items():
            button = QRadioButton(words)
            button.setObjectName(f"goal_{key}")
            button.toggled.connect(lambda is_on, key=key: self.chosen.emit(key) if is_on else None)
            self._group.addButton(button)
            self._buttons[key] = button
            layout.addWidget(button)
        layout.addStretch(1)

    def choose(self, key: str) -> None:
        """Chooses a kind, and says so where it is another."""
        self._buttons[key].setChecked(True)

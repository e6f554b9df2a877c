"""The head of one side of a chat: which model, what it is in this comparison, where it stands, load and unload."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.widgets.chat_label import Caption
from app.widgets.chat_picker import ModelPicker


class SideHead(QWidget):
    """load_wanted, unload_wanted: the button at the right of the state was clicked."""

    load_wanted = Signal()
    unload_wanted = Signal()

    def __init__(self, title: str, none_words: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title_words = title
        self._title = QLabel(title)
        self._title.setProperty("role", "section")
        self.picker = ModelPicker(none_words)
        self.picker.setAccessibleName(title)
        self._title.setBuddy(self.picker)
        self._state = Caption()
        self._button = QPushButton()
        self._button.setProperty("link", True)
        self._button.clicked.connect(self._act)
        self._offers_unload = False
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self._state, 1)
        line.addWidget(self._button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._title)
        layout.addWidget(self.picker)
        layout.addLayout(line)
        self.set_state("", None)

    def set_role(self, role: str) -> None:
        """What the model is in this comparison ('Original', 'Quantized'), or ''."""
        self._title.setText(f"{self._title_words} · {role}" if role else self._title_words)

    def set_state(self, words: str, offers_unload: bool | None) -> None:
        """Where the model stands, and whether it can be unloaded, loaded (False) or neither (None)."""
        self._state.say(words)
        self._offers_unload = bool(offers_unload)
        self._button.setText(self.tr("Unload") if offers_unload else self.tr("Load"))
        policy = self._button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._button.setSizePolicy(policy)
        self._button.setVisible(offers_unload is not None)

    def state(self) -> str:
        """The words shown."""
        return self._state.text()

    def role_words(self) -> str:
        """The heading shown."""
        return self._title.text()

    def _act(self) -> None:
        (self.unload_wanted if self._offers_unload else self.load_wanted).emit()

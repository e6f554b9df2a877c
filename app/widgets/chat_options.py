"""The chat's settings beside the conversation: the same rows as on the Settings page, kept as they are changed."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from app.settings import ROW, Setting, Settings
from app.theme import Theme
from app.widgets.setting_editors import EDITORS, Editor, TextEditor

SYSTEM_PROMPT = "chat_system_prompt"
KEYS = (
    SYSTEM_PROMPT,
    "chat_temperature",
    "chat_top_p",
    "chat_top_k",
    "chat_seed",
    "chat_max_tokens",
    "chat_context",
)
MIN_WIDTH = 236


class ChatOptions(QScrollArea):
    """Two-way: it writes to the settings, and follows them when they are changed elsewhere."""

    def __init__(self, settings: Settings, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._theme = theme
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(MIN_WIDTH)
        body = QWidget()
        body.setProperty("transparent", True)
        self._layout = QVBoxLayout(body)
        self._layout.setContentsMargins(16, 0, 12, 0)
        self._layout.setSpacing(4)
        self.editors = {key: self._add(ROW[key]) for key in KEYS}
        self._layout.addStretch(1)
        self.setWidget(body)
        settings.changed.connect(self._follow)

    def flush(self) -> None:
        """Keeps the system prompt as it stands; its editor does so only when the focus leaves it."""
        editor = self.editors[SYSTEM_PROMPT]
        assert isinstance(editor, TextEditor)
        self._settings.set(SYSTEM_PROMPT, editor.box.toPlainText())

    def _add(self, row: Setting) -> Editor:
        editor = EDITORS[row.kind](row, self._theme)
        editor.show_value(self._settings.value(row.key))
        editor.edited.connect(lambda value: self._settings.set(row.key, value))
        label = QLabel(_translated(row.label))
        label.setBuddy(editor.focus_target())
        editor.setAccessibleName(_translated(row.label))
        for widget in (label, editor):
            widget.setToolTip(_translated(row.help))
            self._layout.addWidget(widget)
        self._layout.addSpacing(8)
        return editor

    def _follow(self, key: str) -> None:
        if key in self.editors:
            self.editors[key].show_value(self._settings.value(key))


def _translated(words: str) -> str:
    return QCoreApplication.translate("Settings", words)

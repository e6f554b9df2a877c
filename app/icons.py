"""Icons by what they mean: rows of names and glyphs of the Phosphor font that qtawesome ships.

The font and its table of glyphs are read from that package's files; importing the package itself would take a
quarter of the window's start, because it loads twelve fonts and a second copy of Qt's names.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QIconEngine, QPainter, QPixmap

FONT = "phosphor-1.3.0.ttf"
CHARACTERS = "phosphor-charmap-1.3.0.json"
# The glyphs are drawn a little smaller than their square, so that round ones are not cut off.
SHARE = 0.9

GLYPHS: dict[str, str] = {
    "models": "cube",
    "quantize": "sliders-horizontal",
    "jobs": "queue",
    "results": "chart-line",
    "chat": "chats",
    "settings": "gear-six",
    "add_file": "file-plus",
    "add_folder": "folder-plus",
    "folder": "folder-open",
    "file": "file",
    "refresh": "arrows-clockwise",
    "remove": "trash",
    "close": "x",
    "cancel": "x-circle",
    "retry": "arrow-clockwise",
    "up": "arrow-up",
    "down": "arrow-down",
    "fold": "caret-down",
    "copy": "copy",
    "log": "terminal-window",
    "search": "magnifying-glass",
    "inspector": "square-half",
    "warning": "warning",
    "error": "warning-circle",
    "done": "check-circle",
    "running": "play-circle",
    "queued": "clock",
    "interrupted": "warning-octagon",
    "paused": "pause-circle",
    "favourite": "star",
    "lock": "lock",
    "offline": "wifi-slash",
    "open": "arrow-square-out",
    "download": "download-simple",
    "publish": "cloud-arrow-up",
    "hub": "globe",
    "pause": "pause",
    "info": "info",
    "memory": "cpu",
    "send": "paper-plane-tilt",
    "stop": "stop",
    "play": "play",
    "save": "download-simple",
    "export": "export",
    "image": "image",
    "table": "table",
    "drop": "tray",
    "plus": "plus",
    "minus": "minus",
    "edit": "pencil-simple",
    "reset": "arrow-counter-clockwise",
    "help": "question",
    "more": "dots-three",
}


def icon(name: str, color: QColor, disabled: QColor | None = None) -> QIcon:
    """The icon of that meaning in that colour. Raises KeyError for a name without a row."""
    return QIcon(_Glyph(_characters()[GLYPHS[name]], color, disabled or color))


class _Glyph(QIconEngine):
    """Draws one character at whatever size is asked for."""

    def __init__(self, character: str, color: QColor, disabled: QColor) -> None:
        super().__init__()
        self._character = character
        self._color, self._disabled = color, disabled

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        """Draws the glyph into the middle of a rectangle."""
        font = QFont(_family())
        font.setPixelSize(max(round(SHARE * rect.height()), 1))
        painter.save()
        painter.setFont(font)
        painter.setPen(self._disabled if mode == QIcon.Mode.Disabled else self._color)
        painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, self._character)
        painter.restore()

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        """The glyph on a transparent ground; `size` is in the screen's own pixels."""
        drawn = QPixmap(size)
        drawn.fill(Qt.GlobalColor.transparent)
        painter = QPainter(drawn)
        self.paint(painter, QRect(0, 0, size.width(), size.height()), mode, state)
        painter.end()
        return drawn

    def clone(self) -> QIconEngine:
        """A copy, as Qt asks for one when an icon is changed."""
        return _Glyph(self._character, self._color, self._disabled)


def _folder() -> Path:
    package = importlib.util.find_spec("qtawesome")
    assert package is not None
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "fonts"


@cache
def _family() -> str:
    """Loads the font; the name of its family."""
    number = QFontDatabase.addApplicationFont(str(_folder() / FONT))
    return QFontDatabase.applicationFontFamilies(number)[0]


@cache
def _characters() -> dict[str, str]:
    """The character of each glyph's name."""
    codes = json.loads((_folder() / CHARACTERS).read_text(encoding="utf-8"))
    return {name: chr(int(code, 16)) for name, code in codes.items()}

"""Icons by what they mean: rows of names and glyphs of the Phosphor font that qtawesome ships.

Only this one font is loaded (qtawesome's own entry loads twelve), because the window has to appear within a second.
"""

from __future__ import annotations

from functools import cache

from PySide6.QtGui import QColor, QIcon
from qtawesome.iconic_font import IconicFont

_FONT = ("ph", "phosphor-1.3.0.ttf", "phosphor-charmap-1.3.0.json")

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
    "copy": "copy",
    "log": "terminal-window",
    "search": "magnifying-glass",
    "inspector": "square-half",
    "warning": "warning",
    "error": "warning-circle",
    "done": "check-circle",
    "running": "play-circle",
    "queued": "clock",
    "interrupted": "pause-circle",
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


@cache
def _font() -> IconicFont:
    return IconicFont(_FONT)


def icon(name: str, color: QColor, disabled: QColor | None = None) -> QIcon:
    """The icon of that meaning in that colour. Raises KeyError for a name without a row."""
    drawn: QIcon = _font().icon(f"ph.{GLYPHS[name]}", color=color, color_disabled=disabled or color)
    return drawn

"""Light and dark: the palette, the style sheet, icons and plots, following the system or the user's choice.

Colours are rows of a table, one column per scheme. Series colours are the Okabe-Ito set (Okabe & Ito 2008), which
stays distinct under the common colour-vision deficiencies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPalette
from PySide6.QtWidgets import QApplication

if TYPE_CHECKING:
    from PySide6.QtGui import QAction
    from PySide6.QtWidgets import QAbstractButton

STYLE = Path(__file__).parents[1] / "resources" / "style"
MODES = ("system", "light", "dark")

# name: (light, dark)
COLORS: dict[str, tuple[str, str]] = {
    "accent": ("#3B6EF5", "#7AA2FF"),
    # The accent as a ground for words: a shade deeper in light, for a contrast of 4.5 with white.
    "primary": ("#3669F0", "#7AA2FF"),
    "accent_hover": ("#2F60E0", "#93B4FF"),
    "accent_pressed": ("#2653C8", "#6690F0"),
    "on_accent": ("#FFFFFF", "#10131A"),
    "good": ("#2E9E6B", "#4CC38A"),
    "warn": ("#C98A00", "#E5B045"),
    "bad": ("#D1495B", "#F2808E"),
    "text": ("#1B1F24", "#E6E8EB"),
    "muted": ("#5A636E", "#9DA5B0"),
    "disabled": ("#A3AAB3", "#5F6670"),
    "window": ("#F6F7F9", "#1B1D21"),
    "rail": ("#EEF0F3", "#17191C"),
    "base": ("#FFFFFF", "#212429"),
    "surface": ("#FFFFFF", "#24272D"),
    "tooltip": ("#FFFFFF", "#2C3037"),
    "button": ("#FFFFFF", "#2A2E35"),
    "hover": ("#E7EBF1", "#31363E"),
    "pressed": ("#DCE2EA", "#3A4049"),
    "border": ("#D5DAE1", "#383D45"),
    "grid": ("#E6E9EE", "#2E323A"),
    "scroll": ("#C3C9D2", "#4A505A"),
    "selection": ("#DFE8FE", "#2B3A5C"),
    "drop": ("#E9F0FFF6", "#232B3DF6"),
    "series0": ("#0072B2", "#3E9BD6"),
    "series1": ("#E69F00", "#E69F00"),
    "series2": ("#009E73", "#1DB58A"),
    "series3": ("#CC79A7", "#CC79A7"),
    "series4": ("#56B4E9", "#56B4E9"),
    "series5": ("#D55E00", "#E8742A"),
    "series6": ("#C9B800", "#F0E442"),
    "series7": ("#7F7F7F", "#A6A6A6"),
}

_ROLES: tuple[tuple[QPalette.ColorRole, str], ...] = (
    (QPalette.ColorRole.Window, "window"),
    (QPalette.ColorRole.WindowText, "text"),
    (QPalette.ColorRole.Base, "base"),
    (QPalette.ColorRole.AlternateBase, "window"),
    (QPalette.ColorRole.Text, "text"),
    (QPalette.ColorRole.Button, "button"),
    (QPalette.ColorRole.ButtonText, "text"),
    (QPalette.ColorRole.BrightText, "bad"),
    (QPalette.ColorRole.Highlight, "primary"),
    (QPalette.ColorRole.HighlightedText, "on_accent"),
    (QPalette.ColorRole.Accent, "accent"),
    (QPalette.ColorRole.Link, "accent"),
    (QPalette.ColorRole.LinkVisited, "accent"),
    (QPalette.ColorRole.ToolTipBase, "tooltip"),
    (QPalette.ColorRole.ToolTipText, "text"),
    (QPalette.ColorRole.PlaceholderText, "muted"),
    (QPalette.ColorRole.Mid, "border"),
    (QPalette.ColorRole.Midlight, "grid"),
    (QPalette.ColorRole.Light, "surface"),
)
_TEXT_ROLES = (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText)


class Theme(QObject):
    """The colours in force. `changed` is emitted after palette and style sheet have been replaced."""

    changed = Signal()

    def __init__(self, mode: str = "system", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._mode = mode
        self._dark: bool | None = None
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._apply)
        self.set_mode(mode)

    @property
    def is_dark(self) -> bool:
        """Whether the dark colours are in force."""
        return bool(self._dark)

    @property
    def mode(self) -> str:
        """What was asked for: system, light or dark."""
        return self._mode

    def set_mode(self, mode: str) -> None:
        """Follows the system, or keeps to light or dark. Raises ValueError for another mode."""
        if mode not in MODES:
            raise ValueError(f"there is no theme {mode}")
        self._mode = mode
        schemes = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark, "system": Qt.ColorScheme.Unknown}
        # Native frames and file dialogs follow this request where the platform can.
        QGuiApplication.styleHints().setColorScheme(schemes[mode])
        self._apply()

    def color(self, name: str) -> QColor:
        """A colour by its name in COLORS. Raises KeyError for another name."""
        value = COLORS[name][self.is_dark]
        # Eight digits are RRGGBBAA here, as in CSS; Qt would read AARRGGBB.
        return QColor(f"#{value[7:]}{value[1:7]}" if len(value) == 9 else value)

    def icon(self, name: str, color: str = "text") -> QIcon:
        """An icon of app/icons.py in a colour of this theme."""
        from app.icons import icon

        return icon(name, self.color(color), self.color("disabled"))

    def decorate(self, target: QAbstractButton | QAction, name: str, color: str = "text") -> None:
        """Gives a button or an action an icon that is redrawn when the theme changes, as long as it lives."""
        target.setIcon(self.icon(name, color))
        self.follow(target, lambda: target.setIcon(self.icon(name, color)))

    def follow(self, owner: QObject, repaint: Callable[[], None]) -> None:
        """Calls `repaint` after every change for as long as `owner` lives."""
        connection = self.changed.connect(repaint)
        owner.destroyed.connect(lambda: QObject.disconnect(connection))

    def style_plot(self, plot_item: Any) -> None:
        """Gives a pyqtgraph PlotItem this theme's background, axis pens, label colours and light grid."""
        text, axis = self.color("muted"), self.color("border")
        plot_item.getViewBox().setBackgroundColor(self.color("base"))
        for name in ("left", "bottom", "right", "top"):
            plot_item.getAxis(name).setPen(axis)
            plot_item.getAxis(name).setTextPen(text)
        plot_item.titleLabel.setAttr("color", self.color("text").name())
        plot_item.titleLabel.setText(plot_item.titleLabel.text)
        plot_item.showGrid(x=True, y=True, alpha=0.25 if self.is_dark else 0.15)
        scene = plot_item.scene()
        for view in scene.views() if scene else ():
            view.setBackgroundBrush(self.color("base"))

    def _apply(self) -> None:
        dark = self._mode == "dark"
        if self._mode == "system":
            dark = QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
        if dark == self._dark:
            return
        self._dark = dark
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.setPalette(self._palette())
        application.setStyleSheet(self._style_sheet())
        self.changed.emit()

    def _palette(self) -> QPalette:
        palette = QPalette()
        for role, name in _ROLES:
            palette.setColor(role, self.color(name))
        for role in _TEXT_ROLES:
            palette.setColor(QPalette.ColorGroup.Disabled, role, self.color("disabled"))
        return palette

    def _style_sheet(self) -> str:
        colors = {name: _css(self.color(name)) for name in COLORS}
        names = colors | {"style": STYLE.as_posix(), "scheme": "dark" if self.is_dark else "light"}
        return Template((STYLE / "window.qss").read_text(encoding="utf-8")).substitute(names)


def _css(color: QColor) -> str:
    return f"rgba({color.red()}, {color.green()}, {color.blue()}, {color.alpha()})"

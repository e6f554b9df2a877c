"""Where the window was: geometry, splitters and column widths, in an ini file beside the settings."""

from __future__ import annotations

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QHeaderView, QMainWindow, QSplitter, QWidget

from app.settings import config_dir


class WindowState:
    """Saves and restores what has an object name; anything unnamed is left as it is."""

    def __init__(self) -> None:
        self._file = QSettings(str(config_dir() / "window.ini"), QSettings.Format.IniFormat)

    def restore_window(self, window: QMainWindow) -> bool:
        """Puts the window where it was; False where nothing is remembered."""
        geometry = self._file.value("window/geometry")
        return geometry is not None and window.restoreGeometry(geometry)

    def restore_inside(self, page: QWidget) -> None:
        """Restores the splitters and table headers of a page."""
        for splitter in page.findChildren(QSplitter):
            state = self._file.value(f"splitter/{splitter.objectName()}")
            if splitter.objectName() and state is not None:
                splitter.restoreState(state)
        for header in page.findChildren(QHeaderView):
            state = self._file.value(f"header/{header.objectName()}")
            if header.objectName() and state is not None:
                header.restoreState(state)

    def save(self, window: QMainWindow) -> None:
        """Remembers the window and everything named in it."""
        self._file.setValue("window/geometry", window.saveGeometry())
        for splitter in window.findChildren(QSplitter):
            state = splitter.saveState()
            if splitter.objectName() and not state.isEmpty():
                self._file.setValue(f"splitter/{splitter.objectName()}", state)
        for header in window.findChildren(QHeaderView):
            if header.objectName():
                self._file.setValue(f"header/{header.objectName()}", header.saveState())
        self._file.sync()

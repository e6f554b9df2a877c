"""Buttons that write what is shown into files: a plot in its formats, a table as CSV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QMenu, QPushButton

from app.widgets.plot_export import export, export_menu

translate = QCoreApplication.translate


class ExportButton(QPushButton):
    """Offers what the context menu of a plot does. plot: the one in front, None while there is none; stem: of names."""

    def __init__(self, theme: Any, plot: Callable[[], Any], stem: Callable[[], str]) -> None:
        super().__init__(translate("ExportButton", "&Export"))
        self.setObjectName("export_plot")
        theme.decorate(self, "export")
        self._plot, self._stem = plot, stem
        menu = QMenu(self)
        menu.aboutToShow.connect(self._fill)
        self.setMenu(menu)

    def _fill(self) -> None:
        self.menu().clear()
        plot = self._plot()
        if plot is not None:
            self.menu().addActions(export_menu(plot, self._stem()).actions())


def csv_button(theme: Any, table: Any, stem: Callable[[], str]) -> QPushButton:
    """Writes a table, anything with a table(), under a name that begins with `stem`."""
    button = QPushButton(translate("ExportButton", "Export CSV"))
    theme.decorate(button, "table")
    button.clicked.connect(lambda: export(table, "csv", stem(), parent=button.window()))
    return button

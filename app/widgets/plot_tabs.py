"""Plots behind tabs, with the button that exports the one in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from app.widgets.export_button import ExportButton

# The least that a plot with its title, legend and words needs.
HEIGHT = 240


class PlotTabs(QWidget):
    """`tabs` says which is wanted; whoever has the plots puts them on `stack` and shows the one.

    name: objectName of the tabs. stem: of the names of exported files.
    """

    def __init__(self, theme: Any, name: str, stem: Callable[[], str]) -> None:
        super().__init__()
        self.setMinimumHeight(HEIGHT)
        self.tabs = QTabBar()
        self.tabs.setObjectName(name)
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.stack = QStackedWidget()
        self.export_button = ExportButton(theme, self.stack.currentWidget, stem)
        row = QHBoxLayout()
        row.addWidget(self.tabs, 1)
        row.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(row)
        layout.addWidget(self.stack, 1)

"""A splitter of a page and its inspector: the inspector gets its width once, the page all that is added later."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QSplitter, QWidget

HANDLE = 8


class InspectorSplit(QSplitter):
    """`name` is the object name under which its place is remembered.

    side_width: pixels of the inspector at first; share: it gets at least this share of a wide window (0 to 1).
    """

    def __init__(self, name: str, main: QWidget, side: QWidget, side_width: int, share: float = 0.0) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setObjectName(name)
        self.setChildrenCollapsible(False)
        self.setHandleWidth(HANDLE)
        self.addWidget(main)
        self.addWidget(side)
        self.setStretchFactor(0, 1)
        self.setStretchFactor(1, 1 if share else 0)
        self._side_width, self._share = side_width, share
        self._is_placed = False

    def restoreState(self, state: QByteArray | bytes) -> bool:
        """Puts the handle where it was; the width given at the start is then of no account."""
        self._is_placed = super().restoreState(state)
        return self._is_placed

    def saveState(self) -> QByteArray:
        """Where the handle is; empty while it has never been placed, for a page that was made but not shown."""
        return super().saveState() if self._is_placed else QByteArray()

    def showEvent(self, event: QShowEvent) -> None:
        """Places the handle when the real width is known for the first time."""
        super().showEvent(event)
        if not self._is_placed:
            self._is_placed = True
            side = max(self._side_width, round(self._share * self.width()))
            self.setSizes([self.width() - side - HANDLE, side])

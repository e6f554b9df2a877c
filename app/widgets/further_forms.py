"""The choice of further forms in which the same checkpoint is written: those that can hold the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QPushButton, QSizePolicy, QWidget

from core.methods.table import FORM


class FurtherForms(QPushButton):
    """A button with a menu of forms. Signals: changed() when the user takes one or leaves one.

    What cannot be together with the present choice says why; what was wished stays wished until it can. For tests:
    objectName `method_beside`; `forms`, the entries of the menu by the names of the forms.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("method_beside")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.forms = {form.name: self._add(menu, form.title) for form in FORM.values()}
        self.setMenu(menu)
        self._show()

    @property
    def chosen(self) -> tuple[str, ...]:
        """The forms that are written too, as far as they can be."""
        return tuple(name for name, action in self.forms.items() if action.isChecked() and action.isEnabled())

    def wish(self, names: Sequence[str]) -> None:
        """Wishes for exactly these. Says nothing."""
        for name, action in self.forms.items():
            with QSignalBlocker(action):
                action.setChecked(name in names)
        self._show()

    def offer(self, obstacles: Mapping[str, str]) -> None:
        """Offers these forms, with the words why one cannot be; '' where it can."""
        for name, action in self.forms.items():
            action.setVisible(name in obstacles)
            action.setEnabled(obstacles.get(name) == "")
            action.setToolTip(obstacles.get(name) or FORM[name].sentence)
        self.setEnabled(bool(obstacles))
        self._show()

    def _add(self, menu: QMenu, title: str) -> QAction:
        action = menu.addAction(title)
        action.setCheckable(True)
        action.toggled.connect(self._take)
        return action

    def _take(self) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        names = ", ".join(FORM[name].title for name in self.chosen) or self.tr("No other form")
        self.setText(names)
        self.setAccessibleName(self.tr("Also write as: {0}").format(names))

"""One editor per kind of setting; each shows a value and says when the user gave it another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QPlainTextEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.settings import Setting
from app.theme import Theme
from app.widgets.spin_boxes import inset

NARROW = 200


class Editor(QWidget):
    """Base of all editors: `show_value` is the way in, `edited` the way out."""

    edited = Signal(object)

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__()
        self.row = row
        self.theme = theme
        self._target: QWidget = self
        self.layout_ = QVBoxLayout(self)
        self.layout_.setContentsMargins(0, 0, 0, 0)
        self.layout_.setSpacing(8)

    def show_value(self, value: Any) -> None:
        """Shows a value without saying that it was edited."""
        raise NotImplementedError

    def focus_target(self) -> QWidget:
        """The widget that a label's mnemonic leads to."""
        return self._target

    def setAccessibleName(self, name: str) -> None:
        """Names the widget that has the focus."""
        self._target.setAccessibleName(name)

    def setAccessibleDescription(self, words: str) -> None:
        """Describes the widget that has the focus."""
        self._target.setAccessibleDescription(words)

    def place(self, widget: QWidget, width: int | None = None) -> None:
        """Makes a widget the one that is edited."""
        self._target = widget
        if width is not None:
            widget.setFixedWidth(width)
        self.layout_.addWidget(widget, alignment=Qt.AlignmentFlag(0) if width is None else Qt.AlignmentFlag.AlignLeft)
        # A wheel that scrolls the page must not change what happens to lie under the pointer.
        widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Leaves the wheel to the page where the widget does not have the focus."""
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)


class ChoiceEditor(Editor):
    """A combo box of the choices."""

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__(row, theme)
        self.box = QComboBox()
        for value, label in row.choices:
            self.box.addItem(QCoreApplication.translate("Settings", label), value)
        self.box.activated.connect(lambda index: self.edited.emit(self.box.itemData(index)))
        self.place(self.box, NARROW)

    def show_value(self, value: Any) -> None:
        """Selects the choice."""
        self.box.setCurrentIndex(self.box.findData(value))


class SpinEditor(Editor):
    """Base of those with a spin box."""

    def take(self, box: QSpinBox | QDoubleSpinBox) -> None:
        """Makes this box the one that is edited."""
        self.box = box
        box.setKeyboardTracking(False)
        inset(box)
        box.valueChanged.connect(lambda value: self.edited.emit(value))
        self.place(box, NARROW)

    def show_value(self, value: Any) -> None:
        """Shows the number."""
        with QSignalBlocker(self.box):
            self.box.setValue(value)


class IntegerEditor(SpinEditor):
    """Whole numbers; the lowest may have a name."""

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__(row, theme)
        box = QSpinBox()
        low, high = row.limits or (0, 2**31 - 1)
        box.setRange(int(low), int(high))
        box.setGroupSeparatorShown(True)
        if row.special:
            box.setSpecialValueText(QCoreApplication.translate("Settings", row.special))
        self.take(box)


class NumberEditor(SpinEditor):
    """Fractions."""

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__(row, theme)
        box = QDoubleSpinBox()
        box.setRange(*(row.limits or (0.0, 1.0)))
        box.setSingleStep(0.05)
        box.setDecimals(2)
        self.take(box)


class SwitchEditor(Editor):
    """A check box; its words are the setting's label, which stands beside it."""

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__(row, theme)
        self.box = QCheckBox(QCoreApplication.translate("SwitchEditor", "Yes"))
        self.box.clicked.connect(lambda ticked: self.edited.emit(ticked))
        self.place(self.box, NARROW)

    def show_value(self, value: Any) -> None:
        """Ticks the box or clears it."""
        self.box.setChecked(value)


class TextEditor(Editor):
    """A few lines of text, taken when the focus leaves."""

    HEIGHT = 64

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__(row, theme)
        self.box = QPlainTextEdit()
        self.box.setFixedHeight(self.HEIGHT)
        self.box.setTabChangesFocus(True)
        self.place(self.box)

    def show_value(self, value: Any) -> None:
        """Shows the text."""
        if value != self.box.toPlainText():
            self.box.setPlainText(value)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Says what was written when the focus leaves."""
        if event.type() == QEvent.Type.FocusOut:
            self.edited.emit(self.box.toPlainText())
        return super().eventFilter(watched, event)


class FolderEditor(Editor):
    """A path with a button that chooses a folder."""

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__(row, theme)
        self.box = QLineEdit()
        self.box.setClearButtonEnabled(True)
        self.box.setPlaceholderText(QCoreApplication.translate("Settings", row.special))
        self.box.editingFinished.connect(lambda: self.edited.emit(self.box.text().strip()))
        choose = QPushButton(QCoreApplication.translate("FolderEditor", "Choose…"))
        choose.clicked.connect(self._choose)
        line = QHBoxLayout()
        line.setSpacing(8)
        self.place(self.box)
        self.layout_.removeWidget(self.box)
        line.addWidget(self.box, 1)
        line.addWidget(choose)
        self.layout_.addLayout(line)

    def show_value(self, value: Any) -> None:
        """Shows the path."""
        self.box.setText(value)

    def _choose(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "", self.box.text() or str(Path.home()))
        if path:
            self.box.setText(path)
            self.edited.emit(path)


class PathsEditor(Editor):
    """A list of folders that can be added and taken away."""

    HEIGHT = 80

    def __init__(self, row: Setting, theme: Theme) -> None:
        super().__init__(row, theme)
        self.list = QListWidget()
        self.list.setFixedHeight(self.HEIGHT)
        self.place(self.list)
        add = QPushButton(QCoreApplication.translate("PathsEditor", "Add folder…"))
        add.clicked.connect(self._add)
        self.remove = QPushButton(QCoreApplication.translate("PathsEditor", "Remove from list"))
        self.remove.clicked.connect(self._remove)
        self.list.itemSelectionChanged.connect(self._show_remove)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(add)
        buttons.addWidget(self.remove)
        buttons.addStretch(1)
        self.layout_.addLayout(buttons)
        self._show_remove()

    def show_value(self, value: Any) -> None:
        """Lists the folders."""
        self.list.clear()
        self.list.addItems(list(value))
        self._show_remove()

    def paths(self) -> tuple[str, ...]:
        """The folders in the list."""
        return tuple(self.list.item(row).text() for row in range(self.list.count()))

    def _show_remove(self) -> None:
        self.remove.setEnabled(bool(self.list.selectedItems()))

    def _add(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "", str(Path.home()))
        if path and path not in self.paths():
            self.edited.emit((*self.paths(), path))

    def _remove(self) -> None:
        chosen = {item.text() for item in self.list.selectedItems()}
        self.edited.emit(tuple(path for path in self.paths() if path not in chosen))


EDITORS: dict[str, type[Editor]] = {
    "choice": ChoiceEditor,
    "integer": IntegerEditor,
    "number": NumberEditor,
    "switch": SwitchEditor,
    "text": TextEditor,
    "folder": FolderEditor,
    "paths": PathsEditor,
}

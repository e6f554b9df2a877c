"""A form of fields of a method: an editor for each, of which those that count are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QSignalBlocker, QTimer, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QGridLayout, QLabel, QWidget

from app.glossary import explain
from app.models.method_fields import Chosen, Field, words_of
from app.widgets.spin_boxes import inset
from core.methods.table import Method
from core.values import Value

TYPING_MS = 400
Editor = QCheckBox | QComboBox | QDoubleSpinBox


class FieldForm(QWidget):
    """Signals: changed() when a choice is another.

    fields: rows of app.models.method_fields. options: the value that has them, with what they are at first. For tests:
    objectNames of the editors are the names of the fields after `prefix`.
    """

    changed = Signal()

    def __init__(self, fields: Sequence[Field], options: type[Value], prefix: str) -> None:
        super().__init__()
        self.setProperty("transparent", "true")
        self.fields, self._options, self._prefix = fields, options, prefix
        self.soon = QTimer(self, singleShot=True, interval=TYPING_MS)
        self.soon.timeout.connect(self.changed)
        self._method: Method | None = None
        self.labels: dict[str, QLabel] = {}
        self.editors: dict[str, Editor] = {field.name: self._make(field) for field in fields}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(8)
        self._grid.setColumnStretch(1, 1)
        self._grid.setColumnMinimumWidth(0, self.label_width)
        for field in fields:
            self.add_row(self.labels.get(field.name), self.editors[field.name])

    @property
    def label_width(self) -> int:
        """Of the column of labels, however many of them are shown."""
        return max((label.sizeHint().width() for label in self.labels.values()), default=0)

    @property
    def values(self) -> dict[str, Any]:
        """What is chosen of the fields that count."""
        shown = (field.name for field in self.fields if not self.editors[field.name].isHidden())
        return {name: self.value(name) for name in shown}

    def value(self, name: str) -> Any:
        """What an editor says, in the type of the field."""
        editor = self.editors[name]
        if isinstance(editor, QComboBox):
            return editor.currentData()
        if isinstance(editor, QCheckBox):
            return editor.isChecked()
        if editor.specialValueText() and editor.value() == editor.minimum():
            return None
        return round(editor.value()) if editor.decimals() == 0 else editor.value()

    def count(self) -> int:
        """How many choices differ from what they are at first."""
        return sum(value != self._options.model_fields[name].default for name, value in self.values.items())

    def set_values(self, changes: dict[str, Any]) -> None:
        """Chooses some fields; what is no field here is left alone. Says nothing."""
        for name, value in changes.items():
            editor = self.editors.get(name)
            if editor is not None:
                with QSignalBlocker(editor):
                    _set(editor, value)

    def show_for(self, chosen: Chosen) -> None:
        """Shows the fields that count with such choices, and what of each the method has."""
        if chosen.method is not self._method:
            self._method = chosen.method
            for field in self.fields:
                self._fill(field, chosen.method)
        for field in self.fields:
            counts = field.counts(chosen)
            self.editors[field.name].setVisible(counts)
            if field.name in self.labels:
                self.labels[field.name].setVisible(counts)

    def add_row(self, label: QLabel | None, editor: QWidget) -> None:
        """Adds a row below the others; one without a label has the whole width."""
        row = self._grid.rowCount()
        if label is None:
            self._grid.addWidget(editor, row, 0, 1, 2)
        else:
            self._grid.addWidget(label, row, 0)
            self._grid.addWidget(editor, row, 1)

    # ------------------------------------------------------------ composition

    def _make(self, field: Field) -> Editor:
        words = words_of(field.words)
        editor: Editor
        if field.kind == "switch":
            editor = QCheckBox(words)
            editor.toggled.connect(self.changed)
        elif field.kind == "choice":
            editor = QComboBox()
            editor.setMinimumContentsLength(6)
            editor.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            editor.currentIndexChanged.connect(self.changed)
        else:
            editor = self._make_number(field)
        editor.setObjectName(f"{self._prefix}{field.name}")
        explain(editor, field.term)
        if field.kind != "switch":
            label = QLabel(words)
            label.setBuddy(editor)
            explain(label, field.term)
            self.labels[field.name] = label
        return editor

    def _make_number(self, field: Field) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setDecimals(field.decimals)
        low, high = field.limits
        box.setRange(low - field.step if field.unset else low, high)
        box.setSpecialValueText(words_of(field.unset))
        box.setSingleStep(field.step)
        box.setGroupSeparatorShown(True)
        inset(box)
        _set(box, self._options.model_fields[field.name].default)
        box.valueChanged.connect(self.soon.start)
        return box

    def _fill(self, field: Field, method: Method) -> None:
        """Offers what the method has of a choice, and keeps what was chosen where it has that too."""
        editor = self.editors[field.name]
        if not isinstance(editor, QComboBox):
            return
        first = self._options.model_fields[field.name].default
        chosen = editor.currentData() if editor.count() else first
        with QSignalBlocker(editor):
            editor.clear()
            for value, words in field.choices(method).items():
                editor.addItem(words_of(words), value)
            editor.setCurrentIndex(max(editor.findData(chosen), 0))


def _set(editor: Editor, value: Any) -> None:
    if isinstance(editor, QComboBox):
        editor.setCurrentIndex(max(editor.findData(value), 0))
    elif isinstance(editor, QCheckBox):
        editor.setChecked(bool(value))
    else:
        editor.setValue(editor.minimum() if value is None else float(value))

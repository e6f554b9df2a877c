"""What a method can be told beside bits and groups: a form of the fields that it has, and nothing else."""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import QSignalBlocker, QTimer, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from app.glossary import explain
from app.models.method_fields import FIELDS, Chosen, Field, words_of
from app.widgets.imatrix_row import ImatrixRow
from app.widgets.text_row import TextRow
from core.jobs import MethodOptions
from core.methods.table import Method

TYPING_MS = 400
_TEXT_MARGIN = 6
Editor = QCheckBox | QComboBox | QDoubleSpinBox


class MethodSettings(QWidget):
    """Signals: changed() when a choice is another. `values` are fields of MethodOptions.

    For tests: objectNames of the editors are the names of the fields, prefixed with `method_`; `method_skip` for the
    layers left out.
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("transparent", "true")
        self._soon = QTimer(self, singleShot=True, interval=TYPING_MS)
        self._soon.timeout.connect(self.changed)
        self._method: Method | None = None
        self.labels: dict[str, QLabel] = {}
        self.editors: dict[str, Editor] = {field.name: self._make(field) for field in FIELDS}
        self.imatrix = ImatrixRow(theme, "method_")
        self.imatrix.changed.connect(self.changed)
        self.text = TextRow(theme)
        self.text.changed.connect(self.changed)
        self.skip = self._make_skip()
        self._compose()

    # ------------------------------------------------------------ what is chosen

    @property
    def is_asymmetric(self) -> bool:
        """Whether integers have zero points, where the method leaves that open."""
        return bool(self._value("asymmetric"))

    def chosen(self, method: Method, bits: int) -> Chosen:
        """What decides which fields count, of the choices here that the method has."""
        found = {
            field.name: self._value(field.name)
            for field in FIELDS
            if field.name in ("range", "asymmetric", "activations", "activation_range", "prestep")
        }
        has_prestep = "prestep" in method.options
        activations = found["activations"] or method.activations[0]
        return Chosen(
            method,
            bits,
            found["range"] or "",
            bool(found["asymmetric"]),
            activations=activations if activations in method.activations else method.activations[0],
            activation_range=found["activation_range"] or "",
            prestep=(found["prestep"] or "") if has_prestep else "",
        )

    @property
    def values(self) -> dict[str, Any]:
        """What is chosen of the fields that count, by field of MethodOptions."""
        shown = [field for field in FIELDS if not self.editors[field.name].isHidden()]
        values = {field.name: self._value(field.name) for field in shown}
        values["skip"] = tuple(self.skip.text().split())
        if not self.text.isHidden():
            values["text"] = self.text.text
        if not self.imatrix.isHidden():
            values["imatrix"] = self.imatrix.path
        return values

    @property
    def problem(self) -> str:
        """The first expression that is none, in words; '' where all are."""
        for word in self.skip.text().split():
            try:
                re.compile(word)
            except re.error as error:
                return self.tr("{0} is no regular expression: {1}.").format(word, error)
        return ""

    def count(self) -> int:
        """How many choices differ from what they are at first."""
        values = self.values
        return sum(value != MethodOptions.model_fields[name].default for name, value in values.items())

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
            for field in FIELDS:
                self._fill(field, chosen.method)
        for field in FIELDS:
            counts = field.counts(chosen)
            self.editors[field.name].setVisible(counts)
            if field.name in self.labels:
                self.labels[field.name].setVisible(counts)
        self.text.setVisible(chosen.is_calibrated)
        has_importance = "imatrix" in chosen.method.options and chosen.is_searched and not chosen.prestep
        self.imatrix.setVisible(has_importance)

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
        editor.setObjectName(f"method_{field.name}")
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
        box.setRange(*field.limits)
        box.setSingleStep(field.step)
        box.setGroupSeparatorShown(True)
        box.lineEdit().setTextMargins(_TEXT_MARGIN, 0, 0, 0)
        box.setValue(float(MethodOptions.model_fields[field.name].default))
        box.valueChanged.connect(self._soon.start)
        return box

    def _make_skip(self) -> QLineEdit:
        line = QLineEdit()
        line.setObjectName("method_skip")
        line.setPlaceholderText(self.tr("expressions, such as down_proj"))
        line.textEdited.connect(self._soon.start)
        return line

    def _compose(self) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        for at, field in enumerate(FIELDS):
            if field.name in self.labels:
                grid.addWidget(self.labels[field.name], at, 0)
                grid.addWidget(self.editors[field.name], at, 1)
            else:
                grid.addWidget(self.editors[field.name], at, 0, 1, 2)
        label = QLabel(self.tr("Leave in 16 bits"))
        label.setBuddy(self.skip)
        explain(label, "skipped_layers")
        grid.addWidget(label, len(FIELDS), 0)
        grid.addWidget(self.skip, len(FIELDS), 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.setSpacing(8)
        layout.addWidget(self.text)
        layout.addLayout(grid)
        layout.addWidget(self.imatrix)
        layout.addStretch(1)

    # ------------------------------------------------------------ reactions

    def _fill(self, field: Field, method: Method) -> None:
        """Offers what the method has of a choice, and keeps what was chosen where it has that too."""
        editor = self.editors[field.name]
        if not isinstance(editor, QComboBox):
            return
        before = editor.currentData()
        with QSignalBlocker(editor):
            editor.clear()
            for value, words in field.choices(method).items():
                editor.addItem(words_of(words), value)
            editor.setCurrentIndex(max(editor.findData(before), 0))

    def _value(self, name: str) -> Any:
        """What an editor says, in the type of the field."""
        editor = self.editors[name]
        if isinstance(editor, QComboBox):
            return editor.currentData()
        if isinstance(editor, QCheckBox):
            return editor.isChecked()
        return round(editor.value()) if editor.decimals() == 0 else editor.value()


def _set(editor: Editor, value: Any) -> None:
    if isinstance(editor, QComboBox):
        editor.setCurrentIndex(max(editor.findData(value), 0))
    elif isinstance(editor, QCheckBox):
        editor.setChecked(bool(value))
    else:
        editor.setValue(float(value))

"""What a method can be told beside bits and groups: a form of the fields that it has, and nothing else."""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

from app.glossary import explain
from app.models.method_fields import FIELDS, Chosen
from app.widgets.field_form import FieldForm
from app.widgets.imatrix_row import ImatrixRow
from app.widgets.text_row import TextRow
from core.jobs import MethodOptions
from core.methods.table import Method

# Fields that others depend on.
_DECIDING = ("range", "asymmetric", "activations", "activation_range", "prestep")


class MethodSettings(QWidget):
    """Signals: changed() when a choice is another. `values` are fields of MethodOptions.

    For tests: `form` has the editors, whose objectNames are the names of the fields, prefixed with `method_`;
    `method_skip` for the layers left out.
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("transparent", "true")
        self.form = FieldForm(FIELDS, MethodOptions, "method_")
        self.form.changed.connect(self.changed)
        self.imatrix = ImatrixRow(theme, "method_")
        self.imatrix.changed.connect(self.changed)
        self.text = TextRow(theme)
        self.text.label.setMinimumWidth(self.form.label_width)
        self.text.changed.connect(self.changed)
        self.skip = self._make_skip()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.setSpacing(8)
        for part in (self.text, self.form, self.imatrix):
            layout.addWidget(part)
        layout.addStretch(1)

    # ------------------------------------------------------------ what is chosen

    @property
    def is_asymmetric(self) -> bool:
        """Whether integers have zero points, where the method leaves that open."""
        return bool(self.form.value("asymmetric"))

    def chosen(self, method: Method, bits: int) -> Chosen:
        """What decides which fields count, of the choices here that the method has."""
        found = {name: self.form.value(name) for name in _DECIDING}
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
        values = self.form.values | {"skip": tuple(self.skip.text().split())}
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
        self.form.set_values(changes)

    def show_for(self, chosen: Chosen) -> None:
        """Shows the fields that count with such choices, and what of each the method has."""
        self.form.show_for(chosen)
        self.text.setVisible(chosen.is_calibrated)
        has_importance = "imatrix" in chosen.method.options and chosen.is_searched and not chosen.prestep
        self.imatrix.setVisible(has_importance)

    # ------------------------------------------------------------ composition

    def _make_skip(self) -> QLineEdit:
        line = QLineEdit()
        line.setObjectName("method_skip")
        line.setPlaceholderText(self.tr("expressions, such as down_proj"))
        line.textEdited.connect(self.form.soon.start)
        label = QLabel(self.tr("Leave in 16 bits"))
        label.setBuddy(line)
        explain(label, "skipped_layers")
        self.form.add_row(label, line)
        return line

"""Whether GPTQ solves the layers of a GGUF file, the text that it looks at, and how it solves them."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.glossary import explain
from app.models.method_fields import FIELDS, Chosen
from app.widgets.field_form import FieldForm
from app.widgets.text_row import TextRow
from core.jobs import GptqOptions
from core.methods.table import METHOD

_GPTQ = METHOD["gptq"]


class GptqRow(QWidget):
    """A box and, where it is ticked, the choice of a text. Signals: changed() when something else is chosen.

    more_wanted() when the settings are to be shown: `settings`, a widget that is put elsewhere. For tests: objectName
    `solve_gptq` of the box, `more_gptq` of the link, `text` is the TextRow, editors of `form` are `gptq_FIELD`.
    """

    changed = Signal()
    more_wanted = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QCheckBox(self.tr("Sol&ve layers with GPTQ (needs a text)"))
        self.box.setObjectName("solve_gptq")
        explain(self.box, "gptq")
        self.text = TextRow(theme)
        self.text.button.setObjectName("choose_gptq_text")
        self.form = FieldForm(
            [field for field in FIELDS if field.name in GptqOptions.model_fields], GptqOptions, "gptq_"
        )
        self.form.show_for(Chosen(_GPTQ, _GPTQ.bits[0], is_calibrated=True))
        self.settings = self._make_settings()
        self.more = self._make_more()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(self.box, 1)
        head.addWidget(self.more)
        layout.addLayout(head)
        layout.addWidget(self.text)
        for part in (self.text, self.more, self.settings):
            part.hide()
            self.box.toggled.connect(part.setVisible)
        self.box.toggled.connect(self.changed)
        self.text.changed.connect(self.changed)
        self.form.changed.connect(self.changed)

    @property
    def options(self) -> GptqOptions | None:
        """What is chosen; None where the layers are not solved."""
        if not self.box.isChecked():
            return None
        return GptqOptions.model_validate({"text": self.text.text, **self.form.values})

    def count(self) -> int:
        """How many of the settings differ from what they are at first."""
        return self.form.count() if self.box.isChecked() else 0

    def _make_settings(self) -> QWidget:
        settings = QWidget()
        settings.setProperty("transparent", "true")
        title = QLabel(self.tr("GPTQ"))
        title.setProperty("role", "section")
        layout = QVBoxLayout(settings)
        layout.setContentsMargins(0, 0, 8, 8)
        layout.setSpacing(8)
        layout.addWidget(title)
        layout.addWidget(self.form)
        return settings

    def _make_more(self) -> QPushButton:
        more = QPushButton(self.tr("More…"))
        more.setObjectName("more_gptq")
        more.setProperty("link", "true")
        more.setAccessibleName(self.tr("Settings of GPTQ"))
        more.clicked.connect(self.more_wanted)
        return more

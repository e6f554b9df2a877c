"""Whether GPTQ solves the layers of a GGUF file, and the text that it looks at."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from app.glossary import explain
from app.widgets.text_row import TextRow
from core.jobs import GptqOptions


class GptqRow(QWidget):
    """A box and, where it is ticked, the choice of a text. Signals: changed() when something else is chosen.

    For tests: objectName `solve_gptq` of the box, `text` is the TextRow.
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QCheckBox(self.tr("Sol&ve layers with GPTQ (needs a text)"))
        self.box.setObjectName("solve_gptq")
        explain(self.box, "gptq")
        self.text = TextRow(theme)
        self.text.button.setObjectName("choose_gptq_text")
        self.text.hide()
        self.box.toggled.connect(self.text.setVisible)
        self.box.toggled.connect(self.changed)
        self.text.changed.connect(self.changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.box)
        layout.addWidget(self.text)

    @property
    def options(self) -> GptqOptions | None:
        """What is chosen; None where the layers are not solved."""
        return GptqOptions(text=self.text.text) if self.box.isChecked() else None

"""What each part of a model takes in the file, before and after, as bars with the finding in words."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.models.sentences import saving
from app.widgets.memory_bars import SizeBars
from core.jobs import QuantizeResult


class SizeView(QWidget):
    """Shows a QuantizeResult; `bars` are its SizeBars."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bars = SizeBars(theme)
        self._words = QLabel()
        self._words.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addWidget(self._words)
        layout.addWidget(self.bars)
        layout.addStretch(1)

    def set_result(self, result: QuantizeResult) -> None:
        """Shows another result."""
        self.bars.set_result(result)
        self._words.setText(
            self.tr("What each part of the model takes in the file: {0} in all.").format(
                saving(result.source_bytes, result.bytes)
            )
        )
        self.setAccessibleName(self._words.text())

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the bars for CSV."""
        return self.bars.table()

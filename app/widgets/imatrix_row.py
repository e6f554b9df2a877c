"""The choice of an importance matrix: a button that names the file, and one that takes it away again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QWidget

from app.glossary import explain


class ImatrixRow(QWidget):
    """A label and two buttons. Signals: changed() when another file, or none, is chosen.

    For tests: objectNames `choose_imatrix` and `remove_imatrix`.
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._path = ""
        label = QLabel(self.tr("&Importance matrix"))
        self.choose_button = QPushButton()
        self.choose_button.setObjectName("choose_imatrix")
        self.choose_button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.remove_button = QToolButton()
        self.remove_button.setObjectName("remove_imatrix")
        self.remove_button.setAccessibleName(self.tr("Use no importance matrix"))
        self.remove_button.setToolTip(self.remove_button.accessibleName())
        theme.decorate(self.remove_button, "close")
        label.setBuddy(self.choose_button)
        explain(label, "importance")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(label)
        layout.addWidget(self.choose_button, 1)
        layout.addWidget(self.remove_button)
        self.choose_button.clicked.connect(self._browse)
        self.remove_button.clicked.connect(lambda: self.set_path(""))
        self._show()

    @property
    def path(self) -> str:
        """The chosen file, or ''."""
        return self._path

    def set_path(self, path: str) -> None:
        """Chooses a file, or none."""
        if path != self._path:
            self._path = path
            self._show()
            self.changed.emit()

    def forget(self) -> None:
        """Chooses none, silently: another model was chosen."""
        self._path = ""
        self._show()

    def _show(self) -> None:
        name = Path(self._path).name if self._path else self.tr("None")
        self.choose_button.setText(name.replace("&", "&&"))
        self.choose_button.setAccessibleName(self.tr("Importance matrix: {0}").format(name))
        self.choose_button.setToolTip(self._path or self.tr("Choose a file made by llama.cpp's llama-imatrix"))
        self.remove_button.setVisible(bool(self._path))

    def _browse(self) -> None:
        kinds = self.tr("Importance matrices (*.gguf *.dat *.imatrix)") + ";;" + self.tr("All files (*)")
        chosen, _ = QFileDialog.getOpenFileName(
            self, self.tr("Importance matrix"), str(Path(self._path).parent if self._path else Path.home()), kinds
        )
        if chosen:
            self.set_path(chosen)

"""The choice of an importance matrix: a file, or one to be computed first from a text; and the way back to none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMenu, QPushButton, QSizePolicy, QToolButton, QWidget

from app.glossary import explain
from app.widgets.texts import add_sources, text_word


class ImatrixRow(QWidget):
    """A label and three buttons. Signals: changed() when another file, another text, or none is chosen.

    path: the chosen file, or ''. text: what one is to be computed from, () = the program's own, None = not at all.
    prefix: of the objectNames. For tests: objectNames `choose_imatrix`,
    `compute_imatrix` (its menu: `menu`) and `remove_imatrix`.
    """

    changed = Signal()

    def __init__(self, theme: Any, prefix: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.path = ""
        self.text: tuple[str, ...] | None = None
        self.choose_button = QPushButton()
        self.choose_button.setObjectName(f"{prefix}choose_imatrix")
        self.choose_button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.choose_button.clicked.connect(self._browse)
        self.compute_button = self._make_compute()
        self.compute_button.setObjectName(f"{prefix}compute_imatrix")
        self.remove_button = QToolButton()
        self.remove_button.setObjectName(f"{prefix}remove_imatrix")
        self.remove_button.setAccessibleName(self.tr("Use no importance matrix"))
        self.remove_button.setToolTip(self.remove_button.accessibleName())
        theme.decorate(self.remove_button, "close")
        self.remove_button.clicked.connect(lambda: self.set_path(""))
        label = QLabel(self.tr("&Importance"))
        label.setBuddy(self.choose_button)
        explain(label, "importance")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(label)
        layout.addWidget(self.choose_button, 1)
        layout.addWidget(self.compute_button)
        layout.addWidget(self.remove_button)
        self._show()

    def set_path(self, path: str) -> None:
        """Chooses a file, or none."""
        self._set(path, None)

    def set_text(self, text: tuple[str, ...]) -> None:
        """Chooses that one is computed first from these texts, () = the program's own."""
        self._set("", text)

    def forget(self) -> None:
        """Chooses none, silently: another model was chosen."""
        self.path, self.text = "", None
        self._show()

    def _make_compute(self) -> QPushButton:
        self.menu = QMenu(self)
        self.menu.addAction(self.tr("The texts that come with the program")).triggered.connect(
            lambda: self.set_text(())
        )
        add_sources(self.menu, self, self.tr("Text to compute from"), self.set_text)
        button = QPushButton(self.tr("Compute"))
        button.setMenu(self.menu)
        button.setToolTip(self.tr("Runs the model over a text before the quantization, once, and keeps the result"))
        return button

    def _set(self, path: str, text: tuple[str, ...] | None) -> None:
        if (path, text) != (self.path, self.text):
            self.path, self.text = path, text
            self._show()
            self.changed.emit()

    def _show(self) -> None:
        name, tip = self.tr("None"), self.tr("Choose a file made by `imatrix` here or by llama.cpp's llama-imatrix")
        if self.path:
            name, tip = Path(self.path).name, self.path
        elif self.text is not None:
            name = ", ".join(text_word(text) for text in self.text) or self.tr("Built-in texts")
            tip = self.tr("Computed before the quantization, once, and kept for the next time")
        self.choose_button.setText(name.replace("&", "&&"))
        self.choose_button.setAccessibleName(self.tr("Importance matrix: {0}").format(name))
        self.choose_button.setToolTip(tip)
        self.remove_button.setVisible(bool(self.path) or self.text is not None)

    def _browse(self) -> None:
        kinds = self.tr("Importance matrices (*.gguf *.dat *.imatrix)") + ";;" + self.tr("All files (*)")
        chosen, _ = QFileDialog.getOpenFileName(
            self, self.tr("Importance matrix"), str(Path(self.path).parent if self.path else Path.home()), kinds
        )
        if chosen:
            self.set_path(chosen)

"""About Bitwright: what it is, its version, where it keeps things, and its licences."""

from __future__ import annotations

import platform

import PySide6.QtCore
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.cli import VERSION
from app.logs import log_path
from app.settings import config_dir
from core.store import data_dir


class AboutDialog(QDialog):
    """A plain dialog of facts that can be selected and copied."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("About Bitwright"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 24, 24, 16)
        layout.setSpacing(16)
        title = QLabel("Bitwright")
        title.setProperty("role", "title")
        layout.addWidget(title)
        layout.addWidget(QLabel(self.tr("Shrink language models on your own computer, and see what it cost.")))
        layout.addLayout(self._facts())
        layout.addWidget(QLabel(self.tr("Apache License 2.0. Nothing is sent from this computer unless you ask.")))
        close = QPushButton(self.tr("Close"))
        close.clicked.connect(self.accept)
        layout.addWidget(close, alignment=Qt.AlignmentFlag.AlignRight)

    def _facts(self) -> QFormLayout:
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        for name, fact in (
            (self.tr("Version"), VERSION),
            (self.tr("Qt and Python"), f"{PySide6.QtCore.__version__}, {platform.python_version()}"),
            (self.tr("Settings"), str(config_dir())),
            (self.tr("Queue and history"), str(data_dir())),
            (self.tr("Log"), str(log_path())),
        ):
            label = QLabel(fact)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            form.addRow(name, label)
        return form

"""The error dialog: what happened, why, what to do, with details that can be copied and a way to the log."""

from __future__ import annotations

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QFont, QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from app.logs import log_path
from app.models.window_words import report_in_window
from app.widgets.error_words import sentences
from core.errors import ErrorReport

WIDTH = 560


class ErrorDialog(QDialog):
    """Shows one ErrorReport. The details are folded away until they are asked for."""

    def __init__(self, report: ErrorReport, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Bitwright: something went wrong"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(WIDTH)
        self._report = report = report_in_window(report)
        self._details = self._make_details()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 24, 24, 16)
        layout.setSpacing(8)
        layout.addWidget(_paragraph(f"{report.what.rstrip('.')}.", QFont.Weight.DemiBold))
        if report.why:
            layout.addWidget(_paragraph(f"{report.why.rstrip('.')}."))
        for sentence in sentences(report)[1:]:
            layout.addWidget(_paragraph(sentence))
        layout.addWidget(self._details, 1)
        layout.addSpacing(8)
        layout.addLayout(self._make_buttons())

    def as_text(self) -> str:
        """Everything the dialog knows, for the clipboard."""
        report = self._report
        return "\n".join(part for part in (report.what, report.why, report.remedy, report.details) if part)

    def _make_details(self) -> QPlainTextEdit:
        details = QPlainTextEdit(self._report.details)
        details.setReadOnly(True)
        details.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        details.setMinimumHeight(180)
        details.setAccessibleName(self.tr("Details"))
        details.hide()
        return details

    def _make_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        if self._report.details:
            show = QPushButton(self.tr("Show details"))
            show.setCheckable(True)
            show.toggled.connect(self._details.setVisible)
            row.addWidget(show)
        copy = QPushButton(self.tr("Copy"))
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.as_text()))
        open_log = QPushButton(self.tr("Open log"))
        open_log.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_path()))))
        close = QPushButton(self.tr("Close"))
        close.setDefault(True)
        close.clicked.connect(self.accept)
        row.addWidget(copy)
        row.addWidget(open_log)
        row.addStretch(1)
        row.addWidget(close)
        return row


def _paragraph(words: str, weight: QFont.Weight = QFont.Weight.Normal) -> QLabel:
    label = QLabel(words)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    font = label.font()
    font.setWeight(weight)
    label.setFont(font)
    return label

"""The head of one result: its finding in a sentence, its figures, and what can be done with the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from app import text
from app.models.names import model_title
from app.models.results import decibels
from app.models.sentences import result_sentence
from app.widgets.elided_label import ElidedLabel
from app.widgets.figure_row import FigureRow
from core.jobs import CheckpointResult, QuantizeResult

# How much of a hash is shown; all of it is copied.
SHOWN = 6


class ResultHead(QWidget):
    """Shows a QuantizeResult.

    Signals: chat_requested() for its file beside the source, measure_requested() for what it costs on a text,
    report_requested() to save a report, publish_requested(path) to upload its file or folder.
    """

    chat_requested = Signal()
    measure_requested = Signal()
    report_requested = Signal()
    publish_requested = Signal(str)

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._output = self._sha256 = ""
        self._is_checkpoint = False
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self.sentence = QLabel()
        self.sentence.setObjectName("result_sentence")
        self.sentence.setWordWrap(True)
        self.note = QLabel()
        self.note.setObjectName("output_note")
        self.note.setProperty("role", "muted")
        self.note.setWordWrap(True)
        self.folder = self._tool(theme, "folder", "open_folder", self.tr("Open its folder"))
        self.folder.clicked.connect(self._open_folder)
        self.report = self._tool(theme, "file", "save_result_report", self.tr("Save a report…"))
        self.report.clicked.connect(lambda: self.report_requested.emit())
        self.publish = self._tool(theme, "publish", "publish_result", self.tr("Publish it on Hugging Face…"))
        self.publish.clicked.connect(lambda: self.publish_requested.emit(self._output))
        self.measure = QPushButton(self.tr("Mea&sure…"))
        self.measure.setObjectName("measure_result")
        self.measure.setToolTip(self.tr("Perplexity and divergence from the source, measured on text"))
        theme.decorate(self.measure, "results")
        self.measure.clicked.connect(lambda: self.measure_requested.emit())
        self.chat = QPushButton(self.tr("C&hat"))
        self.chat.setObjectName("chat_button")
        self.chat.setProperty("primary", True)
        self.chat.clicked.connect(self.chat_requested)
        theme.decorate(self.chat, "chat", "on_accent")
        self._make_figures(theme)
        self._lay_out()

    def show_result(self, result: QuantizeResult) -> None:
        """Shows this result."""
        self._output, self._sha256 = result.output, result.sha256
        self._is_checkpoint = isinstance(result, CheckpointResult)
        self._title.setText(model_title(result.output))
        self._title.setToolTip(result.output)
        self.sentence.setText(result_sentence(result))
        total = result.total
        snr = decibels(total.snr_db) + (" dB" if total.snr_db is not None else "")
        for label, words in (
            (self._size, f"{text.size(result.source_bytes)} → {text.size(result.bytes)}"),
            (self._bits, f"{text.bits(result.bpw_before)} → {text.bits(result.bpw)}"),
            (self._snr, snr),
            (self._rmse, text.number(total.relative_rmse)),
            (self._time, text.duration(result.seconds)),
            (self._memory, text.size(result.peak_memory_bytes)),
        ):
            label.setText(words)
        self._hash.setText(f"{result.sha256[:SHOWN]}…")
        self._hash.setToolTip(self.tr("Copy the SHA-256 of the weights: {0}").format(result.sha256))
        self.check_file()

    def check_file(self) -> None:
        """Looks whether the output is still there; buttons that need it are live only then."""
        there = Path(self._output).exists()
        words = "" if there else self.tr("It is no longer where it was written; the figures are kept.")
        if there and self._is_checkpoint:
            words = self.tr("Runs in transformers and vLLM. Chat here needs a GGUF file of the model.")
        self.note.setText(words)
        self.note.setVisible(bool(words))
        self.chat.setEnabled(there and not self._is_checkpoint)
        self.chat.setToolTip(words or self.tr("The result and its source side by side"))
        self.folder.setEnabled(Path(self._output).parent.is_dir())
        self.publish.setEnabled(there)

    def _tool(self, theme: Any, icon: str, name: str, words: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName(name)
        button.setToolTip(words)
        button.setAccessibleName(words)
        theme.decorate(button, icon)
        return button

    def _make_figures(self, theme: Any) -> None:
        self.figures = FigureRow()
        self._size = self.figures.add(self.tr("Size"))
        self._bits = self.figures.add(self.tr("Bits per weight"), "bpw")
        self._snr = self.figures.add(self.tr("SNR"), "snr")
        self._rmse = self.figures.add(self.tr("Relative RMSE"), "relative_rmse")
        self._time = self.figures.add(self.tr("Time"))
        self._memory = self.figures.add(self.tr("Peak memory"), "peak_memory")
        self._hash = QPushButton()
        self._hash.setObjectName("copy_sha256")
        self._hash.setProperty("link", "true")
        self._hash.setStyleSheet("QPushButton { padding: 0; min-height: 0; }")
        self._hash.setAccessibleName(self.tr("Copy the SHA-256"))
        self._hash.clicked.connect(self._copy_hash)
        theme.decorate(self._hash, "copy", "accent")
        self.figures.add_widget(self.tr("SHA-256"), self._hash, "sha256")

    def _lay_out(self) -> None:
        first = QHBoxLayout()
        first.setSpacing(8)
        first.addWidget(self._title, 1)
        for button in (self.folder, self.report, self.publish, self.measure, self.chat):
            first.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(first)
        layout.addWidget(self.sentence)
        layout.addWidget(self.note)
        layout.addWidget(self.figures)

    def _open_folder(self) -> None:
        path = Path(self._output)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path if path.is_dir() else path.parent)))

    def _copy_hash(self) -> None:
        QGuiApplication.clipboard().setText(self._sha256)
        self._hash.setText(self.tr("Copied"))
        QTimer.singleShot(1500, self._hash, lambda: self._hash.setText(f"{self._sha256[:SHOWN]}…"))

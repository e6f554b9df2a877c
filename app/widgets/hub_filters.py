"""What to look for on the Hub: words, owner, task, library, size, format, order, and the context it is to run at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from app import text
from app.glossary import explain
from app.theme import Theme
from app.widgets.flow import FlowLayout
from app.widgets.side_by_side import tools
from core.jobs import SearchJob

CONTEXTS = (2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)
BILLION = 10**9
LETTERS = 7
# What a line has on both sides of its text, and some room for longer names.
AROUND_TEXT = 56
# The Hub's own names; what the list does not have can be typed.
TASKS = (
    "text-generation",
    "image-text-to-text",
    "feature-extraction",
    "sentence-similarity",
    "text-classification",
    "translation",
    "summarization",
)
LIBRARIES = ("transformers", "gguf", "peft", "sentence-transformers", "mlx", "onnx")


class HubFilters(QWidget):
    """The box for words, `query`, and the choice of a context, `judged`, are placed by whoever shows this.

    changed: (SearchJob) whenever anything that is looked for is another. context_changed: tokens.
    """

    changed = Signal(object)
    context_changed = Signal(int)

    def __init__(self, theme: Theme, context: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.query = self._make_query()
        self.author = QLineEdit()
        self.format = self._choice("hub_format", self._formats())
        self.task = self._choice("hub_task", [(self.tr("Any task"), ""), *((name, name) for name in TASKS)])
        self.library = self._choice("hub_library", [(self.tr("Any library"), ""), *((n, n) for n in LIBRARIES)])
        self.size = self._choice("hub_size", self._sizes())
        self.sort = self._choice("hub_sort", self._orders())
        self.context = self._choice("hub_context", [(text.exact(tokens), tokens) for tokens in CONTEXTS])
        self.context.setCurrentIndex(max(self.context.findData(context), 0))
        self._compose()
        self._connect()

    def job(self) -> SearchJob:
        """What is asked for now."""
        least, most = self.size.currentData()
        return SearchJob(
            query=self.query.text(),
            author=self.author.text().strip(),
            task=self.task.currentData(),
            library=self.library.currentData(),
            format=self.format.currentData(),
            least=least,
            most=most,
            sort=self.sort.currentData(),
        )

    def is_narrowed(self) -> bool:
        """Whether anything but the words and the order narrows the search."""
        narrow = (self.author.text().strip(), self.task.currentData(), self.library.currentData())
        return any(narrow) or bool(self.format.currentData()) or self.size.currentIndex() > 0

    def clear(self) -> None:
        """Everything but the words and the order as at first."""
        for box in (self.format, self.task, self.library, self.size):
            box.setCurrentIndex(0)
        self.author.clear()

    def focus(self) -> None:
        """Into the box of the words, which are selected."""
        self.query.setFocus()
        self.query.selectAll()

    # ------------------------------------------------------------ composition

    def _make_query(self) -> QLineEdit:
        box = QLineEdit()
        box.setObjectName("hub_query")
        box.setClearButtonEnabled(True)
        words = self.tr("Search models on Hugging Face, or paste an address")
        box.setPlaceholderText(words)
        box.setAccessibleName(words)
        find = QAction(self)
        self._theme.decorate(find, "search", "muted")
        box.addAction(find, QLineEdit.ActionPosition.LeadingPosition)
        return box

    def _choice(self, name: str, entries: Sequence[tuple[str, Any]]) -> QComboBox:
        box = QComboBox()
        box.setObjectName(name)
        for words, value in entries:
            box.addItem(words, value)
        # As wide as what is usually shown; the list itself shows every entry whole.
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(LETTERS)
        box.view().setMinimumWidth(box.view().sizeHintForColumn(0) + 24)
        return box

    def _formats(self) -> list[tuple[str, Any]]:
        return [(self.tr("Any format"), ""), ("safetensors", "safetensors"), ("GGUF", "gguf")]

    def _sizes(self) -> list[tuple[str, Any]]:
        steps = ((0, 0), (0, BILLION), (BILLION, 4 * BILLION), (4 * BILLION, 9 * BILLION), (9 * BILLION, 35 * BILLION),
                 (35 * BILLION, 0))  # fmt: skip
        words = (
            self.tr("Any size"),
            self.tr("Up to 1 B"),
            self.tr("1 to 4 B"),
            self.tr("4 to 9 B"),
            self.tr("9 to 35 B"),
            self.tr("Over 35 B"),
        )
        return list(zip(words, steps, strict=True))

    def _orders(self) -> list[tuple[str, Any]]:
        return [
            (self.tr("Trending"), "trending"),
            (self.tr("Most downloads"), "downloads"),
            (self.tr("Most likes"), "likes"),
            (self.tr("Updated last"), "last_modified"),
            (self.tr("Newest"), "created"),
        ]

    def _compose(self) -> None:
        self.author.setObjectName("hub_author")
        words = self.tr("Any owner")
        self.author.setPlaceholderText(words)
        self.author.setFixedWidth(self.author.fontMetrics().horizontalAdvance(words) + AROUND_TEXT)
        for box, words in (
            (self.author, self.tr("Owner of the models")),
            (self.format, self.tr("Format of the files")),
            (self.task, self.tr("Task")),
            (self.library, self.tr("Library")),
            (self.size, self.tr("Number of parameters")),
            (self.sort, self.tr("Order of the results")),
        ):
            box.setAccessibleName(words)
            box.setToolTip(words)
        label = QLabel(self.tr("Judged at conte&xt"))
        label.setProperty("role", "muted")
        label.setBuddy(self.context)
        explain(label, "context")
        self.judged = tools(label, self.context)
        flow = FlowLayout(spacing=8, line_spacing=8)
        for part in (self.sort, self.format, self.size, self.task, self.library, self.author):
            flow.addWidget(part)
        self._lower = QWidget()
        self._lower.setLayout(flow)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._lower)

    def _connect(self) -> None:
        for line in (self.query, self.author):
            line.textChanged.connect(self._tell)
        for box in (self.format, self.task, self.library, self.size, self.sort):
            box.currentIndexChanged.connect(self._tell)
        self.context.currentIndexChanged.connect(lambda _at: self.context_changed.emit(self.context.currentData()))

    def _tell(self) -> None:
        self.changed.emit(self.job())

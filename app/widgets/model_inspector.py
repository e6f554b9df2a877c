"""The inspector of one model: what it is in words, what to do with it, its tensors, metadata and weight histogram."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSplitter,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.models.library import describe, facts, shown_name
from app.models.tensors import MetadataModel, TensorsModel
from app.theme import Theme
from app.widgets.column_widths import Columns
from app.widgets.elided_label import ElidedLabel
from app.widgets.filter_table import FilterTable, monospace
from app.widgets.run_memory import RunMemory
from core.jobs import ModelSummary, TensorStats

FACT_COLUMNS = 2
PLOT_HEIGHT = 192


class ModelInspector(QWidget):
    """Shows a summary at once and its tensors when they come. Emits what the user wants done with the model.

    menu: all that can be done with it, behind the last of the buttons. For tests: objectNames `inspectorQuantize`,
    `inspectorMeasure`, `inspectorMore`.
    """

    quantize_clicked = Signal()
    chat_clicked = Signal()
    measure_clicked = Signal()
    tensor_selected = Signal(str)

    def __init__(self, theme: Theme, menu: QMenu) -> None:
        super().__init__()
        self._theme = theme
        self._histogram: QWidget | None = None
        self._title = QLabel()
        self._title.setProperty("role", "section")
        self._title.setWordWrap(True)
        self._path = ElidedLabel()
        self._path.setProperty("role", "caption")
        self._words = QLabel()
        self._words.setWordWrap(True)
        self._facts = QGridLayout()
        self._facts.setHorizontalSpacing(12)
        self._facts.setVerticalSpacing(4)
        self.tensors = TensorsModel(monospace(), self)
        self.metadata = MetadataModel(monospace(), self)
        self.tensor_table = self._make_tensor_table()
        self._plot_place = self._make_plot_place()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._title)
        layout.addWidget(self._path)
        layout.addWidget(self._words)
        layout.addLayout(self._facts)
        layout.addSpacing(4)
        layout.addLayout(self._make_buttons(menu))
        layout.addSpacing(4)
        layout.addWidget(self._make_tabs(), 1)

    def show_model(self, model: ModelSummary) -> None:
        """Shows a model; where the summary carries no tensors yet, the tables are emptied until they come."""
        self._title.setText(shown_name(model))
        self._path.setText(model.path)
        self._words.setText(describe(model))
        self._show_facts(model)
        self.tensors.set_rows(model.tensors)
        self.metadata.set_metadata(model.metadata)
        is_gguf = model.format == "gguf"
        self._chat.setEnabled(is_gguf)
        self._chat.setToolTip(
            self.tr("Talk to this model")
            if is_gguf
            else self.tr("Chat needs a GGUF file: make one on the Quantize page")
        )
        self.memory.show_result(None)
        self.say(self.tr("Choose a tensor to see how its weights are spread."))

    def show_stats(self, stats: TensorStats) -> None:
        """Draws the histogram of the selected tensor; the plot library is loaded for the first one."""
        from app.widgets.histogram import Histogram

        if self._histogram is None:
            self._histogram = Histogram(self._theme)
            self._histogram.setObjectName("histogram")
            self._plot_layout.addWidget(self._histogram, 1)
        assert isinstance(self._histogram, Histogram)
        self._histogram.show_stats(stats)
        self._histogram.show()
        self._plot_title.setText(stats.name)
        self._hint.hide()

    def say(self, words: str) -> None:
        """Shows words in the place of the histogram."""
        if self._histogram is not None:
            self._histogram.hide()
        self._plot_title.setText(self.tr("Weights"))
        self._hint.setText(words)
        self._hint.show()

    def _show_facts(self, model: ModelSummary) -> None:
        while (item := self._facts.takeAt(0)) is not None:
            item.widget().hide()
            item.widget().deleteLater()
        for number, (name, value) in enumerate(facts(model)):
            row, column = divmod(number, FACT_COLUMNS)
            label = QLabel(name)
            label.setProperty("role", "muted")
            shown = QLabel(value)
            shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._facts.addWidget(label, row, 2 * column)
            self._facts.addWidget(shown, row, 2 * column + 1)
        self._facts.setColumnStretch(1, 1)
        self._facts.setColumnStretch(3, 1)

    def _make_buttons(self, menu: QMenu) -> QHBoxLayout:
        quantize = QPushButton(self.tr("Quantize"))
        quantize.setProperty("primary", True)
        quantize.setObjectName("inspectorQuantize")
        quantize.clicked.connect(self.quantize_clicked)
        self._chat = QPushButton(self.tr("Chat"))
        self._chat.clicked.connect(self.chat_clicked)
        measure = QPushButton(self.tr("Measure…"))
        measure.setObjectName("inspectorMeasure")
        measure.setToolTip(self.tr("What it lost against its original, on text"))
        measure.clicked.connect(self.measure_clicked)
        more = QToolButton()
        more.setObjectName("inspectorMore")
        more.setToolTip(self.tr("Publish, reveal, copy the path, remove, move to the trash"))
        more.setAccessibleName(self.tr("More"))
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(menu)
        self._theme.decorate(more, "more")
        row = QHBoxLayout()
        row.setSpacing(8)
        for button in (quantize, self._chat, measure):
            row.addWidget(button)
        row.addStretch(1)
        row.addWidget(more)
        return row

    def _make_tabs(self) -> QTabWidget:
        split = QSplitter(Qt.Orientation.Vertical)
        split.setObjectName("models_inspector_split")
        split.setChildrenCollapsible(False)
        split.setHandleWidth(8)
        split.addWidget(self.tensor_table)
        split.addWidget(self._plot_place)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        metadata = FilterTable(self._theme, self.metadata, "metadata")
        metadata.set_texts(
            {"filter": self.tr("Filter metadata"), "name": self.tr("Metadata"), "rows": self.tr("{0} entries")}
        )
        metadata.view.set_columns(Columns((120, 70, 160), rest=self.metadata.column_of("value")))
        tabs = QTabWidget()
        tabs.setDocumentMode(True)
        tabs.tabBar().setDrawBase(False)
        tabs.addTab(split, self.tr("Tensors"))
        tabs.addTab(metadata, self.tr("Metadata"))
        tabs.addTab(self._make_memory(), self.tr("Memory"))
        return tabs

    def _make_memory(self) -> QWidget:
        self.memory = RunMemory(self._theme)
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 12, 0, 0)
        layout.addWidget(self.memory)
        layout.addStretch(1)
        return page

    def _make_tensor_table(self) -> FilterTable:
        table = FilterTable(self._theme, self.tensors, "tensors")
        table.set_texts(
            {"filter": self.tr("Filter by name or type"), "name": self.tr("Tensors"), "rows": self.tr("{0} tensors")}
        )
        size, bits = self.tensors.column_of("bytes"), self.tensors.column_of("bpw")
        table.view.set_columns(Columns((150, 64, 58, 60, 56), spare=(bits, size)))
        table.setMinimumHeight(124)
        table.selected.connect(self._on_tensor)
        return table

    def _make_plot_place(self) -> QWidget:
        self._plot_title = QLabel(self.tr("Weights"))
        self._plot_title.setProperty("role", "section")
        self._hint = QLabel()
        self._hint.setProperty("role", "muted")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setWordWrap(True)
        place = QWidget()
        place.setMinimumHeight(PLOT_HEIGHT)
        self._plot_layout = QVBoxLayout(place)
        self._plot_layout.setContentsMargins(0, 4, 0, 0)
        self._plot_layout.setSpacing(4)
        self._plot_layout.addWidget(self._plot_title)
        self._plot_layout.addWidget(self._hint, 1)
        return place

    def _on_tensor(self, tensor: object) -> None:
        if tensor is not None:
            self.tensor_selected.emit(tensor.name)  # type: ignore[attr-defined]

"""Models compared with their original: plots over tables of the same figures, and where they disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.models.comparisons import (
    CategoriesModel,
    Comparison,
    ComparisonModel,
    Measured,
    TokensModel,
    finding,
    of_categories,
)
from app.widgets.column_widths import Columns
from app.widgets.elided_label import ElidedLabel
from app.widgets.export_button import csv_button
from app.widgets.filter_table import FilterTable
from app.widgets.plot_tabs import PlotTabs

WORDS_WIDTH = 120
PATH = len(ComparisonModel.COLUMNS) - 1
SIZES, KINDS, TOKENS = range(3)


class ComparisonView(QWidget):
    """Shows a Comparison: `show_comparison(comparison)`.

    Signals: chat_requested(model, source) for the model of the selected row; measure_requested(source) to measure more
    models; report_requested() to save a report. For tests: `tabs`, `size_plot`, `bars`, `text`, and the tables
    `models_table`, `kinds_table`, `tokens_table`. Plots are built when first shown.
    """

    chat_requested = Signal(str, str)
    measure_requested = Signal(str)
    report_requested = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.comparison: Comparison | None = None
        self._plots: dict[int, Any] = {}
        self._build()

    # ------------------------------------------------------------ what is shown

    def show_comparison(self, comparison: Comparison) -> None:
        """Shows its models; the selected one stays where it is among them."""
        self.comparison = comparison
        self._title.setText(f"{comparison.title}, {comparison.length}")
        self._title.setToolTip(comparison.result.source)
        self.sentence.setText(finding(comparison))
        self._warnings.setText(" ".join(f"{words}." for words in comparison.result.warnings))
        self._warnings.setVisible(bool(comparison.result.warnings))
        self.models_table.source.set_rows(comparison.models)
        self.kinds_table.source.set_rows(of_categories(comparison.models))
        with QSignalBlocker(self.model_choice):
            chosen = self.model_choice.currentData()
            self.model_choice.clear()
            for model in comparison.models:
                self.model_choice.addItem(model.title, model.name)
            self.model_choice.setCurrentIndex(max(self.model_choice.findData(chosen), 0))
        for plot in (self._plots.get(SIZES), self._plots.get(KINDS)):
            if plot is not None:
                plot.set_comparison(comparison)
        self._show_tokens()
        self._on_model(self.models_table.current())

    def show_plot(self) -> None:
        """Brings the tab's plot and its table to the front, building the plot where this is the first time."""
        at = self.tabs.currentIndex()
        self._plot_stack.setCurrentWidget(self.plot(at))
        self._tables.setCurrentIndex(at)

    def plot(self, at: int) -> Any:
        """The plot of a tab, built on first use."""
        if at not in self._plots:
            self._plots[at] = made = self._make_plot(at)
            self._plot_stack.addWidget(made)
        return self._plots[at]

    def check_files(self) -> None:
        """Chat needs files that llama.cpp can load and that are still there."""
        model = self._chosen()
        paths = (model.name, self.comparison.result.source) if model and self.comparison else ()
        able = bool(paths) and all(path.endswith(".gguf") and Path(path).is_file() for path in paths)
        self.chat.setEnabled(able)
        self.chat.setToolTip(
            self.tr("The selected model and its original side by side")
            if able
            else self.tr("Select a model; chat needs its .gguf file and the original's")
        )

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(self._make_head())
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.sentence.setObjectName("comparison_sentence")
        self._warnings = QLabel()
        self._warnings.setWordWrap(True)
        self._warnings.setProperty("role", "muted")
        layout.addWidget(self.sentence)
        layout.addWidget(self._warnings)
        split = QSplitter(Qt.Orientation.Vertical)
        split.setObjectName("comparison_split")
        split.setChildrenCollapsible(False)
        split.addWidget(self._make_plots())
        split.addWidget(self._make_tables())
        split.setSizes([400, 200])
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        layout.addWidget(split, 1)

    def _make_head(self) -> QHBoxLayout:
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self.report = self._button(self.tr("Save &report…"), "file", self.report_requested.emit)
        self.report.setObjectName("save_report")
        self.more = self._button(self.tr("&Measure more…"), "plus", self._ask_for_more)
        self.more.setObjectName("measure_more")
        self.chat = self._button(self.tr("C&hat"), "chat", self._ask_for_chat)
        self.chat.setObjectName("comparison_chat")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._title, 1)
        for button in (self.report, self.more, self.chat):
            row.addWidget(button)
        return row

    def _button(self, words: str, icon: str, act: Any) -> QPushButton:
        button = QPushButton(words)
        self._theme.decorate(button, icon)
        button.clicked.connect(lambda: act())
        return button

    def _make_plots(self) -> PlotTabs:
        plots = PlotTabs(self._theme, "comparison_tabs", self._stem)
        self.tabs, self._plot_stack = plots.tabs, plots.stack
        for words in (self.tr("Size and quality"), self.tr("Kinds of text"), self.tr("Disagreements")):
            self.tabs.addTab(words)
        self.tabs.currentChanged.connect(self.show_plot)
        self.model_choice = QComboBox()
        self.model_choice.setObjectName("disagreeing_model")
        self.model_choice.setAccessibleName(self.tr("The model whose disagreements are shown"))
        self.model_choice.currentIndexChanged.connect(self._show_tokens)
        return plots

    def _make_plot(self, at: int) -> QWidget:
        from app.widgets.category_bars import CategoryBars
        from app.widgets.disagreement_text import DisagreementText
        from app.widgets.size_plot import SizePlot

        made: Any
        if at == TOKENS:
            made = DisagreementText(self._theme)
            made.controls.addWidget(self.model_choice)
            made.chosen.connect(self.tokens_table.select)
        else:
            made = SizePlot(self._theme) if at == SIZES else CategoryBars(self._theme)
            made.chosen.connect((self.models_table if at == SIZES else self.kinds_table).select)
            if self.comparison:
                made.set_comparison(self.comparison)
        self._plots[at] = made
        if at == TOKENS:
            self._show_tokens()
        return made

    def _make_tables(self) -> QStackedWidget:
        self._tables = QStackedWidget()
        self.models_table = self._table(ComparisonModel(self), "comparison_models", self.tr("Filter models"), PATH)
        self.kinds_table = self._table(CategoriesModel(self), "comparison_kinds", self.tr("Filter"), None)
        self.tokens_table = self._table(TokensModel(self), "comparison_tokens", self.tr("Filter tokens"), 3)
        self.models_table.selected.connect(self._on_model)
        self.tokens_table.selected.connect(lambda row: self.plot(TOKENS).select(row.name if row else ""))
        self._tables.setMinimumHeight(136)
        return self._tables

    def _table(self, model: Any, name: str, words: str, rest: int | None) -> FilterTable:
        table = FilterTable(self._theme, model, name)
        table.set_texts({"filter": words, "name": self.tr("Figures")})
        widths = tuple(WORDS_WIDTH if at in (0, rest) else 64 for at in range(len(model.COLUMNS)))
        table.view.set_columns(Columns(widths, rest=rest))
        table.top.addWidget(csv_button(self._theme, model, self._stem))
        self._tables.addWidget(table)
        return table

    # ------------------------------------------------------------ reactions

    def _chosen(self) -> Measured | None:
        """The model of the selected row; of one alone, that one."""
        row = self.models_table.current()
        if row is None and self.comparison and len(self.comparison.models) == 1:
            return self.comparison.models[0]
        assert row is None or isinstance(row, Measured)
        return row

    def _on_model(self, row: Measured | None) -> None:
        if SIZES in self._plots:
            self._plots[SIZES].select(row.name if row else "")
        if row is not None:
            self.model_choice.setCurrentIndex(self.model_choice.findData(row.name))
        self.check_files()

    def _show_tokens(self) -> None:
        at = self.model_choice.currentIndex()
        if TOKENS in self._plots and self.comparison and at >= 0:
            text = self._plots[TOKENS]
            text.set_model(self.comparison.models[at])
            self.tokens_table.source.set_rows(text.tokens())

    def _stem(self) -> str:
        return f"{self.comparison.title if self.comparison else ''}-comparison"

    def _ask_for_more(self) -> None:
        if self.comparison is not None:
            self.measure_requested.emit(self.comparison.result.source)

    def _ask_for_chat(self) -> None:
        model = self._chosen()
        if model is not None and self.comparison is not None:
            self.chat_requested.emit(model.name, self.comparison.result.source)

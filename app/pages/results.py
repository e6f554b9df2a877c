"""The Results page: what finished jobs found, as plots with a table twin, and what else is to be measured."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QCoreApplication, QItemSelection, QModelIndex, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.context import AppContext
from app.models.comparisons import Comparison
from app.models.names import model_title
from app.models.results import JOB_ROLE, Finished, HistoryModel, ResultsModel
from app.models.sensitivity import Ranking
from app.widgets.column_widths import Columns
from app.widgets.comparison_view import ComparisonView
from app.widgets.device_box import DeviceBox
from app.widgets.empty_state import EmptyState
from app.widgets.export_button import csv_button
from app.widgets.filter_table import FilterTable
from app.widgets.history_list import HistoryList
from app.widgets.measure_pane import MeasurePane
from app.widgets.page_header import MARGIN, PageHeader
from app.widgets.plan_table import NameDelegate, WordsDelegate
from app.widgets.plot_tabs import PlotTabs
from app.widgets.report_saving import save_report
from app.widgets.result_head import ResultHead
from app.widgets.result_views import VIEW, VIEWS
from app.widgets.sensitivity_view import SensitivityView
from app.widgets.view_tables import ViewTables
from core.jobs import EvaluateJob, MeasurePreflightJob, QuantizeResult, SensitivityJob
from core.keeping import Keeping, recipe

_WIDTHS = (200, 64, 56, 64, 96, 72, 72, 72, 72, 72, 72, 80, 72, 220)


class ResultsPage(QWidget):
    """The history at the left, the chosen result at the right: a quantization, a comparison or a ranking.

    Signals: chat_requested(model, source paths); job_requested(job) to measure something; recipe_requested(source,
    Recipe) to quantize by what a ranking says; publish_requested(path) of a result.

    For tests: `comparison`, `ranking` and `measure` are the other views; `table_model.rows` the TensorResults in
    the table twin, `result` the QuantizeResult shown (None while there is none), `tabs` the QTabBar over the views of
    result_views that the result has, `plot(KEY)` one of their plots; `plot("errors").points()` is the list of (tensor
    name, value) as plotted. Plots are built when first shown, because pyqtgraph takes its time.
    """

    chat_requested = Signal(str, str)
    job_requested = Signal(object)
    recipe_requested = Signal(str, object)
    publish_requested = Signal(str)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.result: QuantizeResult | None = None
        self.history = HistoryModel(self)
        self.table_model = ResultsModel(self)
        self._plots: dict[str, Any] = {}
        self._selected = ""
        self._build()
        self._connect()
        self.refresh()

    # ------------------------------------------------------------ what others ask

    def show_job(self, job_id: str) -> None:
        """Shows the result of this job; a job without one leaves the page as it is."""
        self.refresh()
        row = self.history.row_of(job_id)
        if row >= 0:
            self.list.setCurrentIndex(self.history.index(row))

    def activated(self) -> None:
        """The page became visible: looks for new results, and whether the file is still there."""
        self.refresh()
        self._show_front()

    def measure_models(self, source: str = "", model: str = "") -> None:
        """Asks what is to be measured, beginning with an original or with a model made from one."""
        self._pages.setCurrentIndex(1)
        self.measure.open(source, model)
        self._detail.setCurrentWidget(self.measure)

    def refresh(self) -> None:
        """Reads the history, keeping the choice; without one the newest is chosen."""
        chosen = self.list.currentIndex().data(JOB_ROLE)
        self.history.set_records(self.context.store.jobs("done"))
        self.report_button.setVisible(self.history.rowCount() > 1)
        self.list.setVisible(self.history.rowCount() > 0)
        if self._detail.currentWidget() is not self.measure:
            self._pages.setCurrentIndex(1 if self.history.rowCount() else 0)
        row = self.history.row_of(chosen.id, chosen.output) if chosen else -1
        if self.history.rowCount() and (row >= 0 or not self.list.currentIndex().isValid()):
            self.list.setCurrentIndex(self.history.index(max(row, 0)))

    def plot(self, key: str) -> Any:
        """The plot of a view, built on first use. Raises KeyError for a key without a row in VIEWS."""
        if key not in self._plots:
            plot = VIEW[key].make(self.context.theme)
            self._plots[key] = plot
            self._stack.addWidget(plot)
            if hasattr(plot, "tensor_selected"):
                plot.tensor_selected.connect(self.select_tensor)
            if hasattr(plot, "lossless_requested"):
                plot.lossless_requested.connect(lambda: self.table.filter_box.setText(self.tr("lossless")))
            if self.result:
                plot.set_result(self.result)
            self._on_row(self._selected)
        return self._plots[key]

    def views(self) -> tuple[str, ...]:
        """The keys of the views that the result has, in the order of their tabs."""
        return tuple(self.tabs.tabData(at) for at in range(self.tabs.count()))

    def show_view(self, key: str) -> None:
        """Brings the tab of a view to the front, where the result has it."""
        if key in self.views():
            self.tabs.setCurrentIndex(self.views().index(key))

    def select_tensor(self, name: str) -> None:
        """Selects a tensor's row in the table, taking away a filter that hides it."""
        self.tables.select(name)

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        self._pages = QStackedWidget()
        empty = self.tr(
            "Quantize a model, and what it cost and saved is shown here: the error of every tensor, "
            "layer by layer, and the size before and after. Models you have already can be measured now."
        )
        state = EmptyState(self.context.theme, "results", self.tr("No results yet"), empty)
        state.add_button(self.tr("&Measure models…"), self.measure_models)
        self._pages.addWidget(state)
        self._pages.addWidget(self._make_split())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 16, MARGIN, 16)
        layout.setSpacing(12)
        header = PageHeader(self.tr("Results"))
        self.measure_button = QPushButton(self.tr("&Measure models…"))
        self.measure_button.setObjectName("measure_models_button")
        self.measure_button.setToolTip(self.tr("Perplexity, divergence from the original, and which parts suffer most"))
        self.measure_button.clicked.connect(lambda: self.measure_models())
        self.context.theme.decorate(self.measure_button, "plus")
        self.report_button = QPushButton(self.tr("Report of a&ll…"))
        self.report_button.setObjectName("save_all_reports")
        self.report_button.setToolTip(self.tr("Saves every result of the list as one HTML page"))
        self.report_button.clicked.connect(self._save_reports)
        self.context.theme.decorate(self.report_button, "file")
        header.add(self.report_button)
        header.add(self.measure_button)
        layout.addWidget(header)
        layout.addWidget(self._pages, 1)

    def _make_split(self) -> QSplitter:
        self.list = HistoryList(self.context.theme)
        self.list.setModel(self.history)
        self.list.setAccessibleName(self.tr("Finished quantizations, comparisons and rankings"))
        self.list.setMinimumWidth(168)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setObjectName("results_split")
        split.setChildrenCollapsible(False)
        split.addWidget(self.list)
        split.addWidget(self._make_views())
        split.setStretchFactor(1, 1)
        split.setSizes([236, 924])
        return split

    def _make_views(self) -> QStackedWidget:
        context, theme = self.context, self.context.theme
        self._quantization = self._make_detail()
        self.comparison = ComparisonView(theme)
        self.ranking = SensitivityView(theme)
        device = DeviceBox(context.settings, context.computing)
        self.measure = MeasurePane(theme, context.library.models, context.computing, device)
        self._detail = QStackedWidget()
        for view in (self._quantization, self.comparison, self.ranking, self.measure):
            self._detail.addWidget(view)
        return self._detail

    def _make_detail(self) -> QWidget:
        self.head = ResultHead(self.context.theme)
        self._inner = QSplitter(Qt.Orientation.Vertical)
        self._inner.setObjectName("results_inner_split")
        self._inner.setChildrenCollapsible(False)
        plots = PlotTabs(self.context.theme, "result_tabs", self._stem)
        self.tabs, self._stack, self.export_button = plots.tabs, plots.stack, plots.export_button
        self._inner.addWidget(plots)
        self.tables = ViewTables(self.context.theme, self._make_table())
        self._inner.addWidget(self.tables)
        self._inner.setSizes([400, 190])
        self._inner.setStretchFactor(0, 3)
        self._inner.setStretchFactor(1, 2)
        detail = QWidget()
        layout = QVBoxLayout(detail)
        layout.setContentsMargins(8, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.head)
        layout.addWidget(self._inner, 1)
        return detail

    def _make_table(self) -> FilterTable:
        self.table = FilterTable(self.context.theme, self.table_model, "results_table")
        words = {"filter": self.tr("Filter tensors, types, reasons"), "name": self.tr("Figures of each tensor")}
        self.table.set_texts(words)
        self.table.setMinimumHeight(104)
        self.table.view.setItemDelegateForColumn(0, NameDelegate(self.table.view))
        reason = self.table_model.column_of("reason")
        self.table.view.setItemDelegateForColumn(reason, WordsDelegate(self.table.view))
        self.table.view.set_columns(Columns(_WIDTHS, rest=reason))
        csv = csv_button(self.context.theme, self.table_model, lambda: f"{self._stem()}-tensors")
        csv.setObjectName("export_table")
        self.table.top.addWidget(csv)
        return self.table

    def _connect(self) -> None:
        self.list.selectionModel().selectionChanged.connect(self._on_chosen)
        self.list.clicked.connect(self._show_entry)
        self.comparison.chat_requested.connect(self.chat_requested)
        self.comparison.measure_requested.connect(lambda source: self.measure_models(source))
        self.comparison.report_requested.connect(self._save_report)
        self.ranking.report_requested.connect(self._save_report)
        self.head.report_requested.connect(self._save_report)
        self.head.measure_requested.connect(self._measure_result)
        self.head.publish_requested.connect(self.publish_requested)
        self.ranking.rules_requested.connect(self._ask_for_rules)
        self.measure.job_requested.connect(self._leave_measuring)
        self.measure.check_wanted.connect(self._check_measuring)
        self.measure.timing_wanted.connect(self._time_measuring)
        self.tabs.currentChanged.connect(self._show_plot)
        self.tables.selected.connect(self._on_row)
        self.head.chat_requested.connect(self._ask_for_chat)
        self.context.jobs.finished.connect(self._on_queue)
        self.context.jobs.changed.connect(self._on_queue)

    # ------------------------------------------------------------ reactions

    def _on_chosen(self, chosen: QItemSelection, _left: QItemSelection) -> None:
        indexes = chosen.indexes()
        if not indexes:
            return
        self._show_entry(indexes[0])

    def _show_entry(self, index: QModelIndex) -> None:
        """Shows an entry of the history in the view of its kind."""
        match entry := index.data(JOB_ROLE):
            case Comparison():
                if entry != self.comparison.comparison:
                    self.comparison.show_comparison(entry)
                self._detail.setCurrentWidget(self.comparison)
            case Ranking():
                if entry != self.ranking.ranking:
                    self.ranking.show_ranking(entry)
                self._detail.setCurrentWidget(self.ranking)
            case Finished():
                self._show_result(entry.result)
                self._detail.setCurrentWidget(self._quantization)
        if self.isVisible():
            self._show_front()

    def _show_result(self, result: QuantizeResult) -> None:
        if result == self.result:
            return
        self.result = result
        self.head.show_result(result)
        self.table_model.set_result(result)
        self._offer_views(result)
        self.tables.set_result(result)
        for plot in self._plots.values():
            plot.set_result(result)
        # Another type of the same model has the same rows, so the selection stays.
        self._on_row(self._selected)

    def _show_front(self) -> None:
        """What is in front is seen now: its plot is built where this is the first time, its files are looked for."""
        front = self._detail.currentWidget()
        if front is self.comparison:
            self.comparison.show_plot()
            self.comparison.check_files()
        elif front is self.ranking:
            self.ranking.show_plot()
        elif self.result:
            self.head.check_file()
            self._show_plot()

    def _leave_measuring(self, job: object) -> None:
        self.context.timings.drop(self.measure)
        index = self.list.currentIndex()
        self._detail.setCurrentWidget(self._quantization)
        self._pages.setCurrentIndex(1 if self.history.rowCount() else 0)
        if index.isValid():
            self._show_entry(index)
        self.job_requested.emit(job)

    def _check_measuring(self, job: EvaluateJob | SensitivityJob) -> None:
        self.context.timings.drop(self.measure)
        if self.measure.isVisible():
            question = MeasurePreflightJob(job=job)
            self.context.questions.ask(question, self.measure.show_checks, owner=self.measure)

    def _time_measuring(self, job: EvaluateJob | SensitivityJob) -> None:
        if self.measure.isVisible():
            question = MeasurePreflightJob(job=job, measure=True)
            self.context.timings.ask(question, self.measure.show_checks, owner=self.measure)

    def _ask_for_rules(self, keeping: Keeping) -> None:
        ranking = self.ranking.ranking
        assert ranking is not None
        self.recipe_requested.emit(ranking.result.source, recipe(ranking.title, keeping, ranking.options))

    def _measure_result(self) -> None:
        assert self.result is not None
        self.measure_models(self.result.source, self.result.output)

    def _save_report(self) -> None:
        """Asks where to, and writes what is in front as one HTML file."""
        entry = self.list.currentIndex().data(JOB_ROLE)
        if entry is not None:
            save_report((entry.result,), f"{entry.title}-report", self)

    def _save_reports(self) -> None:
        """The same of all that is in the list."""
        save_report([entry.result for entry in self.history.records], self.tr("results"), self)

    def _on_queue(self) -> None:
        """Results are large: they are read when they are seen."""
        if self.isVisible():
            self.refresh()

    def _on_row(self, name: str) -> None:
        """One tensor is selected in all plots and tables; what has no row for it leaves the choice as it was."""
        self._selected = name or self._selected
        for plot in self._plots.values():
            if hasattr(plot, "select"):
                plot.select(name)

    def _offer_views(self, result: QuantizeResult) -> None:
        """A tab for every view that the result has; the one shown stays where the result has it too."""
        offered = [view for view in VIEWS if view.has(result)]
        if tuple(view.key for view in offered) == self.views():
            return
        shown = self._view()
        with QSignalBlocker(self.tabs):
            while self.tabs.count():
                self.tabs.removeTab(0)
            for view in offered:
                words = QCoreApplication.translate("ResultViews", view.title)
                self.tabs.setTabData(self.tabs.addTab(words), view.key)
            self.show_view(shown if shown in [view.key for view in offered] else offered[0].key)

    def _view(self) -> str:
        """The key of the view that is shown, '' where there is none."""
        at = self.tabs.currentIndex()
        return str(self.tabs.tabData(at)) if at >= 0 else ""

    def _show_plot(self) -> None:
        """Brings the tab's plot to the front, building it where this is the first time."""
        if self.result is not None and self._view():
            self._stack.setCurrentWidget(self.plot(self._view()))
            self.tables.show_view(VIEW[self._view()])
            if self._selected:
                self.tables.select(self._selected)

    def _ask_for_chat(self) -> None:
        assert self.result is not None
        self.chat_requested.emit(self.result.output, self.result.source)

    def _stem(self) -> str:
        assert self.result is not None
        return model_title(self.result.output)

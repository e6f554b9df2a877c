"""The Results page: finished quantizations, and what one of them cost and saved, as plots with a table twin."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QCoreApplication, QItemSelection, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from app.context import AppContext
from app.models.results import JOB_ROLE, HistoryModel, ResultsModel, model_title
from app.widgets.column_widths import Columns
from app.widgets.empty_state import EmptyState
from app.widgets.filter_table import FilterTable
from app.widgets.history_list import HistoryList
from app.widgets.page_header import MARGIN, PageHeader
from app.widgets.plan_table import NameDelegate, WordsDelegate
from app.widgets.plot_export import export, export_menu
from app.widgets.result_head import ResultHead
from app.widgets.result_views import VIEW, VIEWS
from core.jobs import QuantizeResult, TensorResult

# The least that a plot with its title, legend and words needs.
PLOTS_HEIGHT = 280
_WIDTHS = (200, 64, 56, 64, 96, 72, 72, 72, 72, 72, 72, 80, 72, 220)


class ResultsPage(QWidget):
    """The history at the left, the chosen result at the right; `chat_requested` carries result and source paths.

    For tests: `error_plot.points()` is the list of (tensor name, value) as plotted, `table_model.rows` the tuple of
    TensorResult in the table twin, `result` the QuantizeResult shown (None while there is none), `tabs` the QTabBar
    over the views of result_views that the result has, `plot(KEY)` one of their plots. Plots are built when first
    shown, because pyqtgraph takes its time.
    """

    chat_requested = Signal(str, str)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.result: QuantizeResult | None = None
        self.history = HistoryModel(self)
        self.table_model = ResultsModel(self)
        self._plots: dict[str, Any] = {}
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
        if self.result:
            self.head.check_file()
        self._show_plot()

    def refresh(self) -> None:
        """Reads the history, keeping the choice; without one the newest is chosen."""
        chosen = self.list.currentIndex().data(JOB_ROLE)
        self.history.set_records(self.context.store.jobs("done"))
        self._pages.setCurrentIndex(1 if self.history.rowCount() else 0)
        row = self.history.row_of(chosen.id, chosen.result.output) if chosen else -1
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
            self._on_row(self.table.current())
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
        if not self.table.select(name):
            self.table.filter_box.clear()
            self.table.select(name)

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        self._pages = QStackedWidget()
        empty = self.tr(
            "Quantize a model, and what it cost and saved is shown here: the error of every tensor, "
            "layer by layer, and the size before and after."
        )
        self._pages.addWidget(EmptyState(self.context.theme, "results", self.tr("No results yet"), empty))
        self._pages.addWidget(self._make_split())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 16, MARGIN, 16)
        layout.setSpacing(12)
        layout.addWidget(PageHeader(self.tr("Results")))
        layout.addWidget(self._pages, 1)

    def _make_split(self) -> QSplitter:
        self.list = HistoryList(self.context.theme)
        self.list.setModel(self.history)
        self.list.setAccessibleName(self.tr("Finished quantizations"))
        self.list.setMinimumWidth(168)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setObjectName("results_split")
        split.setChildrenCollapsible(False)
        split.addWidget(self.list)
        split.addWidget(self._make_detail())
        split.setStretchFactor(1, 1)
        split.setSizes([236, 924])
        return split

    def _make_detail(self) -> QWidget:
        self.head = ResultHead(self.context.theme)
        self._inner = QSplitter(Qt.Orientation.Vertical)
        self._inner.setObjectName("results_inner_split")
        self._inner.setChildrenCollapsible(False)
        self._inner.addWidget(self._make_plots())
        self._inner.addWidget(self._make_table())
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

    def _make_plots(self) -> QWidget:
        self.tabs = QTabBar()
        self.tabs.setObjectName("result_tabs")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.export_button = QPushButton(self.tr("&Export"))
        self.export_button.setObjectName("export_plot")
        self.context.theme.decorate(self.export_button, "export")
        menu = QMenu(self.export_button)
        menu.aboutToShow.connect(lambda: self._fill_export(menu))
        self.export_button.setMenu(menu)
        row = QHBoxLayout()
        row.addWidget(self.tabs, 1)
        row.addWidget(self.export_button)
        self._stack = QStackedWidget()
        whole = QWidget()
        whole.setMinimumHeight(PLOTS_HEIGHT)
        layout = QVBoxLayout(whole)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(row)
        layout.addWidget(self._stack, 1)
        return whole

    def _make_table(self) -> FilterTable:
        self.table = FilterTable(self.context.theme, self.table_model, "results_table")
        words = {"filter": self.tr("Filter tensors, types, reasons"), "name": self.tr("Figures of each tensor")}
        self.table.set_texts(words)
        self.table.setMinimumHeight(136)
        self.table.view.setItemDelegateForColumn(0, NameDelegate(self.table.view))
        reason = self.table_model.column_of("reason")
        self.table.view.setItemDelegateForColumn(reason, WordsDelegate(self.table.view))
        self.table.view.set_columns(Columns(_WIDTHS, rest=reason))
        csv = QPushButton(self.tr("Export CSV"))
        csv.setObjectName("export_table")
        self.context.theme.decorate(csv, "table")
        csv.clicked.connect(lambda: export(self.table_model, "csv", f"{self._stem()}-tensors", parent=self))
        self.table.top.addWidget(csv)
        return self.table

    def _connect(self) -> None:
        self.list.selectionModel().selectionChanged.connect(self._on_chosen)
        self.tabs.currentChanged.connect(self._show_plot)
        self.table.selected.connect(self._on_row)
        self.head.chat_requested.connect(self._ask_for_chat)
        self.context.jobs.finished.connect(self._on_queue)
        self.context.jobs.changed.connect(self._on_queue)

    # ------------------------------------------------------------ reactions

    def _on_chosen(self, chosen: QItemSelection, _left: QItemSelection) -> None:
        indexes = chosen.indexes()
        if not indexes:
            return
        result = indexes[0].data(JOB_ROLE).result
        if result == self.result:
            return
        self.result = result
        self.head.show_result(result)
        self.table_model.set_result(result)
        self._offer_views(result)
        for plot in self._plots.values():
            plot.set_result(result)
        # Another type of the same model has the same rows, so the selection stays.
        self._on_row(self.table.current())
        if self.isVisible():
            self._show_plot()

    def _on_queue(self) -> None:
        """Results are large: they are read when they are seen."""
        if self.isVisible():
            self.refresh()

    def _on_row(self, row: TensorResult | None) -> None:
        name = row.name if row else ""
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

    def _fill_export(self, menu: QMenu) -> None:
        menu.clear()
        if self.result is not None:
            menu.addActions(export_menu(self.plot(self._view()), self._stem()).actions())

    def _ask_for_chat(self) -> None:
        assert self.result is not None
        self.chat_requested.emit(self.result.output, self.result.source)

    def _stem(self) -> str:
        assert self.result is not None
        return model_title(self.result.output)

"""The models that a search on the Hub found: a table that asks for more at its end, or words about why it is empty."""

from __future__ import annotations

from PySide6.QtCore import QItemSelection, QModelIndex, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from app.models.columns import RowsFilter
from app.models.hub import HubModels, HubRow
from app.theme import Theme
from app.widgets.column_widths import Columns
from app.widgets.empty_state import EmptyState
from app.widgets.filter_table import TableView
from app.widgets.note_line import NoteLine

# After the last movement, before badges of what is in sight are asked for.
SETTLE_MS = 150
NEAR_END = 8


class HubResults(QWidget):
    """selected: (HubRow | None). seen: ids in sight, from the top. more_wanted: the end is near. starred: (HubRow).

    For tests: objectNames `hub_results`, `hub_more`, `hub_count`.
    """

    selected = Signal(object)
    activated = Signal()
    seen = Signal(list)
    more_wanted = Signal()
    starred = Signal(object)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.model = HubModels(theme.icon, self)
        self.rows = RowsFilter(self.model, self)
        self.view = self._make_view()
        self.note = NoteLine(theme, "warning", "warn")
        self.count = QLabel()
        self.count.setObjectName("hub_count")
        self.count.setProperty("role", "caption")
        self.more = QPushButton(self.tr("Show more"))
        self.more.setObjectName("hub_more")
        self.more.clicked.connect(self.more_wanted)
        self.more.hide()
        self._stack = QStackedWidget()
        self._stack.addWidget(self._make_full())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLE_MS)
        self._settled.timeout.connect(self._look)
        self._connect()

    def add_state(self, state: EmptyState) -> None:
        """Adds words that are shown instead of the table."""
        self._stack.addWidget(state)

    def show_state(self, state: EmptyState | None) -> None:
        """Shows these words, or the table."""
        self._stack.setCurrentWidget(state if state is not None else self._stack.widget(0))
        self._settled.start()

    def state(self) -> QWidget | None:
        """The words that are shown instead of the table, None while it is shown."""
        return self._stack.currentWidget() if self._stack.currentIndex() else None

    def current(self) -> HubRow | None:
        """The row that is selected."""
        rows = self.view.selectionModel().selectedRows()
        return self.model.rows[self.rows.mapToSource(rows[0]).row()] if rows else None

    def select(self, repo: str) -> bool:
        """Selects a model; False where it is not in the table."""
        row = self.model.row_of(repo)
        index = self.rows.mapFromSource(self.model.index(row, 0)) if row >= 0 else QModelIndex()
        if index.isValid():
            self.view.selectRow(index.row())
        return index.isValid()

    def look_again(self) -> None:
        """What is in sight is another, or is to be judged anew."""
        self._settled.start()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """More or fewer rows are in sight."""
        super().resizeEvent(event)
        self._settled.start()

    def _make_view(self) -> TableView:
        view = TableView("hub_results")
        view.setModel(self.rows)
        view.setAccessibleName(self.tr("Models on Hugging Face"))
        view.setSortingEnabled(True)
        view.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        spare = tuple(map(self.model.column_of, ("license", "formats", "likes", "modified", "access")))
        view.set_columns(Columns((190, 118, 72, 96, 80, 60, 84, 84, 72), spare=spare))
        return view

    def _make_full(self) -> QWidget:
        self.foot = foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addWidget(self.count, 1)
        foot.addWidget(self.more)
        full = QWidget()
        layout = QVBoxLayout(full)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.note)
        layout.addWidget(self.view, 1)
        layout.addLayout(foot)
        return full

    def _connect(self) -> None:
        self.view.selectionModel().selectionChanged.connect(self._on_selection)
        self.view.doubleClicked.connect(lambda: self.activated.emit())
        for signal in (self.rows.rowsInserted, self.rows.modelReset, self.rows.dataChanged):
            signal.connect(self.view.fit)
        self.rows.modelReset.connect(self._settled.start)
        self.rows.layoutChanged.connect(self._settled.start)
        bar = self.view.verticalScrollBar()
        bar.valueChanged.connect(self._on_scroll)
        star = QShortcut(QKeySequence("Ctrl+D"), self.view)
        star.setContext(Qt.ShortcutContext.WidgetShortcut)
        star.activated.connect(lambda: self.starred.emit(self.current()))

    def _on_selection(self, chosen: QItemSelection, _left: QItemSelection) -> None:
        self.selected.emit(self.current() if chosen.indexes() else None)

    def _on_scroll(self, value: int) -> None:
        self._settled.start()
        if value >= self.view.verticalScrollBar().maximum() - NEAR_END and value > 0:
            self.more_wanted.emit()

    def _look(self) -> None:
        if self._stack.currentIndex() or not self.view.isVisible():
            return
        first = self.view.rowAt(0)
        last = self.view.rowAt(self.view.viewport().height() - 1)
        count = self.rows.rowCount()
        shown = range(max(first, 0), (last if last >= 0 else count - 1) + 1)
        self.seen.emit([self.model.rows[self.rows.mapToSource(self.rows.index(row, 0)).row()].name for row in shown])

"""The Jobs page: the queue and its history, live, and an inspector with log and actions for the job selected."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QHideEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from app import job_kinds, text
from app.context import AppContext
from app.models.jobs import FRACTION_ROLE, JobRow, JobsModel, ordered
from app.widgets.column_widths import Columns
from app.widgets.empty_state import EmptyState
from app.widgets.filter_table import FilterTable
from app.widgets.job_inspector import JobInspector, is_offered
from app.widgets.page_header import MARGIN, PageHeader
from app.widgets.progress_delegate import ProgressDelegate
from app.widgets.split import InspectorSplit
from core.jobs import outputs_of
from core.progress import Snapshot
from core.store import JobRecord

REFRESH_MS = 1000
INSPECTOR_WIDTH = 380
INSPECTOR_SHARE = 0.32


class JobsPage(QWidget):
    """Lists jobs; `result_requested` carries the id of a finished one, `said` words for the status line."""

    result_requested = Signal(str)
    said = Signal(str)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.model = JobsModel(context.theme.icon, self)
        self.table = FilterTable(context.theme, self.model, "jobs")
        self.inspector = JobInspector(context.theme)
        self._shown_log = ""
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._tick)
        self._compose()
        self._connect()
        self.refresh()

    # ------------------------------------------------------------ what others ask

    def select(self, job_id: str) -> bool:
        """Selects a job; False where it is not in the list."""
        return self.table.select(job_id)

    def selected(self) -> str | None:
        """The id of the job that is selected."""
        row = self.table.current()
        return row.name if row else None

    def toggle_inspector(self) -> None:
        """Folds the inspector away, or back."""
        self._fold.toggle()

    def activated(self) -> None:
        """Shows what has happened since the page was last seen."""
        self.refresh()

    def refresh(self) -> None:
        """Reads the list anew and keeps the selection; a job that starts while nothing is selected is selected."""
        chosen = self.selected()
        rows = [self._row(record) for record in ordered(self.context.store.summaries())]
        self.model.set_rows(rows)
        self._stack.setCurrentIndex(0 if rows else 1)
        if rows and not (chosen and self.select(chosen)):
            self.select(rows[0].name)
        self._show_selected()

    # ------------------------------------------------------------ composition

    def _compose(self) -> None:
        header = PageHeader(self.tr("Jobs"))
        self._fold = header.add_fold(self.context.theme)
        self.table.set_texts(
            {"filter": self.tr("Filter jobs"), "name": self.tr("Queue and history"), "rows": self.tr("{0} jobs")}
        )
        added, speed, elapsed = map(self.model.column_of, ("created", "rate", "elapsed"))
        self.table.view.set_columns(Columns((190, 104, 124, 96, 80, 76, 64), spare=(added, speed, elapsed)))
        columns = self.model.column_of("progress")
        self.table.view.setItemDelegateForColumn(
            columns, ProgressDelegate(self.context.theme, FRACTION_ROLE, self.table.view)
        )
        self.table.setMinimumWidth(320)
        self.inspector.setMinimumWidth(320)
        split = InspectorSplit("jobs_split", self.table, self.inspector, INSPECTOR_WIDTH, INSPECTOR_SHARE)
        empty = EmptyState(
            self.context.theme,
            "jobs",
            self.tr("No jobs yet"),
            self.tr("Choose a model on the Models page and quantize it. Its progress is shown here."),
        )
        self._stack = QStackedWidget()
        self._stack.addWidget(split)
        self._stack.addWidget(empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 16, MARGIN, 16)
        layout.setSpacing(16)
        layout.addWidget(header)
        layout.addWidget(self._stack, 1)

    def _connect(self) -> None:
        jobs = self.context.jobs
        jobs.changed.connect(self._on_changed)
        jobs.progressed.connect(self._on_progress)
        jobs.logged.connect(self._on_log)
        self.table.selected.connect(lambda row: self._show_selected())
        self.table.activated.connect(lambda row: self._act("result"))
        self.inspector.asked.connect(self._act)
        self._fold.toggled.connect(self.inspector.setVisible)
        for keys, key in (("Alt+Up", "up"), ("Alt+Down", "down"), ("Del", "remove"), ("Ctrl+Shift+C", "copy")):
            shortcut = QShortcut(QKeySequence(keys), self.table.view)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(lambda key=key: self._act(key))

    # ------------------------------------------------------------ reactions

    def _row(self, record: JobRecord) -> JobRow:
        jobs = self.context.jobs
        runs_here = jobs.is_running(record.id)
        is_ours = record.state != "running" or runs_here
        snapshot = jobs.snapshot(record.id) if runs_here else record.progress
        return JobRow(record.id, record, snapshot, is_ours, jobs.is_cancelling(record.id))

    def _on_changed(self, job_id: str) -> None:
        self.refresh()
        if job_id == self.selected():
            self._load_log()

    def _on_progress(self, job_id: str, snapshot: Snapshot) -> None:
        self.model.advance(job_id, snapshot)
        if job_id == self.selected():
            self.inspector.show_row(self.table.current())
            if snapshot.measured is not None:
                self._show_measured()

    def _on_log(self, job_id: str, piece: str) -> None:
        if job_id == self._shown_log:
            self.inspector.append_log(piece)

    def _tick(self) -> None:
        """Times go on, and the command line may have added or finished jobs meanwhile."""
        self.refresh()

    def _show_selected(self) -> None:
        row = self._current()
        if row is None:
            return
        self.inspector.show_row(row)
        if row.name != self._shown_log:
            self._load_log()
            self._show_measured()

    def _load_log(self) -> None:
        job_id = self.selected()
        if job_id is not None:
            self._shown_log = job_id
            self.inspector.show_log(self.context.jobs.log(job_id))

    def _show_measured(self) -> None:
        """What the selected job has found so far, while it runs."""
        job_id = self.selected()
        if job_id is not None:
            source = getattr(self.context.store.get(job_id).job, "source", "")
            self.inspector.show_measured(self.context.jobs.measured(job_id), job_kinds.short(source))

    def _act(self, key: str) -> None:
        row = self._current()
        if row is not None and is_offered(key, row):
            _ACTIONS[key](self, row)

    def _current(self) -> JobRow | None:
        """The job selected, with what it left."""
        row = self.table.current()
        leftover = self.context.jobs.leftover(row.name) if row is not None else None
        return replace(row, left_bytes=leftover.bytes) if row is not None and leftover else row

    def _resume(self, row: JobRow) -> None:
        self.context.jobs.go_on(row.name)

    def _pause(self, row: JobRow) -> None:
        self.context.jobs.pause(row.name)

    def _discard(self, row: JobRow) -> None:
        self.context.jobs.discard(row.name)
        self.said.emit(self.tr("{0} freed").format(text.size(row.left_bytes)))

    def _result(self, row: JobRow) -> None:
        self.result_requested.emit(row.name)

    def _retry(self, row: JobRow) -> None:
        for output in outputs_of(row.record.job):
            if self.context.jobs.is_taken(output):
                self.said.emit(self.tr("A job in the queue writes to {0} already").format(output))
                return
        self.context.jobs.retry(row.name)

    def _cancel(self, row: JobRow) -> None:
        self.context.jobs.cancel(row.name)
        self.said.emit(self.tr("Cancelling {0}").format(row.title))

    def _remove(self, row: JobRow) -> None:
        self.context.jobs.remove(row.name)

    def _copy(self, row: JobRow) -> None:
        QGuiApplication.clipboard().setText(job_kinds.command(row.record.job))
        self.said.emit(self.tr("The command is on the clipboard"))

    def _queue(self) -> list[str]:
        return [row.name for row in self.model.rows if row.state == "queued"]

    def _up(self, row: JobRow) -> None:
        queue = self._queue()
        at = queue.index(row.name)
        if at > 0:
            self.context.jobs.move(row.name, queue[at - 1])

    def _down(self, row: JobRow) -> None:
        queue = self._queue()
        at = queue.index(row.name)
        if at + 1 < len(queue):
            self.context.jobs.move(queue[at + 1], row.name)

    # ------------------------------------------------------------ Qt events

    def showEvent(self, event: QShowEvent) -> None:
        """Keeps the times going while the page is seen."""
        super().showEvent(event)
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Nothing needs to be kept up to date that nobody sees."""
        super().hideEvent(event)
        self._timer.stop()


_ACTIONS = {
    "result": JobsPage._result,
    "resume": JobsPage._resume,
    "pause": JobsPage._pause,
    "retry": JobsPage._retry,
    "discard": JobsPage._discard,
    "cancel": JobsPage._cancel,
    "up": JobsPage._up,
    "down": JobsPage._down,
    "copy": JobsPage._copy,
    "remove": JobsPage._remove,
}

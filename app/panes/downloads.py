"""What comes from the Hub and goes there, as the panel below the models: the queue's jobs of the network, live."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app import job_kinds, text
from app.context import AppContext
from app.models.jobs import JobRow, ordered
from app.widgets.downloads_panel import DownloadsPanel
from core.progress import Snapshot
from core.store import JobRecord


class Downloads(QWidget):
    """said: for the status line."""

    said = Signal(str)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.panel = DownloadsPanel(context.theme)
        self._rows: dict[str, JobRow] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.panel)
        context.jobs.changed.connect(lambda _job: self.refresh())
        context.jobs.progressed.connect(self._on_progress)
        self.panel.asked.connect(self._act)
        self.refresh()

    def refresh(self) -> None:
        """Reads the queue anew."""
        records = ordered([record for record in self.context.store.summaries() if _is_shown(record)])
        self._rows = {record.id: self._row(record) for record in records}
        self.panel.show_rows(list(self._rows.values()))

    def _row(self, record: JobRecord) -> JobRow:
        jobs = self.context.jobs
        runs_here = jobs.is_running(record.id)
        snapshot = (jobs.snapshot(record.id) or record.progress) if runs_here else record.progress
        row = JobRow(record.id, record, snapshot, record.state != "running" or runs_here, jobs.is_cancelling(record.id))
        leftover = jobs.leftover(record.id)
        return replace(row, left_bytes=leftover.bytes) if leftover else row

    def _on_progress(self, job_id: str, snapshot: Snapshot) -> None:
        """Ten times a second for each: the queue is not read for it."""
        if job_id in self._rows:
            self._rows[job_id] = replace(self._rows[job_id], snapshot=snapshot)
            self.panel.show_row(self._rows[job_id])

    def _act(self, key: str, job_id: str) -> None:
        jobs = self.context.jobs
        if key == "discard" and (leftover := jobs.leftover(job_id)):
            self.said.emit(self.tr("{0} freed").format(text.size(leftover.bytes)))
        {
            "pause": jobs.pause,
            "resume": jobs.go_on,
            "retry": jobs.retry,
            "cancel": jobs.cancel,
            "discard": jobs.discard,
            "remove": jobs.remove,
        }[key](job_id)


def _is_shown(record: JobRecord) -> bool:
    return job_kinds.KINDS[record.job.kind].lane == "network" and record.state != "done"

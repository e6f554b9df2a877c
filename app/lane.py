"""One lane of the job queue: runs one job at a time in a worker process of its own, and tells the store of it."""

from __future__ import annotations

import logging

from pydantic import ValidationError
from PySide6.QtCore import QObject, QTimer, Signal

from app.job_kinds import KINDS
from app.job_log import JobLog
from app.worker_link import WorkerLink, exit_words, log_worker
from core.errors import ErrorReport, WorkerDied
from core.jobs import RESULT_TYPES, Job, Value
from core.progress import Measured, Snapshot
from core.store import Stopped, Store

log = logging.getLogger(__name__)

PERSIST_S = 1.0


class Lane(QObject):
    """progressed: (id, Snapshot). logged: (id, text). ended: the Run, in whatever way; the store knows of it."""

    progressed = Signal(str, object)
    logged = Signal(str, str)
    ended = Signal(object)

    def __init__(self, store: Store, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self.run: Run | None = None
        self._flush = QTimer(self)
        self._flush.setInterval(int(PERSIST_S * 1000))
        self._flush.timeout.connect(self._persist)

    def start(self, job_id: str, job: Job) -> None:
        """Runs a job; none may be running here."""
        self._store.start(job_id)
        link = WorkerLink()
        self.run = Run(job_id, job, link)
        link.event.connect(self._receive)
        link.said.connect(self._hear)
        link.ended.connect(self._end)
        link.send({"job": job.model_dump(mode="json", by_alias=True), "id": job_id})
        link.start()
        self._flush.start()

    def begin_log(self) -> None:
        """Writes the first line of the log of the job that was started."""
        if self.run:
            self._note(self.run.steps.begun())

    def stop(self, state: Stopped) -> None:
        """Asks the running job to stop, and to be kept as `state` then; `ended` tells when it has."""
        if self.run:
            self.run.stopped = state
            self.run.link.send({"cancel": self.run.id})
            self.run.link.close_input()

    def shutdown(self) -> None:
        """Stops the running job for good, without waiting for its process; one that goes on later is interrupted."""
        self._flush.stop()
        if self.run:
            state: Stopped = "interrupted" if KINDS[self.run.job.kind].goes_on else "cancelled"
            self._note(self.run.steps.stopped(state))
            run, self.run = self.run, None
            run.persist(self._store)
            run.link.send({"cancel": run.id})
            run.link.disconnect(self)
            self._store.cancel(run.id, state)

    def _receive(self, event: dict) -> None:
        run = self.run
        if run is None:
            return
        try:
            run.receive(event)
        except (ValidationError, KeyError, TypeError) as error:
            log.exception("an event of the worker could not be understood")
            run.error = ErrorReport.of(error)
        if event.get("event") == "progress" and run.snapshot:
            self._note(run.steps.advanced(run.snapshot))
            self.progressed.emit(run.id, run.snapshot)
        elif run.has_outcome:
            run.link.close_input()

    def _hear(self, text: str) -> None:
        log_worker(text)
        self._note(text)

    def _note(self, text: str) -> None:
        """Adds to the log of the running job."""
        if self.run and text:
            self.run.unsaved_log.append(text)
            self.logged.emit(self.run.id, text)

    def _persist(self) -> None:
        if self.run:
            self.run.persist(self._store)

    def _end(self, exit_code: int) -> None:
        self._flush.stop()
        run = self.run
        if run is None:
            return
        self._note(run.outcome_words(exit_code))
        self.run = None
        run.persist(self._store)
        if run.result is not None:
            self._store.finish(run.id, run.result)
        elif run.stopped:
            self._store.cancel(run.id, run.stopped)
        else:
            self._store.fail(run.id, run.failure(exit_code))
        self.ended.emit(run)


class Run:
    """What is known of a job that runs."""

    def __init__(self, job_id: str, job: Job, link: WorkerLink) -> None:
        self.id = job_id
        self.job = job
        self.link = link
        self.stopped: Stopped | None = None
        self.snapshot: Snapshot | None = None
        self.result: Value | None = None
        self.error: ErrorReport | None = None
        self.steps = JobLog(job)
        self.unsaved_log: list[str] = []
        self.measured: list[Measured] = []
        self._saved_snapshot: Snapshot | None = None

    @property
    def has_outcome(self) -> bool:
        """Whether the worker has said how the job ended."""
        return self.result is not None or self.error is not None or self.stopped is not None

    def receive(self, event: dict) -> None:
        """Takes in one event. Raises ValidationError, KeyError or TypeError for one that is malformed."""
        match event["event"]:
            case "progress":
                self.snapshot = Snapshot.model_validate(event["snapshot"])
                if self.snapshot.measured is not None:
                    self.measured.append(self.snapshot.measured)
            case "result":
                self.result = RESULT_TYPES[self.job.kind].model_validate(event["result"])
            case "error":
                self.error = ErrorReport(**event["error"])
            case "cancelled":
                self.stopped = self.stopped or "cancelled"

    def failure(self, exit_code: int) -> ErrorReport:
        """Why there is no result; a worker that said nothing died."""
        return self.error or ErrorReport.of(WorkerDied(exit_words(exit_code)))

    def outcome_words(self, exit_code: int) -> str:
        """The last lines of the log."""
        if self.result is not None:
            return self.steps.done(self.result)
        return self.steps.stopped(self.stopped) if self.stopped else self.steps.failed(self.failure(exit_code))

    def persist(self, store: Store) -> None:
        """Writes what is new since the last time to the store."""
        if self.snapshot is not None and self.snapshot is not self._saved_snapshot:
            store.progress(self.id, self.snapshot)
            self._saved_snapshot = self.snapshot
        if self.unsaved_log:
            store.append_log(self.id, "".join(self.unsaved_log))
            self.unsaved_log.clear()

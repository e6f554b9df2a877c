"""The only bridge to worker processes: the job queue, the small questions, and chats.

Heavy jobs run one at a time, each in a worker process of its own. Questions go to one long-lived light worker. Every
answer is delivered in the thread of the window. Nothing here waits, except `shutdown`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from pydantic import ValidationError
from PySide6.QtCore import QObject, QTimer, Signal
from shiboken6 import isValid

from app.job_log import JobLog
from app.worker_link import WorkerLink, end_all, exit_words
from core.errors import ErrorReport, ImatrixNotComputed, WorkerDied
from core.jobs import (
    RESULT_TYPES,
    ChatLoaded,
    ChatSessionJob,
    ChatTurn,
    ImatrixJob,
    Job,
    Message,
    QuantizeJob,
    QuantizeManyJob,
    Sampling,
    Value,
    outputs_of,
)
from core.journal import Leftover, find_leftover
from core.progress import Snapshot
from core.store import ENDED, Store

log = logging.getLogger(__name__)
worker_log = logging.getLogger("worker")

PERSIST_S = 1.0
SHUTDOWN_S = 8.0

OnResult = Callable[[Value], None]
OnError = Callable[[ErrorReport], None]


class JobQueue(QObject):
    """Runs the store's queued jobs one after another. Signals carry the job's id.

    changed: the state of a job, or its place, is another. progressed: (id, Snapshot). logged: (id, text).
    finished: the job has ended, in whatever way.
    """

    changed = Signal(str)
    progressed = Signal(str, object)
    logged = Signal(str, str)
    finished = Signal(str)

    def __init__(self, store: Store, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self._run: _Run | None = None
        self._stopping = False
        self._flush = QTimer(self)
        self._flush.setInterval(int(PERSIST_S * 1000))
        self._flush.timeout.connect(self._persist)

    def resume(self) -> None:
        """Starts the first queued job if none runs; called once at start-up and after every ending."""
        queued = [] if self._run or self._stopping else self._store.jobs("queued")
        if queued:
            self._start(queued[0].id, queued[0].job)

    def resume_interrupted(self) -> None:
        """Queues what was begun here and interrupted by a crash or a power cut; called once at start-up."""
        for record in self._store.jobs("interrupted"):
            if getattr(record.job, "keep_unfinished", False) and find_leftover(outputs_of(record.job)):
                self._requeue(record.id, record.job, resume=True)

    def leftover(self, job_id: str) -> Leftover | None:
        """What an ended job left to go on with."""
        record = self._store.get(job_id)
        is_resumable = isinstance(record.job, QuantizeJob | QuantizeManyJob) and record.state in ENDED - {"done"}
        return find_leftover(outputs_of(record.job)) if is_resumable else None

    def go_on(self, job_id: str) -> None:
        """Puts a job that left something at the end of the queue, to go on from there."""
        if self.leftover(job_id):
            self._requeue(job_id, self._store.get(job_id).job, resume=True)
            self.resume()

    def discard(self, job_id: str) -> None:
        """Removes what a job left."""
        if leftover := self.leftover(job_id):
            leftover.discard()
            self.changed.emit(job_id)

    def is_taken(self, output: str) -> bool:
        """Whether a job that waits or runs, here or on the command line, will write to this path."""
        waiting = self._store.jobs("queued", "running")
        written = {os.path.realpath(path) for record in waiting for path in outputs_of(record.job)}
        return os.path.realpath(output) in written

    def submit(self, job: Job) -> str:
        """Appends a job to the queue and returns its id."""
        job_id = self._store.add(_kept(job, resume=False))
        self.changed.emit(job_id)
        self.resume()
        return job_id

    def running(self) -> str | None:
        """The id of the job that runs now."""
        return self._run.id if self._run else None

    def running_job(self) -> Job | None:
        """The job that runs now."""
        return self._run.job if self._run else None

    def snapshot(self) -> Snapshot | None:
        """The latest progress of the running job."""
        return self._run.snapshot if self._run else None

    def is_cancelling(self, job_id: str) -> bool:
        """Whether this job runs and has been asked to stop."""
        return bool(self._run and self._run.id == job_id and self._run.cancelled)

    def cancel(self, job_id: str) -> None:
        """Takes a queued job out of the queue, or asks the running one to stop; `finished` tells when it has."""
        if self._run and self._run.id == job_id:
            self._run.cancelled = True
            self._run.link.send({"cancel": job_id})
            self._run.link.close_input()
        elif self._store.get(job_id).state == "queued":
            self._store.cancel(job_id)
            self.finished.emit(job_id)
        self.changed.emit(job_id)

    def retry(self, job_id: str) -> None:
        """Puts an ended job at the end of the queue again, to begin anew."""
        record = self._store.get(job_id)
        if record.state in ENDED:
            self._requeue(job_id, record.job, resume=False)
            self.resume()

    def remove(self, job_id: str) -> None:
        """Forgets a job that does not run, and what it left unfinished; its output stays."""
        if self.running() != job_id:
            self.discard(job_id)
            self._store.remove(job_id)
            self.changed.emit(job_id)

    def move(self, job_id: str, before: str) -> None:
        """Moves a queued job directly before another one."""
        self._store.move(job_id, before)
        self.changed.emit(job_id)

    def log(self, job_id: str) -> str:
        """The whole log of a job, up to its last line."""
        unsaved = self._run.unsaved_log if self._run and self._run.id == job_id else []
        return self._store.get(job_id).log + "".join(unsaved)

    def worker_pid(self) -> int | None:
        """The process id of the running job's worker."""
        return self._run.link.pid if self._run else None

    def shutdown(self, deadline_s: float = SHUTDOWN_S) -> None:
        """Cancels the running job, ends every worker process and waits for them, at most about the deadline."""
        self._stopping = True
        self._flush.stop()
        if self._run:
            self._note(self._run.steps.cancelled())
            run, self._run = self._run, None
            run.persist(self._store)
            run.link.send({"cancel": run.id})
            run.link.disconnect(self)
            self._store.cancel(run.id)
        end_all(deadline_s)

    def _requeue(self, job_id: str, job: Job, *, resume: bool) -> None:
        self._store.requeue(job_id, _kept(job, resume=resume))
        self.changed.emit(job_id)

    def _start(self, job_id: str, job: Job) -> None:
        self._store.start(job_id)
        link = WorkerLink()
        self._run = _Run(job_id, job, link)
        link.event.connect(self._receive)
        link.said.connect(self._hear)
        link.ended.connect(self._end)
        link.send({"job": job.model_dump(mode="json", by_alias=True), "id": job_id})
        link.start()
        self._flush.start()
        self.changed.emit(job_id)
        self._note(self._run.steps.begun())

    def _receive(self, event: dict) -> None:
        run = self._run
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
        worker_log.info(text.rstrip())
        self._note(text)

    def _note(self, text: str) -> None:
        """Adds to the log of the running job."""
        if self._run and text:
            self._run.unsaved_log.append(text)
            self.logged.emit(self._run.id, text)

    def _persist(self) -> None:
        if self._run:
            self._run.persist(self._store)

    def _end(self, exit_code: int) -> None:
        self._flush.stop()
        run = self._run
        if run is None:
            return
        self._note(run.outcome_words(exit_code))
        self._run = None
        run.persist(self._store)
        if run.result is not None:
            self._store.finish(run.id, run.result)
        elif run.cancelled:
            self._store.cancel(run.id)
        else:
            self._store.fail(run.id, run.failure(exit_code))
        if run.result is None and isinstance(run.job, ImatrixJob):
            self._fail_without(run.job.output)
        self.changed.emit(run.id)
        self.finished.emit(run.id)
        self.resume()

    def _fail_without(self, imatrix: str) -> None:
        """Jobs that wait for an importance matrix which is not there cannot run."""
        for record in self._store.jobs("queued"):
            if isinstance(record.job, QuantizeJob | QuantizeManyJob) and record.job.options.imatrix == imatrix:
                self._store.fail(record.id, ErrorReport.of(ImatrixNotComputed(imatrix)))
                self.changed.emit(record.id)


def _kept(job: Job, *, resume: bool) -> Job:
    """A job as it runs in the window: what it has done stays when it is cancelled or interrupted."""
    if isinstance(job, QuantizeJob | QuantizeManyJob):
        return job.model_copy(update={"resume": resume, "keep_unfinished": True})
    return job


class _Run:
    """What is known of the job that runs."""

    def __init__(self, job_id: str, job: Job, link: WorkerLink) -> None:
        self.id = job_id
        self.job = job
        self.link = link
        self.cancelled = False
        self.snapshot: Snapshot | None = None
        self.result: Value | None = None
        self.error: ErrorReport | None = None
        self.steps = JobLog(job)
        self.unsaved_log: list[str] = []
        self._saved_snapshot: Snapshot | None = None

    @property
    def has_outcome(self) -> bool:
        """Whether the worker has said how the job ended."""
        return self.result is not None or self.error is not None or self.cancelled

    def receive(self, event: dict) -> None:
        """Takes in one event. Raises ValidationError, KeyError or TypeError for one that is malformed."""
        match event["event"]:
            case "progress":
                self.snapshot = Snapshot.model_validate(event["snapshot"])
            case "result":
                self.result = RESULT_TYPES[self.job.kind].model_validate(event["result"])
            case "error":
                self.error = ErrorReport(**event["error"])
            case "cancelled":
                self.cancelled = True

    def failure(self, exit_code: int) -> ErrorReport:
        """Why there is no result; a worker that said nothing died."""
        return self.error or ErrorReport.of(WorkerDied(exit_words(exit_code)))

    def outcome_words(self, exit_code: int) -> str:
        """The last lines of the log."""
        if self.result is not None:
            return self.steps.done(self.result)
        return self.steps.cancelled() if self.cancelled else self.steps.failed(self.failure(exit_code))

    def persist(self, store: Store) -> None:
        """Writes what is new since the last time to the store."""
        if self.snapshot is not None and self.snapshot is not self._saved_snapshot:
            store.progress(self.id, self.snapshot)
            self._saved_snapshot = self.snapshot
        if self.unsaved_log:
            store.append_log(self.id, "".join(self.unsaved_log))
            self.unsaved_log.clear()


@dataclass(slots=True)
class _Question:
    job: Job
    on_result: OnResult
    on_error: OnError | None
    owner: QObject | None

    @property
    def is_wanted(self) -> bool:
        return self.owner is None or isValid(self.owner)


class Questions(QObject):
    """Small questions (headers, one tensor, a plan), answered in order by one light worker that is kept alive.

    A worker that dies takes the question it was working on with it (its on_error says so) and is replaced.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._ids = count(1)
        self._open: dict[str, _Question] = {}
        self._link: WorkerLink | None = None

    def ask(self, job: Job, on_result: OnResult, on_error: OnError | None = None, owner: QObject | None = None) -> None:
        """Asks; one of the two functions is called later, unless `owner` asks anew or is gone before.

        A newer question of the same owner drops the older ones. Without on_error, failures go to the log.
        """
        if owner is not None:
            self.drop(owner)
        question_id = f"q{next(self._ids)}"
        self._open[question_id] = _Question(job, on_result, on_error, owner)
        self._send(question_id)

    def drop(self, owner: QObject) -> None:
        """Forgets the open questions of an owner and stops the work on them."""
        for question_id in [key for key, question in self._open.items() if question.owner is owner]:
            del self._open[question_id]
            if self._link:
                self._link.send({"cancel": question_id})

    @property
    def is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._open)

    def worker_pid(self) -> int | None:
        """The light worker's process id."""
        return self._link.pid if self._link else None

    def _send(self, question_id: str) -> None:
        if self._link is None:
            self._link = link = WorkerLink()
            link.event.connect(self._receive)
            link.said.connect(_log_worker)
            link.ended.connect(self._replace)
            link.start()
        job = self._open[question_id].job
        self._link.send({"job": job.model_dump(mode="json", by_alias=True), "id": question_id})

    def _receive(self, event: dict) -> None:
        kind = event.get("event")
        if kind == "progress":
            return
        question = self._open.pop(event.get("id", ""), None)
        if question is None or not question.is_wanted:
            return
        if kind == "result":
            question.on_result(RESULT_TYPES[question.job.kind].model_validate(event["result"]))
        elif kind == "error":
            self._fail(question, ErrorReport(**event["error"]))

    def _replace(self, exit_code: int) -> None:
        """The worker is gone: the question it was at fails, the others go to a new one."""
        self._link = None
        if not self._open:
            return
        question = self._open.pop(next(iter(self._open)))
        for question_id in list(self._open):
            self._send(question_id)
        if question.is_wanted:
            self._fail(question, ErrorReport.of(WorkerDied(exit_words(exit_code))))

    def _fail(self, question: _Question, report: ErrorReport) -> None:
        if question.on_error is None:
            log.error("%s: %s. %s", question.job.kind, report.what, report.why)
        else:
            question.on_error(report)


class ChatWorker(QObject):
    """One model held loaded for a conversation in a worker process of its own.

    loaded: ChatLoaded. token: a piece of the answer. turn: ChatTurn, the answer is complete (or was stopped).
    failed: ErrorReport. ended: the process is gone, for whatever reason.
    """

    loaded = Signal(object)
    token = Signal(str)
    turn = Signal(object)
    failed = Signal(object)
    ended = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link: WorkerLink | None = None
        self._failed = False

    @property
    def is_open(self) -> bool:
        """Whether a model is loaded or being loaded."""
        return self._link is not None

    def open(self, model: str, context: int, threads: int) -> None:
        """Starts a worker and loads the model there; a conversation that is open is closed first."""
        self.close()
        self._failed = False
        self._link = link = WorkerLink()
        link.event.connect(self._receive)
        link.said.connect(_log_worker)
        link.ended.connect(self._end)
        job = ChatSessionJob(model=model, context=context, threads=threads)
        link.send({"job": job.model_dump(mode="json"), "id": "chat"})
        link.start()

    def say(self, messages: tuple[Message, ...], sampling: Sampling) -> None:
        """Asks for the next turn of a conversation; all its messages are sent each time."""
        if self._link:
            turns = [message.model_dump(mode="json") for message in messages]
            self._link.send({"say": {"messages": turns, "sampling": sampling.model_dump(mode="json")}})

    def stop(self) -> None:
        """Stops the answer being written; `turn` brings what there is."""
        if self._link:
            self._link.send({"stop": True})

    def close(self) -> None:
        """Unloads the model; `ended` is emitted at once, the process goes in its own time."""
        if self._link:
            link, self._link = self._link, None
            link.disconnect(self)
            link.close_input()
            self.ended.emit()

    def _receive(self, event: dict) -> None:
        match event.get("event"):
            case "loaded":
                self.loaded.emit(ChatLoaded.model_validate(event["info"]))
            case "token":
                self.token.emit(event["text"])
            case "turn":
                self.turn.emit(ChatTurn.model_validate(event["turn"]))
            case "error":
                self._failed = True
                self.failed.emit(ErrorReport(**event["error"]))

    def _end(self, exit_code: int) -> None:
        self._link = None
        if exit_code and not self._failed:
            self.failed.emit(ErrorReport.of(WorkerDied(exit_words(exit_code))))
        self.ended.emit()


def _log_worker(text: str) -> None:
    worker_log.info(text.rstrip())

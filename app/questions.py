"""Small questions of the window (headers, one tensor, a plan), answered by one long-lived light worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from PySide6.QtCore import QObject
from shiboken6 import isValid

from app.worker_link import WorkerLink, exit_words, log_worker
from core.errors import ErrorReport, WorkerDied
from core.jobs import RESULT_TYPES, Job, Value

log = logging.getLogger(__name__)

OnResult = Callable[[Value], None]
OnError = Callable[[ErrorReport], None]


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

    def renew(self) -> None:
        """Lets the worker go, with what it remembers; a new one answers from now on, also what is still open."""
        if self._link is not None:
            link, self._link = self._link, None
            link.disconnect(self)
            link.close_input()
        for question_id in list(self._open):
            self._send(question_id)

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
            link.said.connect(log_worker)
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

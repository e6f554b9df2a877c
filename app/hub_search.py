"""Search on the Hub while the user types: waits for a pause, asks once, ignores what is no longer wanted, pages on."""

from __future__ import annotations

import re

from PySide6.QtCore import QObject, QTimer, Signal

from app.questions import Questions
from core.errors import ErrorReport
from core.jobs import HubModel, SearchJob, SearchResult, Value

# From the last key to the question: shorter and every word is asked letter by letter, longer and it feels slow.
PAUSE_MS = 350
PAGE = 30
_ADDRESS = re.compile(r"https?://[^/\s]+/(?:models/)?([\w.-]+/[\w.-]+)(?:/.*)?$")


class HubSearch(QObject):
    """changed: the models, the error or the state are others."""

    changed = Signal()

    def __init__(self, questions: Questions, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._questions = questions
        self._job: SearchJob | None = None
        self._asked: SearchJob | None = None
        self._models: tuple[HubModel, ...] = ()
        self._next = ""
        self._is_more = False
        self.error: ErrorReport | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._ask)

    @property
    def is_busy(self) -> bool:
        """Whether a question waits for the pause or for its answer."""
        return self._timer.isActive() or self._asked is not None

    @property
    def has_more(self) -> bool:
        """Whether the Hub has further models for the same question."""
        return bool(self._next)

    @property
    def job(self) -> SearchJob | None:
        """What was looked for last, None before anything was."""
        return self._job

    def models(self) -> tuple[HubModel, ...]:
        """What was found so far, in the Hub's order."""
        return self._models

    def look_for(self, job: SearchJob) -> None:
        """Asks after a pause, in the place of whatever was asked before; the same question is not asked twice."""
        job = job.model_copy(update={"query": plain_query(job.query), "limit": PAGE, "page": ""})
        if job == self._job and self.error is None:
            return
        self._job = job
        self._drop()
        self._timer.start()
        self.changed.emit()

    def again(self) -> None:
        """Asks the same once more, now."""
        self._drop()
        self._ask()

    def more(self) -> None:
        """Asks for the next page, unless it is on its way or there is none."""
        if self._next and not self.is_busy and self._job is not None:
            self._send(self._job.model_copy(update={"page": self._next}))

    def stop(self) -> None:
        """Forgets a question that is under way; what was found stays."""
        self._drop()
        self.changed.emit()

    def _drop(self) -> None:
        self._timer.stop()
        self._asked = None
        self._questions.drop(self)

    def _ask(self) -> None:
        if self._job is not None:
            self._send(self._job)

    def _send(self, job: SearchJob) -> None:
        self._asked = job
        self._questions.ask(job, self._take, self._fail, owner=self)
        self.changed.emit()

    def _take(self, answer: Value) -> None:
        assert isinstance(answer, SearchResult)
        is_next = bool(self._asked and self._asked.page)
        self._models = (*self._models, *answer.models) if is_next else answer.models
        self._next, self._asked, self.error = answer.next_page, None, None
        self.changed.emit()

    def _fail(self, report: ErrorReport) -> None:
        self._asked, self.error = None, report
        self.changed.emit()


def plain_query(words: str) -> str:
    """What to look for: the words, or of an address on the Hub the model's id in it."""
    found = _ADDRESS.match(words.strip())
    return found[1] if found else " ".join(words.split())

"""Whether models on the Hub run on this computer, asked for those in sight, one after another, and remembered."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, Signal

from app.models.hub import Badge
from app.questions import Questions
from core.errors import ErrorReport
from core.estimate.values import RunOptions
from core.jobs import FitJob, FitResult, Value

# Failures that are the connection's: asked again when the model comes into sight anew.
PASSING = frozenset({"HubOffline", "HubBusy", "WorkerDied", "HubUnreadable"})
# Those that every other model would meet, too.
COMMON = frozenset({"HubOffline", "HubBusy"})


class HubFits(QObject):
    """found: (repo, Badge) as each is known. One worker answers, so a single model is asked about at a time."""

    found = Signal(str, object)

    def __init__(self, questions: Questions, context: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._questions = questions
        self._context = context
        self._known: dict[tuple[str, int], Badge] = {}
        self._wanted: list[str] = []
        self._asked = ""

    @property
    def context(self) -> int:
        """Tokens of context that are asked about."""
        return self._context

    def set_context(self, tokens: int) -> None:
        """Asks about another context from now on; what is in sight has to be wanted anew."""
        self._context = tokens
        self._wanted = []
        self._asked = ""
        self._questions.drop(self)

    def badge(self, repo: str) -> Badge:
        """What is known of a model at the present context."""
        return self._known.get((repo, self._context), Badge())

    def forget_failures(self) -> None:
        """What could not be read may be open now."""
        self._known = {key: badge for key, badge in self._known.items() if badge.level != "failed"}

    def want(self, repos: Sequence[str]) -> None:
        """These are in sight, the most important first; what was wanted before and is not among them is left."""
        self._wanted = [repo for repo in repos if (repo, self._context) not in self._known and repo != self._asked]
        if not self._asked:
            self._ask_next()

    def _ask_next(self) -> None:
        if not self._wanted:
            self._asked = ""
            return
        self._asked = self._wanted.pop(0)
        self.found.emit(self._asked, Badge("asked"))
        job = FitJob(repo=self._asked, run=RunOptions(context=self._context))
        self._questions.ask(job, self._take, self._fail, owner=self)

    def _take(self, answer: Value) -> None:
        assert isinstance(answer, FitResult)
        self._settle(Badge.of(answer), keep=True)

    def _fail(self, report: ErrorReport) -> None:
        why = f"{report.what}: {report.why}" if report.why else report.what
        if report.kind in COMMON:
            self._wanted = []
        self._settle(Badge("failed", problem=why), keep=report.kind not in PASSING)

    def _settle(self, badge: Badge, *, keep: bool) -> None:
        repo = self._asked
        if keep:
            self._known[(repo, self._context)] = badge
        self.found.emit(repo, badge)
        self._ask_next()

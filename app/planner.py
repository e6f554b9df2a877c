"""Plans for several targets at once, asked of the light worker: what is known of each, and what is still to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from PySide6.QtCore import QObject, Signal

from app.questions import Questions
from core.errors import ErrorReport
from core.jobs import Job, Plan, Value


class Planner(QObject):
    """Signals: changed() when a plan, or why there is none, has come.

    plans, faults: by target. awaited: the targets whose answer is still to come.
    """

    changed = Signal()

    def __init__(self, questions: Questions, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.plans: dict[str, Plan] = {}
        self.faults: dict[str, ErrorReport] = {}
        self.awaited: set[str] = set()
        self._questions = questions
        # Owners of questions: a newer one of the same owner makes the older answers be dropped.
        self._owners: dict[str, QObject] = {}
        self._several = False

    def ask(self, jobs: Mapping[str, Job]) -> None:
        """Asks for exactly these plans, by target; answers to what was asked before are dropped."""
        self.keep_only(set(jobs))
        self._several = len(jobs) > 1
        for target, job in jobs.items():
            self._ask_for(target, job)

    def keep_only(self, targets: set[str]) -> None:
        """Forgets all other targets, and stops the work on them."""
        for target in [target for target in self._owners if target not in targets]:
            self._questions.drop(self._owners.pop(target))
            self.awaited.discard(target)
        self.plans = {target: plan for target, plan in self.plans.items() if target in targets}
        self.faults = {target: fault for target, fault in self.faults.items() if target in targets}

    def forget(self) -> None:
        """Another model was chosen: what is known is of the old one."""
        self.plans, self.faults = {}, {}

    def fail(self, target: str, report: ErrorReport) -> None:
        """Takes in that there can be no plan for a target."""
        self.plans.pop(target, None)
        self.awaited.discard(target)
        self.faults[target] = replace(report, what=f"{target}: {report.what}") if self._several else report
        self.changed.emit()

    def _ask_for(self, target: str, job: Job) -> None:
        owner = self._owners.setdefault(target, QObject(self))
        self.awaited.add(target)
        self._questions.ask(
            job,
            lambda answer: self._take(target, answer),
            lambda report: self.fail(target, report),
            owner=owner,
        )

    def _take(self, target: str, answer: Value) -> None:
        assert isinstance(answer, Plan)
        self.plans[target] = answer
        self.awaited.discard(target)
        self.faults.pop(target, None)
        self.changed.emit()

"""Moves models to the trash: first what that means and what else uses them, then, once the user agrees, the deed."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from app import text
from app.questions import Questions
from core.errors import ErrorReport
from core.jobs import TrashJob, TrashResult, Value


class Removal(QObject):
    """done: what went, in words. failed: (ErrorReport) why nothing did."""

    done = Signal(str)
    failed = Signal(object)

    def __init__(self, questions: Questions, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent = parent
        self._questions = questions
        self._paths: tuple[str, ...] = ()
        self._name = ""

    def ask(self, paths: tuple[str, ...], name: str) -> None:
        """Looks what removing these means, and asks. name: of the model, for the question."""
        self._paths, self._name = paths, name
        self._questions.ask(TrashJob(paths=paths, dry_run=True), self._confirm, self.failed.emit, owner=self)

    def discard(self, paths: tuple[str, ...]) -> None:
        """Removes unfinished downloads, which are of no use to anybody, without a question."""
        self._paths = paths
        self._questions.ask(TrashJob(paths=paths), self._tell, self._refuse, owner=self)

    def _confirm(self, answer: Value) -> None:
        assert isinstance(answer, TrashResult)
        from app.dialogs.confirm import confirm_trash

        if confirm_trash(self._parent, self._name, answer):
            self._questions.ask(TrashJob(paths=self._paths), self._tell, self._refuse, owner=self)

    def _tell(self, answer: Value) -> None:
        assert isinstance(answer, TrashResult)
        self.done.emit(self.tr("Removed: {0}").format(text.size(answer.bytes)))

    def _refuse(self, report: ErrorReport) -> None:
        self.failed.emit(report)

"""The queue and its history as table rows; progress over all stages of a job, and words for its states."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QObject, Qt
from PySide6.QtGui import QIcon

from app import job_kinds, text
from app.models.columns import Column, RowsModel
from core.jobs import outputs_of
from core.progress import Snapshot
from core.store import ENDED, JobRecord, State

_T = QT_TRANSLATE_NOOP
FRACTION_ROLE = Qt.ItemDataRole.UserRole + 10

# state: (word, icon, colour)
STATES: dict[State, tuple[str, str, str]] = {
    "queued": (_T("JobsModel", "Queued"), "queued", "muted"),
    "running": (_T("JobsModel", "Running"), "running", "accent"),
    "done": (_T("JobsModel", "Done"), "done", "good"),
    "failed": (_T("JobsModel", "Failed"), "error", "bad"),
    "cancelled": (_T("JobsModel", "Cancelled"), "cancel", "muted"),
    "paused": (_T("JobsModel", "Paused"), "paused", "muted"),
    "interrupted": (_T("JobsModel", "Interrupted"), "interrupted", "warn"),
}

# Where each stage of a job begins and ends on one bar, so that it never jumps back between stages.
STAGES: dict[str, tuple[float, float]] = {
    "Planning": (0.0, 0.0),
    "Checking what is there": (0.0, 0.0),
    "Quantizing": (0.0, 0.95),
    "Verifying": (0.95, 1.0),
    "Reading the model": (0.0, 0.0),
    "Reading the text": (0.0, 0.02),
    "Computing importance": (0.02, 0.99),
    "Quantizing layers": (0.02, 0.9),
    "Packing": (0.9, 0.95),
    "Writing": (0.99, 1.0),
}
STAGE_WORDS = {
    "Planning": _T("JobsModel", "Planning"),
    "Checking what is there": _T("JobsModel", "Checking what is there"),
    "Quantizing": _T("JobsModel", "Quantizing"),
    "Verifying": _T("JobsModel", "Verifying"),
    "Reading the model": _T("JobsModel", "Reading the model"),
    "Reading the text": _T("JobsModel", "Reading the text"),
    "Computing importance": _T("JobsModel", "Computing importance"),
    "Quantizing layers": _T("JobsModel", "Quantizing layers"),
    "Packing": _T("JobsModel", "Packing"),
    "Writing": _T("JobsModel", "Writing"),
    "Asking the Hub": _T("JobsModel", "Asking the Hub"),
    "Downloading": _T("JobsModel", "Downloading"),
}


def fraction(snapshot: Snapshot | None) -> float:
    """Share of the whole job that is done, 0 to 1."""
    if snapshot is None:
        return 0.0
    begin, end = STAGES.get(snapshot.stage, (0.0, 1.0))
    return begin + (end - begin) * snapshot.fraction


def stage_words(snapshot: Snapshot) -> str:
    """What a job is doing, translated where the stage is known."""
    known = STAGE_WORDS.get(snapshot.stage)
    return _tr(known) if known else snapshot.stage


def state_words(state: State) -> str:
    """A state in one word."""
    return _tr(STATES[state][0])


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as the table shows it; `name` is its id.

    is_ours: it runs, or would run, in this window's queue. is_cancelling: it has been asked to stop. left_bytes: what
    it left unfinished and could go on with takes so much room; 0 = nothing, or not looked up.
    """

    name: str
    record: JobRecord
    snapshot: Snapshot | None
    is_ours: bool = True
    is_cancelling: bool = False
    left_bytes: int = 0

    @property
    def state(self) -> State:
        """Its state."""
        return self.record.state

    @property
    def title(self) -> str:
        """The job in a few words."""
        return job_kinds.title(self.record.job)

    @property
    def fraction(self) -> float:
        """Share done: all of it once the job is done."""
        return 1.0 if self.state == "done" else fraction(self.snapshot)

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from its start to its end, or until now."""
        if self.record.started is None:
            return None
        return max((self.record.finished or time.time()) - self.record.started, 0.0)

    @property
    def rate(self) -> float | None:
        """Units of the running stage per second."""
        snapshot = self.snapshot
        return snapshot.rate if self.state == "running" and snapshot and snapshot.rate > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds this stage still needs, where that can be told."""
        return self.snapshot.eta_s if self.state == "running" and self.snapshot else None


def standing(row: JobRow) -> str:
    """How a job stands, in a word or two."""
    return _tr("Stopping…") if row.is_cancelling else state_words(row.state)


def _progress_words(row: JobRow) -> str:
    return text.percent(row.fraction) if row.state in {"running", "done"} else ""


def _seconds(value: float | None) -> str:
    return text.DASH if value is None else text.duration(value)


def _remaining(value: float | None) -> str:
    return text.DASH if value is None else text.remaining(value)


def _speed(row: JobRow) -> str:
    return text.DASH if row.rate is None or row.snapshot is None else text.rate(row.rate, row.snapshot.unit)


class JobsModel(RowsModel):
    """Job, state, progress, speed, time left, elapsed, and when it was added."""

    CONTEXT = "JobsModel"
    COLUMNS = (
        Column("title", _T("JobsModel", "Job"), lambda row: row.title),
        Column("state", _T("JobsModel", "State"), lambda row: standing(row)),
        Column("progress", _T("JobsModel", "Progress"), _progress_words),
        Column("rate", _T("JobsModel", "Speed"), _speed, numeric=True),
        Column("left", _T("JobsModel", "Time left"), lambda row: row.left_s, _remaining, True),
        Column("elapsed", _T("JobsModel", "Elapsed"), lambda row: row.elapsed_s, _seconds, True),
        Column("created", _T("JobsModel", "Added"), lambda row: row.record.created, text.moment, True),
    )

    def __init__(self, icon: Callable[[str, str], QIcon], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icon = icon

    def replace_row(self, row: JobRow) -> None:
        """Shows a job that changed; nothing where it is not in the table."""
        at = self.row_of(row.name)
        if at >= 0:
            self.rows = (*self.rows[:at], row, *self.rows[at + 1 :])
            self.dataChanged.emit(self.index(at, 0), self.index(at, len(self.COLUMNS) - 1))

    def advance(self, job_id: str, snapshot: Snapshot) -> None:
        """Shows the progress of a running job; it never goes back."""
        at = self.row_of(job_id)
        if at >= 0 and fraction(snapshot) >= fraction(self.rows[at].snapshot):
            self.replace_row(replace(self.rows[at], snapshot=snapshot))

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """The state's icon, the share done for the bar, and where from and to as tooltip."""
        if role == Qt.ItemDataRole.DecorationRole and column.key == "state":
            _, icon, color = STATES[row.state]
            return self._icon(icon, color)
        if role == FRACTION_ROLE:
            return row.fraction if row.state in {"running", "done"} else None
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tooltip(row)
        return None


def ordered(records: list[JobRecord]) -> list[JobRecord]:
    """The running job, the queue in its order, then what has ended, the latest first."""
    rank = {"running": 0, "queued": 1}
    waiting = [record for record in records if record.state not in ENDED]
    ended = [record for record in records if record.state in ENDED]
    return sorted(waiting, key=lambda record: rank[record.state]) + sorted(
        ended, key=lambda record: record.finished or record.created, reverse=True
    )


def _tooltip(row: JobRow) -> str:
    if row.snapshot is not None and row.state == "running":
        return f"{stage_words(row.snapshot)} {row.snapshot.note}".strip()
    return "\n".join(outputs_of(row.record.job))


def _tr(words: str) -> str:
    return QCoreApplication.translate("JobsModel", words)

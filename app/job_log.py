"""The steps of a job as lines with the time of day: what its worker said it was doing, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

from app import job_kinds, text
from core.errors import ErrorReport
from core.jobs import Job, QuantizeResult, Value, results_of
from core.progress import Snapshot
from core.store import Stopped

_T = QT_TRANSLATE_NOOP
STAGES: dict[str, str] = {
    "Planning": _T("JobLog", "Planning: reading the header of the source"),
    "Checking what is there": _T("JobLog", "Going on: checking {0} that an interrupted run left"),
    "Quantizing": _T("JobLog", "Quantizing {0} of tensors"),
    "Reading the text": _T("JobLog", "Reading the calibration text"),
    "Quantizing layers": _T("JobLog", "Quantizing layer by layer, while the text passes through them"),
    "Packing": _T("JobLog", "Packing {0} of tensors"),
    "Verifying": _T("JobLog", "Written; verifying: reading back {0}"),
    "Downloading": _T("JobLog", "Downloading {0}"),
}
STOPPED: dict[Stopped, str] = {
    "cancelled": _T("JobLog", "Cancelled"),
    "paused": _T("JobLog", "Paused"),
    "interrupted": _T("JobLog", "Interrupted: the window was closed"),
}


class JobLog:
    """Makes the lines of one run of a job; `now` gives seconds since the epoch."""

    def __init__(self, job: Job, now: Callable[[], float] = time.time) -> None:
        self._job = job
        self._now = now
        self._stage = ""

    def begun(self) -> str:
        """The line of the start."""
        if not hasattr(self._job, "threads"):
            return self._line(_tr("Started: {0}").format(job_kinds.title(self._job)))
        shown = str(self._job.threads) if self._job.threads else _tr("all")
        return self._line(_tr("Started: {0}; threads: {1}").format(job_kinds.title(self._job), shown))

    def advanced(self, snapshot: Snapshot) -> str:
        """A line for the first snapshot of a stage, '' for the others."""
        if snapshot.stage == self._stage:
            return ""
        self._stage = snapshot.stage
        words = _tr(STAGES.get(snapshot.stage, snapshot.stage))
        return self._line(words.format(text.size(snapshot.total)))

    def done(self, result: Value) -> str:
        """The lines of a result."""
        return "".join(map(self._done, results_of(result))) or self._line(_tr("Done"))

    def _done(self, result: QuantizeResult) -> str:
        kept = sum(row.source_type == row.type for row in result.tensors)
        return "".join(
            self._line(words)
            for words in (
                _tr("Verified: {0} tensors, {1} of them in the type they had").format(len(result.tensors), kept),
                _tr("Named {0}: {1} bytes").format(result.output, text.exact(result.bytes)),
                _tr("Done in {0}; peak memory {1}; SHA-256 {2}").format(
                    text.duration(result.seconds), text.size(result.peak_memory_bytes), result.sha256
                ),
            )
        )

    def failed(self, error: ErrorReport) -> str:
        """The line of a failure; the reasons are shown beside the log."""
        return self._line(_tr("Failed: {0}").format(error.what))

    def stopped(self, state: Stopped) -> str:
        """The line of a job that was asked to stop, and how it is kept."""
        return self._line(_tr(STOPPED[state]))

    def _line(self, words: str) -> str:
        return f"{time.strftime('%H:%M:%S', time.localtime(self._now()))}  {words}\n"


def _tr(words: str) -> str:
    return QCoreApplication.translate("JobLog", words)

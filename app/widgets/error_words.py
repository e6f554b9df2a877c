"""An error in sentences: what happened and why, then what to do."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from app.models.window_words import report_in_window
from core.errors import ErrorReport


def sentences(report: ErrorReport) -> list[str]:
    """One or two sentences; the cause follows what happened after a colon."""
    report = report_in_window(report)
    happened = ": ".join(part.rstrip(".") for part in (report.what, report.why) if part)
    words = [f"{happened}."]
    if report.remedy:
        words.append(QCoreApplication.translate("Errors", "What to do: {0}.").format(report.remedy.rstrip(".")))
    return words

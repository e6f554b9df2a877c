"""Saving results as a report: the question where to, and what is said where that cannot be written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from core.errors import OutputNotWritable
from core.jobs import Value
from core.report.report import report, reports, write_page

translate = QCoreApplication.translate


def save_report(results: Sequence[Value], suggested: str, parent: QWidget) -> Path | None:
    """Asks for a file name and writes one page there; None where the user changed their mind or it failed."""
    title = translate("ReportSaving", "Save report")
    chosen, _ = QFileDialog.getSaveFileName(parent, title, f"{suggested}.html", "HTML (*.html)")
    if not chosen:
        return None
    path = Path(chosen) if Path(chosen).suffix else Path(f"{chosen}.html")
    many = translate("ReportSaving", "{0} results").format(len(results))
    try:
        write_page(report(results[0]) if len(results) == 1 else reports(results, many), path)
    except OutputNotWritable as error:
        QMessageBox.warning(parent, title, error.line)
        return None
    return path

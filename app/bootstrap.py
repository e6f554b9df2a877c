"""Starts the window: logs and exception hooks first, then settings, theme, the long-lived objects and the first page.

Nothing heavy is imported here: the window has to be on the screen within a second.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil
from PySide6.QtCore import QCoreApplication, QObject, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QFont, QIcon
from PySide6.QtWidgets import QApplication, QMessageBox
from shiboken6 import delete

from app import logs, marker
from app.computing import Computing
from app.context import AppContext
from app.dialogs.error import ErrorDialog
from app.library import Library
from app.main_window import PAGES, MainWindow
from app.questions import Questions
from app.runner import JobQueue
from app.settings import Settings, config_dir, delete_settings
from app.theme import Theme
from app.warm import Warmer
from app.widgets.error_words import sentences
from core.errors import ErrorReport
from core.store import Store, data_dir

log = logging.getLogger(__name__)
RESOURCES = Path(__file__).parents[1] / "resources"
HEAVY = ("torch", "numba", "transformers", "pyqtgraph", "numpy")
FONT_PX = 13
WARM_AFTER_MS = 400
PROBE = "BITWRIGHT_STARTUP_PROBE"


def main(arguments: Sequence[str]) -> int:
    """Opens the window and runs until it is closed.

    `--reset-settings` forgets the settings first; the path of a model adds it to the list and selects it.
    """
    if "--reset-settings" in arguments:
        delete_settings()
    application = make_application()
    found = marker.look()
    if found == "open":
        QMessageBox.information(None, "Bitwright", QCoreApplication.translate("Start", "Bitwright is already open."))
        return 0
    try:
        logs.open_logs()
        marker.leave()
        window = open_window()
    except (OSError, sqlite3.OperationalError) as error:
        return _explain_failed_start(error)
    if found == "unclean":
        tell_unclean_end(window)
    _quit_on_signals(window)
    if models := [os.path.abspath(argument) for argument in arguments if not argument.startswith("--")]:
        window.painted.connect(lambda: window.add_models(models), Qt.ConnectionType.QueuedConnection)
    if os.environ.get(PROBE):
        window.painted.connect(lambda: _report_start(window), Qt.ConnectionType.QueuedConnection)
    modules = ("numpy", "pyqtgraph", *(row.module for row in PAGES), "app.panes.hub_browser")
    warmer = Warmer(modules, window.modules_loaded.emit)
    window.painted.connect(lambda: QTimer.singleShot(WARM_AFTER_MS, warmer.start))
    window.show()
    code = application.exec()
    warmer.stop()
    window.context.jobs.shutdown()
    marker.remove()
    return code


def _explain_failed_start(error: Exception) -> int:
    """Says on the screen and in the terminal why the window cannot open; the exit code is 1."""
    places = ", ".join(map(str, (data_dir(), config_dir(), logs.log_dir())))
    report = ErrorReport(
        type(error).__name__,
        QCoreApplication.translate("Start", "Bitwright cannot open its files"),
        str(error),
        QCoreApplication.translate("Start", "Check the disk and the permissions of {0}").format(places),
    )
    sys.stderr.write(f"error: {' '.join(sentences(report))}\n")
    dialog = ErrorDialog(report)
    dialog.exec()
    # Before the application goes: a widget that outlives it takes the process down.
    delete(dialog)
    return 1


def make_application() -> QApplication:
    """The QApplication with its name, font, style and icon."""
    application = QApplication(sys.argv[:1])
    application.setApplicationName("bitwright")
    application.setApplicationDisplayName("Bitwright")
    application.setDesktopFileName("bitwright")
    application.setStyle("Fusion")
    font = QFont(application.font())
    font.setPixelSize(FONT_PX)
    application.setFont(font)
    application.setWindowIcon(QIcon(str(RESOURCES / "icons" / "bitwright.svg")))
    return application


def make_context() -> AppContext:
    """The long-lived objects of the window."""
    settings = Settings()
    store = open_store()
    questions = Questions()
    return AppContext(
        settings=settings,
        store=store,
        jobs=JobQueue(store),
        questions=questions,
        timings=Questions(),
        hub=Questions(),
        fits=Questions(),
        library=Library(settings, questions),
        theme=Theme(settings.value("theme")),
        computing=Computing(settings),
    )


def open_store() -> Store:
    """The queue and its history; a file that is damaged is set aside under another name. Raises OperationalError."""
    try:
        return Store()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        path = data_dir() / "jobs.sqlite3"
        aside = path.with_suffix(".damaged.sqlite3")
        log.exception("the history could not be read; kept as %s, a new one begins", aside)
        path.replace(aside)
        return Store()


def open_window() -> MainWindow:
    """Makes everything the window needs, and the window; the first scan and the queue start once it is painted."""
    context = make_context()
    window = MainWindow(context)
    logs.catch_exceptions(ErrorReporter(window).report)
    context.jobs.set_room("network", context.settings.value("downloads_at_once"))
    for begin in (
        context.library.rescan,
        context.jobs.resume_interrupted,
        context.jobs.resume,
        window.offer_downloads,
    ):
        window.painted.connect(begin, Qt.ConnectionType.QueuedConnection)
    return window


class ErrorReporter(QObject):
    """Shows unhandled exceptions of any thread in the window's thread, one dialog at a time."""

    _arrived = Signal(object)

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._is_shown = False
        self._arrived.connect(self._show, Qt.ConnectionType.QueuedConnection)

    def report(self, report: ErrorReport) -> None:
        """May be called in any thread."""
        self._arrived.emit(report)

    def _show(self, report: ErrorReport) -> None:
        if self._is_shown:
            return
        dialog = ErrorDialog(report, self._window)
        dialog.finished.connect(self._on_closed)
        self._is_shown = True
        dialog.open()

    def _on_closed(self) -> None:
        self._is_shown = False


def tell_unclean_end(window: MainWindow) -> None:
    """Says that the last session did not end in order, with a way to the log."""
    window.banner.show_message(
        QCoreApplication.translate(
            "Start", "Bitwright did not end in order last time. Jobs that ran then are on the Jobs page, to be retried."
        ),
        QCoreApplication.translate("Start", "Open log"),
        lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(logs.log_path()))),
    )


def _quit_on_signals(window: MainWindow) -> None:
    """Ctrl+C in a terminal and SIGTERM close the window in order, without a question."""

    def leave(number: int, frame: FrameType | None) -> None:
        log.info("signal %s: closing", number)
        QTimer.singleShot(0, window.close_unasked)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def process_age_s() -> float:
    """Seconds since this process began.

    Linux gives the start in ticks since the boot, so it is compared with the clock that counts from there: the time
    of the boot itself is only known to the second.
    """
    began = psutil.Process().create_time()
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - (began - psutil.boot_time())
    return time.time() - began


def _report_start(window: MainWindow) -> None:
    """For the benchmark: seconds from the process' start to the first paint, and which heavy modules came along."""
    seconds = process_age_s()
    report = {"first_paint_s": round(seconds, 3), "heavy_modules": [name for name in HEAVY if name in sys.modules]}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    QTimer.singleShot(0, window.close_unasked)

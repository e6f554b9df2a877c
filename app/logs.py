"""The log: a rotating file for logging, Qt's messages and the workers' output, and a file for native crashes.

Nothing leaves this computer. Unhandled exceptions are logged and handed to whoever shows them.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import TextIO

import platformdirs
from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

from core.errors import ErrorReport

MAX_BYTES = 1_000_000
KEPT = 3
log = logging.getLogger(__name__)
qt_log = logging.getLogger("qt")

_crash_file: TextIO | None = None

_QT_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


def log_dir() -> Path:
    """The directory of the logs (BITWRIGHT_LOG_DIR overrides it); not created here."""
    override = os.environ.get("BITWRIGHT_LOG_DIR")
    return Path(override) if override else Path(platformdirs.user_log_dir("bitwright", appauthor=False))


def log_path() -> Path:
    """The log file that is being written."""
    return log_dir() / "bitwright.log"


def open_logs() -> None:
    """Sends logging and Qt's messages to the log file, and native crashes to crash.log beside it."""
    log_dir().mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(log_path(), maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    qInstallMessageHandler(_on_qt_message)
    global _crash_file
    # Kept open for the life of the process: the handler writes to its descriptor while the process dies.
    _crash_file = (log_dir() / "crash.log").open("a", encoding="utf-8")
    faulthandler.enable(_crash_file)


def close_crash_file() -> None:
    """Stops writing native crashes to the file."""
    if _crash_file is not None:
        faulthandler.disable()
        _crash_file.close()


def catch_exceptions(show: Callable[[ErrorReport], None]) -> None:
    """Logs every unhandled exception of any thread and calls `show` with a report, in the thread where it happened."""

    def handle(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        details = "".join(traceback.format_exception(kind, error, trace))
        log.error("unhandled exception\n%s", details)
        show(ErrorReport.of(error, details))

    def handle_in_thread(event: threading.ExceptHookArgs) -> None:
        if event.exc_value is not None:
            handle(event.exc_type, event.exc_value, event.exc_traceback)

    sys.excepthook = handle
    threading.excepthook = handle_in_thread


def _on_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
    qt_log.log(_QT_LEVELS[kind], "%s", message)

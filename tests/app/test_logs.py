"""The log file, unhandled exceptions, Qt's messages, and the mark of an open window."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading

import pytest
from PySide6.QtCore import qInstallMessageHandler, qWarning

from app import logs, marker
from core.store import data_dir


@pytest.fixture
def open_log():
    """The log as the window opens it, closed again afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook
    logs.open_logs()
    yield logs.log_path()
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
    qInstallMessageHandler(None)
    logs.close_crash_file()
    sys.excepthook, threading.excepthook = hooks


def test_messages_of_the_program_and_of_qt_reach_the_file(qapp, open_log):
    logging.getLogger("worker").info("a native library said this")
    qWarning("something about a font")
    written = open_log.read_text()
    assert "INFO worker: a native library said this" in written
    assert "WARNING qt: something about a font" in written


def test_an_unhandled_exception_is_logged_and_shown(open_log):
    seen = []
    logs.catch_exceptions(seen.append)
    try:
        raise RuntimeError("the engine tripped")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert seen[0].kind == "Bug"
    assert "the engine tripped" in seen[0].why
    assert "Traceback" in seen[0].details
    assert "the engine tripped" in open_log.read_text()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exception_in_a_thread_is_shown_too(open_log):
    seen = []
    logs.catch_exceptions(seen.append)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert "ZeroDivisionError" in seen[0].why


def test_the_log_is_kept_small(open_log):
    logger = logging.getLogger("worker")
    for _ in range(60):
        logger.info("x" * 100_000)
    sizes = [path.stat().st_size for path in logs.log_dir().glob("bitwright.log*")]
    assert len(sizes) == 1 + logs.KEPT
    assert max(sizes) <= logs.MAX_BYTES + 200_000


def test_no_mark_means_a_clean_end(own_folders):
    assert marker.look() == "nothing"
    marker.leave()
    marker.remove()
    assert marker.look() == "nothing"


def test_the_mark_of_a_window_that_is_open(own_folders):
    other = subprocess.Popen(
        [sys.executable, "-c", "from app import marker; marker.leave(); print('left', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"left\n"
    assert marker.look() == "open"
    other.kill()
    other.communicate()
    assert marker.look() == "unclean"


@pytest.mark.parametrize(
    "content", ["", "{}", json.dumps({"pid": os.getpid(), "started": 1.0})], ids=["empty", "nothing", "later"]
)
def test_a_mark_that_fits_no_process_is_an_unclean_end(own_folders, content):
    data_dir().mkdir(parents=True)
    (data_dir() / "window.json").write_text(content)
    assert marker.look() == "unclean"

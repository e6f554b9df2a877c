"""What can go wrong half way, in the real window: cancel, a killed worker, a full disk; and the retry after it."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from app import job_kinds
from app.main_window import MainWindow
from core.jobs import QuantizeJob, QuantizeOptions
from tests.app.conftest import context, window

__all__ = ["context", "window"]
WAIT_MS = 180_000
pytestmark = pytest.mark.slow


@pytest.fixture
def job(sample, tmp_path) -> QuantizeJob:
    options = QuantizeOptions(target="Q8_0", allow_requantize=True)
    return QuantizeJob(source=str(sample), output=str(tmp_path / "out.gguf"), options=options)


def start(window: MainWindow, qtbot, job: QuantizeJob) -> str:
    """Starts the job as the Quantize page asks for it, and waits until it is half way."""
    window.start_job(job)
    jobs = window.context.jobs
    job_id = jobs.running()
    qtbot.waitUntil(lambda: jobs.snapshot() is not None and jobs.snapshot().fraction > 0.2, timeout=WAIT_MS)
    assert jobs.snapshot().stage == "Quantizing"
    return job_id


def wait_for_end(window: MainWindow, qtbot, job_id: str) -> str:
    """Waits until the job no longer runs and returns its state."""
    qtbot.waitUntil(lambda: window.context.store.get(job_id).state not in {"running", "queued"}, timeout=WAIT_MS)
    return window.context.store.get(job_id).state


def press(window: MainWindow, qtbot, key: str) -> None:
    """Presses a button of the job that is selected on the Jobs page."""
    button = window.page("jobs").findChild(QPushButton, f"job_{key}")
    assert button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def the_window_is_alive(window: MainWindow, qtbot) -> None:
    """Pages open, and the light worker answers."""
    for key in ("models", "quantize", "jobs"):
        window.show_page(key)
        assert window.current_page() == key
    with qtbot.waitSignal(window.context.library.changed, timeout=WAIT_MS):
        window.context.library.rescan()


def the_retry_succeeds(window: MainWindow, qtbot, job_id: str, job: QuantizeJob) -> None:
    """The button on the page brings the same job to its end, and nothing but its output is left."""
    press(window, qtbot, "retry")
    assert wait_for_end(window, qtbot, job_id) == "done"
    assert list(Path(job.output).parent.iterdir()) == [Path(job.output)]
    assert window.page("jobs").findChild(QPushButton, "job_result").isVisible()


def test_cancel_half_way(window, qtbot, job):
    job_id = start(window, qtbot, job)
    press(window, qtbot, "cancel")
    assert wait_for_end(window, qtbot, job_id) == "cancelled"
    assert not Path(job.output).exists()
    assert "Cancelled" in window.page("jobs").inspector.words()
    assert job_kinds.title(job) in window.status._message.text()
    press(window, qtbot, "discard")
    assert list(Path(job.output).parent.iterdir()) == []
    the_window_is_alive(window, qtbot)
    the_retry_succeeds(window, qtbot, job_id, job)


def test_the_worker_is_killed_half_way(window, qtbot, job):
    job_id = start(window, qtbot, job)
    os.kill(window.context.jobs.worker_pid(), signal.SIGKILL)
    assert wait_for_end(window, qtbot, job_id) == "failed"
    assert not Path(job.output).exists()
    words = window.page("jobs").inspector.words()
    assert "ended unexpectedly" in words
    assert "killed" in words
    assert "What to do: Retry" in words
    assert "failed" in window.status._message.text()
    the_window_is_alive(window, qtbot)
    the_retry_succeeds(window, qtbot, job_id, job)


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """No file of this process or a child of it may grow beyond n_bytes: the write fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_the_disk_fills_up_half_way(window, qtbot, job):
    with full_disk(60_000_000):
        # Not `start`: the disk may be full before the first progress is seen.
        window.start_job(job)
        job_id = window.context.jobs.running()
        assert wait_for_end(window, qtbot, job_id) == "failed"
    assert list(Path(job.output).parent.iterdir()) == []
    words = window.page("jobs").inspector.words()
    assert "not enough room" in words
    assert "Free some space" in words
    the_window_is_alive(window, qtbot)
    the_retry_succeeds(window, qtbot, job_id, job)


def test_a_folder_that_cannot_be_written(window, qtbot, job, tmp_path):
    blocked = job.model_copy(update={"output": str(tmp_path / "missing" / "out.gguf")})
    window.start_job(blocked)
    job_id = window.page("jobs").selected()
    assert wait_for_end(window, qtbot, job_id) == "failed"
    assert "missing" in window.page("jobs").inspector.words()
    (tmp_path / "missing").mkdir()
    the_window_is_alive(window, qtbot)
    the_retry_succeeds(window, qtbot, job_id, blocked)


def test_the_light_worker_is_killed(window, qtbot, sample):
    page = window.page("models")
    qtbot.waitUntil(lambda: bool(page.selected() and page.selected().tensors), timeout=WAIT_MS)
    os.kill(window.context.questions.worker_pid(), signal.SIGKILL)
    qtbot.waitUntil(lambda: window.context.questions.worker_pid() is None, timeout=WAIT_MS)
    the_window_is_alive(window, qtbot)

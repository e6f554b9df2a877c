"""Fixtures of the window's tests: the application, its long-lived objects, and the whole window, ended in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication

from app.bootstrap import make_context
from app.context import AppContext
from app.main_window import MainWindow
from core.catalog import SAMPLE_NAME


@pytest.fixture
def context(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppContext]:
    """The window's objects over folders of this test's own; every worker has ended afterwards.

    Nothing is timed by itself: every test begins without a history, and would load the processor for seconds. Jobs
    compute on the processor, whatever this machine has.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    qapp.setStyle("Fusion")
    monkeypatch.setattr("app.widgets.before_start.PATIENCE_MS", 3_600_000)
    made = make_context()
    yield made
    made.jobs.shutdown()
    made.computing.stop()
    # Widgets that a test closed would otherwise live on, and every later change of the style would repaint them.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def window(context: AppContext, qtbot) -> Iterator[MainWindow]:
    """The whole window, shown, with the sample in its list."""
    made = MainWindow(context)
    qtbot.addWidget(made)
    made.show()
    with qtbot.waitSignal(context.library.changed, timeout=180_000):
        context.library.rescan()
    assert context.library.models()[0].name == SAMPLE_NAME
    yield made
    made.close_unasked()

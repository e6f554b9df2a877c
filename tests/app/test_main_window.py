"""The whole window: pages, shortcuts, drops, accessible names, geometry, banner, errors, and an orderly end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QPushButton, QSplitter

from app.bootstrap import ErrorReporter, tell_unclean_end
from app.dialogs.error import ErrorDialog
from app.main_window import PAGES, MainWindow
from core.errors import ErrorReport
from core.jobs import QuantizeJob, QuantizeOptions
from tests.app.accessibility import controls, nameless, silent

ROOT = Path(__file__).parents[2]
WAIT_MS = 180_000


@pytest.mark.parametrize("row", PAGES, ids=lambda row: row.key)
def test_every_page_opens_by_its_shortcut(window, qtbot, row):
    number = PAGES.index(row) + 1
    window.activateWindow()
    qtbot.waitActive(window)
    qtbot.keyClick(window, Qt.Key(Qt.Key.Key_0 + number), Qt.KeyboardModifier.ControlModifier)
    assert window.current_page() == row.key


def test_a_page_is_built_once_and_only_when_it_is_shown(window):
    assert set(window._pages) == {"models"}
    window.show_page("settings")
    page = window.page("settings")
    window.show_page("models")
    window.show_page("settings")
    assert window.page("settings") is page
    assert set(window._pages) == {"models", "settings"}


@pytest.mark.parametrize("row", PAGES, ids=lambda row: row.key)
def test_everything_that_can_be_used_has_a_name(window, row):
    window.show_page(row.key)
    assert len(controls(window)) >= len(PAGES)
    assert nameless(window) == []
    assert silent(window) == []


@pytest.mark.parametrize("row", PAGES, ids=lambda row: row.key)
def test_a_page_has_at_most_one_primary_button_in_sight(window, row):
    window.show_page(row.key)
    shown = [
        button.text()
        for button in window.page(row.key).findChildren(QPushButton)
        if button.property("primary") and button.isVisible()
    ]
    assert len(shown) <= 1, shown


def test_the_smallest_window_fits_its_pages(window):
    for row in PAGES:
        window.show_page(row.key)
        hint = window.minimumSizeHint()
        assert hint.width() <= 1024, row.key
        assert hint.height() <= 700, row.key


def test_the_other_pages_are_made_ahead_and_the_one_in_sight_stays(window, qtbot):
    window.modules_loaded.emit()
    assert set(window._pages) == {"models"}
    qtbot.waitUntil(lambda: set(window._pages) == {row.key for row in PAGES}, timeout=180_000)
    assert window.current_page() == "models"
    # A page that was never in sight has no place of its handle to remember.
    assert window.page("jobs").findChild(QSplitter, "jobs_split").saveState().isEmpty()
    assert not window.page("models").findChild(QSplitter, "models_split").saveState().isEmpty()


def test_a_job_whose_output_another_one_will_write_is_not_queued(window, sample, tmp_path):
    options = QuantizeOptions(target="Q8_0", allow_requantize=True)
    job = QuantizeJob(source=str(sample), output=str(tmp_path / "out.gguf"), options=options)
    window.context.store.add(job)
    window.start_job(job)
    assert len(window.context.store.jobs()) == 1
    assert job.output in window.status._message.text()


def test_a_dropped_file_is_added_and_shown(window, qtbot, sample, tmp_path):
    copy = tmp_path / "mine.gguf"
    shutil.copy(sample, copy)
    window.show_page("settings")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(copy)), QUrl.fromLocalFile(str(tmp_path / "notes.txt"))])
    event = QDropEvent(
        QPointF(300, 300),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    with qtbot.waitSignal(window.context.library.arrived, timeout=WAIT_MS) as heard:
        window.dropEvent(event)
    assert heard.args == [str(copy)]
    assert window.current_page() == "models"
    assert window.page("models").selected().path == str(copy)
    assert str(copy) in window.status._message.text()


def test_geometry_and_splitters_are_remembered(context, qtbot):
    first = MainWindow(context)
    qtbot.addWidget(first)
    first.resize(1000, 690)
    first.show()
    split = first.page("models").findChild(QSplitter, "models_split")
    split.setSizes([330, 500])
    remembered = split.sizes()
    first.close()
    second = MainWindow(context)
    qtbot.addWidget(second)
    second.show()
    # The offscreen platform's screen is narrower than the window, which is brought back into it.
    assert second.height() == 690
    second.resize(1000, 690)
    assert second.page("models").findChild(QSplitter, "models_split").sizes() == remembered


def test_an_unclean_end_is_told_with_a_way_to_the_log(window):
    assert not window.banner.isVisible()
    tell_unclean_end(window)
    assert window.banner.isVisible()
    assert "did not end in order" in window.banner.words()


def test_an_unhandled_exception_becomes_one_dialog(window, qtbot):
    reporter = ErrorReporter(window)
    report = ErrorReport("Bug", "Something went wrong inside Bitwright", "KeyError: 3", "Retry", "Traceback …")
    reporter.report(report)
    reporter.report(report)
    qtbot.waitUntil(lambda: bool(window.findChildren(ErrorDialog)))
    qtbot.wait(20)
    (dialog,) = window.findChildren(ErrorDialog)
    for part in (report.what, report.why, report.remedy, report.details):
        assert part in dialog.as_text()
    copy = next(button for button in dialog.findChildren(QPushButton) if button.text() == dialog.tr("Copy"))
    copy.click()
    assert QGuiApplication.clipboard().text() == dialog.as_text()
    dialog.close()
    reporter.report(report)
    qtbot.waitUntil(lambda: any(shown.isVisible() for shown in window.findChildren(ErrorDialog)))


@pytest.mark.parametrize("answer", [False, True])
def test_quitting_asks_while_a_job_runs(window, qtbot, sample, tmp_path, monkeypatch, answer):
    asked = []
    monkeypatch.setattr("app.dialogs.confirm.confirm_quit", lambda parent, job: asked.append(job) or answer)
    job_id = window.context.jobs.submit(
        QuantizeJob(
            source=str(sample),
            output=str(tmp_path / "out.gguf"),
            options=QuantizeOptions(target="Q8_0", allow_requantize=True),
        )
    )
    qtbot.waitUntil(lambda: window.context.jobs.snapshot() is not None, timeout=WAIT_MS)
    window.close()
    assert len(asked) == 1
    assert window.isVisible() is not answer
    assert window.context.store.get(job_id).state == ("cancelled" if answer else "running")
    assert list(tmp_path.glob("out.gguf")) == []


def test_the_real_start_is_light_and_ends_in_order(own_folders):
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py")],
        env=os.environ | {"BITWRIGHT_STARTUP_PROBE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert set(report["heavy_modules"]) & {"torch", "numba", "transformers"} == set()
    assert report["first_paint_s"] > 0
    assert not (own_folders / "data" / "window.json").exists()

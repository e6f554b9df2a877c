"""What is to be measured: the choice makes the job that it says."""

from __future__ import annotations

import shlex

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog

from app.widgets.device_box import DeviceBox
from app.widgets.measure_pane import MeasurePane
from app.widgets.texts import DatasetDialog
from core.jobs import QUICK_CHUNKS, Check, EvaluateJob, PreflightResult, QuantizeOptions, SensitivityJob
from tests.app.accessibility import nameless, silent
from tests.app.values import make_summary

WAIT = 180_000
ORIGINAL = make_summary("/m/original.gguf", quantized=False)
SMALL = make_summary("/m/small.gguf")
OTHER = make_summary("/m/other.gguf", layers=9)


@pytest.fixture
def pane(context, qtbot):
    context.settings.set("threads", 1)
    device = DeviceBox(context.settings, context.computing)
    made = MeasurePane(context.theme, lambda: (ORIGINAL, SMALL, OTHER), context.computing, device)
    qtbot.addWidget(made)
    made.show()
    return made


def test_a_model_leads_to_its_original(pane):
    pane.open(model=SMALL.path)
    assert pane.job == EvaluateJob(source=ORIGINAL.path, models=(SMALL.path,), chunks=QUICK_CHUNKS, threads=1)
    assert pane.models.list.count() == 1  # the other is another network
    pane.full.setChecked(True)
    pane.as_run.setChecked(True)
    assert pane.job.as_run
    pane.texts.kinds["chat"].setChecked(False)
    assert pane.job.chunks == 0
    assert pane.job.categories == ("code", "languages", "prose")


def test_what_is_missing_is_said(pane, qtbot):
    pane.open()
    assert not pane.button.isEnabled()
    assert "original" in pane._missing.text()
    pane._take_original(ORIGINAL.path)
    assert "Tick one model" in pane._missing.text()
    pane.models.list.item(0).setCheckState(Qt.CheckState.Checked)
    with qtbot.waitSignal(pane.job_requested) as asked:
        pane.button.click()
    assert asked.args[0].models == (SMALL.path,)
    for box in pane.texts.kinds.values():
        box.setChecked(False)
    assert not pane.button.isEnabled()


def test_files_and_texts_from_elsewhere(pane, monkeypatch):
    pane.open(ORIGINAL.path)
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (["/x/far.gguf"], ""))
    pane.models._browse_file()
    assert pane.models.chosen == ("/x/far.gguf",)
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (["/x/a.txt", "/x/b.txt"], ""))
    pane.texts.files.click()
    assert (pane.job.text, pane.job.categories) == (("/x/a.txt", "/x/b.txt"), ())
    pane.texts.files.click()
    assert pane.job.text == ()
    pane.texts.dataset.click()
    dialog = pane.findChild(DatasetDialog)
    dialog.line.setText("owner/name")
    dialog.ok.click()
    assert pane.job.text == ("dataset:owner/name",)
    assert not pane.texts.dataset.isVisibleTo(pane)


def test_parts_need_no_models(pane):
    pane.open(ORIGINAL.path)
    pane.of_parts.setChecked(True)
    pane.target.setCurrentText("Q3_K_S")
    pane.grain.setCurrentIndex(1)
    options = QuantizeOptions(target="Q3_K_S")
    assert pane.job == SensitivityJob(source=ORIGINAL.path, options=options, by="layer", threads=1)
    assert "16 windows of 128" in pane.quick.text()
    assert not pane.as_run.isVisible()
    pane.copy.click()
    assert shlex.split(QGuiApplication.clipboard().text())[2:6] == ["sensitivity", ORIGINAL.path, "--to", "Q3_K_S"]
    assert not pane.models.list.isVisible()


def test_what_stands_in_the_way_is_said_before_it_starts(pane, qtbot):
    with qtbot.waitSignal(pane.check_wanted, timeout=WAIT) as asked:
        pane.open(model=SMALL.path)
    assert asked.args[0] == pane.job
    fine = Check(step="files", level="fine", cause="All files are complete.")
    pane.show_checks(PreflightResult(checks=(fine,), seconds=61.0, seconds_basis=2))
    assert any("1 min" in line for line in pane.checks.lines())
    assert not pane._unknown.isActive()
    with qtbot.waitSignal(pane.check_wanted, timeout=WAIT) as again:
        pane.full.setChecked(True)
    assert again.args[0].chunks == 0
    assert pane.checks.lines() == []
    pane.show_checks(PreflightResult(checks=(fine,)))
    assert pane._unknown.isActive(), "what was never timed here is timed when nothing changes for a while"
    with qtbot.waitSignal(pane.timing_wanted, timeout=WAIT):
        pane._unknown.start(0)


def test_the_page_asks_what_a_measurement_needs(window, qtbot):
    window.measure(window.context.library.models()[0].path)
    pane = window.page("results").measure
    pane._take_original(window.context.library.models()[0].path)
    pane.of_parts.setChecked(True)
    qtbot.waitUntil(
        lambda: any("Needs about" in line or "In order" in line for line in pane.checks.lines()), timeout=WAIT
    )


def test_everything_has_a_name(pane):
    pane.open(ORIGINAL.path)
    assert nameless(pane) == []
    assert silent(pane) == []


def test_a_measurement_goes_into_the_queue(window):
    sample = window.context.library.models()[0].path
    window.measure(sample)
    page = window.page("results")
    assert window.current_page() == "results"
    page.measure.open(sample)
    page.measure.of_parts.setChecked(True)
    window.context.jobs.submit = lambda job: window.__dict__.setdefault("asked", job)
    page.measure.button.click()
    assert window.asked.source == sample
    assert window.current_page() == "jobs"

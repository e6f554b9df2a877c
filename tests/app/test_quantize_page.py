"""The Quantize page with the real light worker and the real sample."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QComboBox, QFileDialog, QLineEdit, QTableView

from app.models.plan import AUTOMATIC
from app.pages.quantize import QuantizePage
from core.catalog import MIXES
from core.jobs import Override, QuantizeJob

QUERY = "blk.0.attn_q.weight"
WAIT = 180_000


@pytest.fixture
def page(context, qtbot):
    made = QuantizePage(context)
    qtbot.addWidget(made)
    made.resize(1208, 740)
    made.show()
    return made


@pytest.fixture
def planned(page, sample, qtbot, tmp_path):
    """The page with the sample's plan, writing to a folder of this test."""
    page.context.settings.set("output_folder", str(tmp_path))
    page.set_source(str(sample))
    qtbot.waitUntil(lambda: page.plan is not None and page.gguf.is_quantized(), timeout=WAIT)
    return page


def child(page, kind, name):
    found = page.findChild(kind, name)
    assert found is not None, name
    return found


def _is_planned(page):
    return page.is_settled and page.plan is not None


def wait_for_plan(page, qtbot, condition):
    qtbot.waitUntil(lambda: _is_planned(page) and condition(page.plan), timeout=WAIT)


def test_without_a_model_it_says_what_to_do(page):
    words = [button.text() for button in page.findChildren(QAbstractButton) if button.isVisible()]
    assert "Use the sample" in words
    assert not child(page, QAbstractButton, "quantize_button").isVisible()


def test_the_samples_facts_and_plan_are_shown(planned):
    shown = planned.strip._facts.text()
    assert "Q4_1" in shown
    assert "134.5 M parameters" in shown
    assert len(planned.table.model.rows) == 272
    assert child(planned, QTableView, "plan_table").model().rowCount() == 272
    assert "becomes" in planned.pane.headline.text()
    fallen = sum(t.fallback for t in planned.plan.tensors)
    assert planned.pane.fallbacks.text().startswith(f"{fallen} of 272 tensors fall back because rows of 576")
    assert sum(s.after for s in planned.pane.bars.sizes) == planned.plan.bytes


def test_a_quantized_source_must_be_allowed_first(planned, qtbot):
    button = child(planned, QAbstractButton, "quantize_button")
    allow = child(planned, QAbstractButton, "allow_requantize")
    assert allow.isVisible()
    assert not button.isEnabled()
    assert "allow" in planned.preview.text()
    allow.click()
    qtbot.waitUntil(button.isEnabled, timeout=WAIT)
    assert f"exactly {planned.plan.bytes:,}".replace(",", "\u2009") in planned.preview.text()
    assert "of memory while it runs" in planned.preview.text()


def test_the_button_asks_for_exactly_what_is_chosen(planned, qtbot, tmp_path, sample):
    child(planned, QAbstractButton, "allow_requantize").click()
    child(planned, QAbstractButton, "target_Q6_K").click()
    wait_for_plan(planned, qtbot, lambda plan: plan.target == "Q6_K")
    planned.table.model.override([QUERY], "Q8_0")
    wait_for_plan(planned, qtbot, lambda plan: any(t.overridden for t in plan.tensors))
    with qtbot.waitSignal(planned.job_requested) as asked:
        child(planned, QAbstractButton, "quantize_button").click()
    job = asked.args[0]
    assert isinstance(job, QuantizeJob)
    assert (job.source, job.output) == (str(sample), str(tmp_path / "SmolLM2-135M-Instruct-Q6_K.gguf"))
    assert job.options.target == "Q6_K"
    assert job.options.allow_requantize
    assert job.options.overrides == (Override(tensor=QUERY, type="Q8_0"),)


@pytest.mark.parametrize("mix", [mix for mix in MIXES if mix.common], ids=lambda mix: mix.name)
def test_every_card_makes_its_plan_and_names_its_file(planned, qtbot, mix):
    card = child(planned, QAbstractButton, f"target_{mix.name}")
    card.click()
    wait_for_plan(planned, qtbot, lambda plan: plan.target == mix.name)
    assert child(planned, QLineEdit, "output_name").text().endswith(f"-{mix.name}.gguf")


def test_an_importance_matrix_makes_more_types_possible(planned, qtbot, tmp_path, sample, monkeypatch):
    from core.imatrix import Entry, ImportanceMatrix, write_imatrix

    child(planned, QAbstractButton, "target_IQ2_M").click()
    qtbot.waitUntil(lambda: not planned.problem.isHidden(), timeout=WAIT)
    assert not child(planned, QAbstractButton, "quantize_button").isEnabled()
    rows = {tensor.name: tensor.shape[-1] for tensor in planned._summary.tensors if tensor.name.startswith("blk.")}
    ones = {name: Entry(np.ones((1, length), np.float32), np.ones((1, 1), np.float32)) for name, length in rows.items()}
    write_imatrix(tmp_path / "i.gguf", ImportanceMatrix(ones, ("a",)))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "i.gguf"), ""))
    chooser = child(planned, QAbstractButton, "choose_imatrix")
    chooser.click()
    wait_for_plan(planned, qtbot, lambda plan: plan.target == "IQ2_M")
    assert planned.problem.isHidden()
    assert chooser.text() == "i.gguf"
    assert all(row.weighted for row in planned.plan.tensors if row.name.endswith("ffn_down.weight"))
    assert shlex.split(_copied(planned, qtbot))[-2:] == ["--imatrix", str(tmp_path / "i.gguf")]
    child(planned, QAbstractButton, "remove_imatrix").click()
    qtbot.waitUntil(lambda: not planned.problem.isHidden(), timeout=WAIT)


def _copied(page, qtbot):
    child(page, QAbstractButton, "copy_command").click()
    return QGuiApplication.clipboard().text()


def test_pure_changes_the_plan(planned, qtbot):
    before = planned.plan
    child(planned, QAbstractButton, "pure").click()
    wait_for_plan(planned, qtbot, lambda plan: plan.bytes != before.bytes)
    assert planned.gguf.options.pure


def test_an_override_is_marked_and_can_be_taken_back(planned, qtbot):
    before = planned.plan.bytes
    planned.table.model.override([QUERY], "F16")
    wait_for_plan(planned, qtbot, lambda plan: plan.bytes != before)
    row = planned.table.model.rows[planned.table.model.row_of(QUERY)]
    assert (row.target_type, row.overridden) == ("F16", True)
    reset = child(planned, QAbstractButton, "reset_overrides")
    assert reset.isVisible()
    reset.click()
    wait_for_plan(planned, qtbot, lambda plan: plan.bytes == before)
    assert not reset.isVisible()


def test_the_editor_offers_what_fits_and_hands_the_choice_over(planned, qtbot):
    view = child(planned, QTableView, "plan_table")
    planned.table.select(QUERY)
    column = planned.table.model.column_of("to")
    index = view.model().index(view.currentIndex().row(), column)
    view.edit(index)
    editor = view.findChild(QComboBox)
    offered = [editor.itemData(row) for row in range(editor.count())]
    assert offered[0] == AUTOMATIC
    assert "Q8_0" in offered
    assert "Q4_K" not in offered
    editor.setCurrentIndex(offered.index("Q8_0"))
    editor.activated.emit(editor.currentIndex())
    wait_for_plan(planned, qtbot, lambda plan: any(t.overridden for t in plan.tensors))
    assert planned.gguf.options.overrides == (Override(tensor=QUERY, type="Q8_0"),)


def test_many_tensors_get_one_type_from_the_menu(planned, qtbot):
    planned.table.filter_box.setText("attn_k")
    planned.table.view.selectAll()
    names = planned.table.selected_names()
    assert len(names) == 30
    menu = planned.table.menu()
    next(action for action in menu.actions() if action.text() == "Q8_0").trigger()
    wait_for_plan(planned, qtbot, lambda plan: sum(t.overridden for t in plan.tensors) == 30)


def test_the_sentence_leads_to_the_fallback_rows(planned):
    planned.pane.fallbacks.clicked.emit()
    assert planned.table.rows.rowCount() == sum(t.fallback for t in planned.plan.tensors)


def test_the_selected_tensors_reason_is_shown_in_full(planned):
    planned.table.select(QUERY)
    row = planned.table.current()
    assert planned.table.detail.text() == f"{QUERY}: Fallback: {row.reason}"


def test_the_command_is_the_job(planned, sample):
    child(planned, QAbstractButton, "allow_requantize").setChecked(True)
    planned.table.model.override([QUERY], "Q8_0")
    child(planned, QAbstractButton, "copy_command").click()
    words = shlex.split(QGuiApplication.clipboard().text())
    assert words[words.index("quantize") + 1] == str(sample)
    assert words[words.index("--to") + 1] == "Q4_K_M"
    assert words[words.index("--out") + 1] == planned.output.path
    assert words[words.index("--tensor-type") + 1] == f"{QUERY}=Q8_0"
    assert "--allow-requantize" in words


def test_only_the_last_of_many_quick_choices_is_planned(planned, qtbot):
    for name in ("Q8_0", "Q4_0", "F16", "Q6_K"):
        child(planned, QAbstractButton, f"target_{name}").click()
    assert not child(planned, QAbstractButton, "quantize_button").isEnabled()
    wait_for_plan(planned, qtbot, lambda plan: plan.target == "Q6_K")
    qtbot.wait(300)
    assert planned.plan.target == "Q6_K"


def test_a_file_that_is_not_there_says_what_why_and_what_to_do(page, qtbot, tmp_path):
    page.set_source(str(tmp_path / "gone.gguf"))
    qtbot.waitUntil(page.problem.isVisible, timeout=WAIT)
    assert "gone.gguf does not exist" in page.problem.text()
    assert "Check the path" in page.problem.text()
    assert not page.button.isEnabled()
    assert not page.table.isVisible()


def test_an_unknown_family_can_be_left_to_llama_cpp(page, qtbot, tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["StrangeForCausalLM"]}')
    page.set_source(str(tmp_path))
    qtbot.waitUntil(page.problem.isVisible, timeout=WAIT)
    button = child(page, QAbstractButton, "quantize_button")
    assert "StrangeForCausalLM" in page.problem.text()
    assert "Settings" in page.problem.text()
    assert not button.isEnabled()
    page.context.settings.set("converter", "/programs/llama.cpp")
    qtbot.waitUntil(button.isEnabled, timeout=WAIT)
    assert not page.problem.isVisible()
    assert "llama.cpp" in page.pane.headline.text()
    assert "llama.cpp" in page.strip._facts.text()
    assert page.jobs()[-1].options.converter == "/programs/llama.cpp"
    page.context.settings.set("converter", "")
    assert page.problem.isVisible()
    assert page.jobs()[-1].options.converter == ""


def test_a_problem_goes_away_with_the_next_model(page, qtbot, tmp_path, sample):
    page.set_source(str(tmp_path / "gone.gguf"))
    qtbot.waitUntil(page.problem.isVisible, timeout=WAIT)
    page.set_source(str(sample))
    qtbot.waitUntil(lambda: page.plan is not None, timeout=WAIT)
    assert not page.problem.isVisible()
    assert page.table.isVisible()


def test_an_impossible_override_leaves_the_way_back_open(planned, qtbot):
    planned.table.model._overrides["blk.0.attn_norm.weight"] = "Q8_0"
    planned.table.model.overrides_changed.emit()
    qtbot.waitUntil(planned.problem.isVisible, timeout=WAIT)
    assert planned.table.isVisible()
    child(planned, QAbstractButton, "reset_overrides").click()
    qtbot.waitUntil(lambda: planned.plan is not None, timeout=WAIT)
    assert not planned.problem.isVisible()


@pytest.mark.parametrize(
    ("folder", "name", "words"),
    [
        ("{tmp}/none", "a.gguf", "does not exist"),
        ("{tmp}", "", "Give a folder and a file name"),
        ("{tmp}", "dir.gguf", "A folder of this name"),
    ],
)
def test_an_output_that_cannot_be_is_refused_in_words(planned, qtbot, tmp_path, folder, name, words):
    (tmp_path / "dir.gguf").mkdir()
    child(planned, QAbstractButton, "allow_requantize").click()
    wait_for_plan(planned, qtbot, lambda plan: True)
    planned.output.folder.setText(folder.format(tmp=tmp_path))
    planned.output.name.setText(name)
    planned.output.name.textEdited.emit(name)
    assert words in planned.preview.text()
    assert not planned.button.isEnabled()


def test_the_source_is_never_the_output(planned, qtbot, sample):
    child(planned, QAbstractButton, "allow_requantize").click()
    wait_for_plan(planned, qtbot, lambda plan: True)
    planned.output.folder.setText(os.path.dirname(sample))
    planned.output.name.setText(Path(sample).name)
    planned.output.name.textEdited.emit(Path(sample).name)
    assert not planned.button.isEnabled()


def test_a_typed_name_survives_another_type(planned, qtbot):
    name = child(planned, QLineEdit, "output_name")
    name.setText("mine")
    name.textEdited.emit("mine")
    child(planned, QAbstractButton, "target_Q8_0").click()
    assert name.text() == "mine"
    assert planned.output.path.endswith("mine.gguf")


def test_a_dropped_model_is_taken(page, sample, qtbot):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(sample))])
    buttons = (Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    page.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, *buttons))
    qtbot.waitUntil(lambda: page.plan is not None, timeout=WAIT)
    assert page.plan.source == str(sample)


def test_every_control_has_a_name_for_screen_readers(planned):
    nameless = [
        widget.objectName() or type(widget).__name__
        for widget in planned.findChildren(QAbstractButton)
        if widget.isVisible()
        and not isinstance(widget.parent(), QLineEdit)  # the magnifying glass is decoration
        and not (widget.text() or widget.accessibleName())
    ]
    assert nameless == []


def test_an_output_that_a_waiting_job_will_write_is_neither_proposed_nor_accepted(planned, qtbot):
    planned.gguf.pane.allow.setChecked(True)
    wait_for_plan(planned, qtbot, lambda plan: True)
    qtbot.waitUntil(planned.button.isEnabled, timeout=WAIT)
    first = planned.jobs()[-1]
    waiting = planned.context.store.add(first)
    planned.context.jobs.changed.emit(waiting)
    assert not planned.button.isEnabled()
    assert "already" in planned.preview.text()
    planned.activated()
    assert planned.output.path == first.output.replace(".gguf", "-2.gguf")
    assert planned.button.isEnabled()
    planned.output.name.clear()
    qtbot.keyClicks(planned.output.name, Path(first.output).name)
    assert not planned.button.isEnabled()
    planned.context.store.cancel(waiting)
    planned.context.jobs.changed.emit(waiting)
    assert planned.button.isEnabled()


def test_what_stands_in_the_way_and_the_time_are_told_before_the_start(planned, qtbot):
    page, found = planned, planned.before
    qtbot.waitUntil(lambda: found.result is not None, timeout=WAIT)
    assert found.result.worst == "error"
    page.gguf.pane.allow.setChecked(True)
    qtbot.waitUntil(lambda: found.result is not None and found.result.worst != "error", timeout=WAIT)
    found.timing_wanted.emit()
    qtbot.waitUntil(lambda: found.result is not None and found.result.seconds is not None, timeout=WAIT)
    assert page.context.questions.worker_pid() != page.context.timings.worker_pid()
    qtbot.waitUntil(lambda: "Quantized: " in found.text(), timeout=WAIT)
    assert page.before.result.bytes == page.plan.bytes
    assert page.table.isVisible()
    page.before.button.click()
    assert not page.table.isVisible()
    assert page.before.memory.isVisible()
    page.before.button.click()
    assert page.table.isVisible()

"""The Results page: history, figures, plots and their table twin tell the same."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QLabel, QPushButton

from app.pages.results import ResultsPage
from tests.app.values import add_finished, make_result, touch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def output(tmp_path):
    return touch(tmp_path / "out" / "SmolLM2-135M-Instruct.Q4_K_M.gguf")


@pytest.fixture
def page(context, qtbot, output):
    add_finished(context.store, make_result(2, "/models/older.Q4_K_M.gguf"))
    add_finished(context.store, make_result(6, str(output)))
    made = ResultsPage(context)
    qtbot.addWidget(made)
    made.resize(1208, 740)
    made.show()
    made.activated()
    return made


def test_without_results_it_says_what_to_do(context, qtbot):
    page = ResultsPage(context)
    qtbot.addWidget(page)
    page.show()
    page.activated()
    words = " ".join(label.text() for label in page.findChildren(QLabel) if label.isVisible())
    assert "Quantize a model" in words
    assert page.result is None


def test_the_newest_result_is_shown_first(page, output):
    assert page.result.output == str(output)
    assert page.history.rowCount() == 2
    assert "4.1 %" in page.head.sentence.text()


def test_a_job_can_be_asked_for(page):
    older = page.history.records[1]
    page.show_job(older.id)
    assert page.result == older.result
    assert len(page.table_model.rows) == len(older.result.tensors)
    page.show_job("no such job")
    assert page.result == older.result


def test_the_plots_points_equal_the_table(page):
    rows = {row.name: row for row in page.table_model.rows}
    points = dict(page.plot("errors").points())
    assert points == {name: row.relative_rmse for name, row in rows.items() if row.snr_db is not None}
    assert len(points) + len(page.plot("errors").lossless()) == len(rows)


def test_a_finished_job_appears_by_itself(page, context):
    job_id = add_finished(context.store, make_result(3, "/models/new.Q4_K_M.gguf"))
    before = page.result
    context.jobs.finished.emit(job_id)
    assert page.history.rowCount() == 3
    assert page.result == before
    page.show_job(job_id)
    assert page.result.output == "/models/new.Q4_K_M.gguf"


def test_plot_heat_map_and_table_select_the_same_tensor(page):
    name = "blk.4.attn_v.weight"
    page.tabs.setCurrentIndex(1)
    page.plot("errors").tensor_selected.emit(name)
    assert page.table.current().name == name
    assert page.plot("layers")._map._selected == name
    page.table.select("blk.1.ffn_up.weight")
    assert page.plot("errors")._selected == "blk.1.ffn_up.weight"
    page.plot("layers").tensor_selected.emit("blk.2.attn_q.weight")
    assert page.table.current().name == "blk.2.attn_q.weight"


def test_the_selection_stays_with_another_result_of_the_same_model(page, context):
    page.select_tensor("blk.1.ffn_up.weight")
    page.show_job(add_finished(context.store, make_result(6, "/models/again.Q8_0.gguf")))
    assert page.result.output == "/models/again.Q8_0.gguf"
    assert page.table.current().name == page.plot("errors")._selected == "blk.1.ffn_up.weight"


def test_a_click_in_the_plot_takes_away_a_filter_that_hides_the_row(page):
    page.table.filter_box.setText("ffn_down")
    page.select_tensor("blk.4.attn_v.weight")
    assert page.table.filter_box.text() == ""
    assert page.table.current().name == "blk.4.attn_v.weight"


def test_the_words_about_lossless_tensors_lead_to_their_rows(page):
    page.plot("errors").lossless_requested.emit()
    assert page.table.rows.rowCount() == len(page.plot("errors").lossless())


def test_each_tab_shows_its_plot(page):
    for at, wanted in ((0, page.plot("errors")), (1, page.plot("layers")), (2, page.plot("size"))):
        page.tabs.setCurrentIndex(at)
        assert wanted.isVisible()
        assert page._stack.currentWidget() is wanted


def test_the_table_is_exported_with_every_row(page, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "table.csv"), ""))
    page.findChild(QPushButton, "export_table").click()
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(page.table_model.rows)
    assert {row["name"]: float(row["rmse"]) for row in read} == {t.name: t.rmse for t in page.table_model.rows}


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_export_button_offers_the_plot_in_front(page, at):
    page.tabs.setCurrentIndex(at)
    menu = page.export_button.menu()
    menu.aboutToShow.emit()
    assert [action.text() for action in menu.actions()][:3] == ["Export PNG…", "Export SVG…", "Export CSV…"]


def test_all_results_are_one_report(page, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "all"), ""))
    page.report_button.click()
    words = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert all(entry.result.output in words for entry in page.history.records)
    assert "2 results" in words


def test_chat_gets_the_result_and_its_source(page, qtbot, output):
    with qtbot.waitSignal(page.chat_requested) as asked:
        page.head.chat.click()
    assert asked.args == [str(output), make_result().source]


def test_a_file_that_is_gone_is_said_and_chat_is_off(page, output):
    output.unlink()
    page.activated()
    assert page.head.note.isVisible()
    assert not page.head.chat.isEnabled()


def test_the_fingerprint_can_be_copied(page):
    page.findChild(QPushButton, "copy_sha256").click()
    assert QGuiApplication.clipboard().text() == page.result.sha256


def test_plots_follow_the_theme(page, context):
    theme = context.theme
    before = theme.is_dark
    theme.set_mode("light" if before else "dark")
    assert page.plot("errors").plot.backgroundBrush().color() == theme.color("base")
    theme.set_mode("dark" if before else "light")


def test_pyqtgraph_is_loaded_only_when_a_plot_is_shown():
    program = """
import os, sys
from PySide6.QtWidgets import QApplication
application = QApplication([])
from app.bootstrap import make_context
from app.pages.quantize import QuantizePage
from app.pages.results import ResultsPage
context = make_context()
pages = QuantizePage(context), ResultsPage(context)
print("pyqtgraph" in sys.modules, "numpy" in sys.modules, "torch" in sys.modules, "numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 4


def test_the_history_can_be_walked_by_keyboard(page, qtbot):
    page.list.setFocus()
    qtbot.keyClick(page.list, Qt.Key.Key_Down)
    assert page.result == page.history.records[1].result

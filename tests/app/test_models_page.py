"""The Models page with real answers: list, inspector, tensors, histogram, problems, and the first-run offer."""

from __future__ import annotations

import shutil

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPushButton, QToolButton

from app.models.library import describe, facts
from core.catalog import SAMPLE_NAME

WAIT_MS = 180_000


@pytest.fixture
def page(window, qtbot):
    made = window.page("models").local
    qtbot.waitUntil(lambda: bool(made.selected() and made.selected().tensors), timeout=WAIT_MS)
    return made


def cells(table) -> list[list[str]]:
    return [
        [table.rows.index(row, column).data() for column in range(table.rows.columnCount())]
        for row in range(table.rows.rowCount())
    ]


def test_the_sample_is_listed_first_and_described(page):
    assert cells(page.table) == [[SAMPLE_NAME, "llama", "134.5 M", "Q4_1", "93.8 MiB", "bundled"]]
    assert "134.5 M parameters" in describe(page.selected())
    assert ("Chat template", "included") in facts(page.selected())


def test_a_newcomer_is_offered_the_sample(page, qtbot):
    offer = page.findChild(QPushButton, "trySample")
    assert offer.isVisible()
    with qtbot.waitSignal(page.quantize_requested) as heard:
        qtbot.mouseClick(offer, Qt.MouseButton.LeftButton)
    assert heard.args == [page.selected().path]


def test_tensors_can_be_filtered_and_sorted_by_number(page):
    table = page.inspector.tensor_table
    assert table.rows.rowCount() == 272
    table.filter_box.setText("blk.3. NORM")
    assert [row[0] for row in cells(table)] == ["blk.3.attn_norm.weight", "blk.3.ffn_norm.weight"]
    assert table.count.text() == "2 of 272 tensors"
    table.filter_box.clear()
    table.view.sortByColumn(page.inspector.tensors.column_of("bytes"), Qt.SortOrder.DescendingOrder)
    assert cells(table)[0][0] == "token_embd.weight"
    assert cells(table)[0][1:3] == ["49152 × 576", "Q8_0"]


def test_the_histogram_of_the_selected_tensor_counts_its_weights(page, qtbot):
    from app.widgets.histogram import Histogram

    assert page.inspector.tensor_table.select("blk.0.ffn_down.weight")
    qtbot.waitUntil(lambda: page.inspector.findChild(Histogram) is not None, timeout=WAIT_MS)
    histogram = page.inspector.findChild(Histogram)
    _, counts = histogram._curve.getData()
    assert counts.sum() == 576 * 1536
    assert "blk.0.ffn_down.weight" in histogram.plot.accessibleName()
    assert page.inspector.tensor_table.select("output_norm.weight")
    qtbot.waitUntil(lambda: "output_norm.weight" in histogram.plot.accessibleName(), timeout=WAIT_MS)
    assert histogram._curve.getData()[1].sum() == 576


def test_metadata_is_shown(page):
    rows = {row.name: row.value for row in page.inspector.metadata.rows}
    assert rows["general.architecture"] == "llama"


def test_problems_are_listed_and_the_offer_goes(page, window, qtbot, sample, tmp_path):
    shutil.copy(sample, tmp_path / "mine.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(40))
    with qtbot.waitSignal(window.context.library.arrived, timeout=WAIT_MS):
        window.add_models([str(tmp_path)])
    assert page.problems.isVisible()
    assert str(tmp_path / "broken.gguf") in page.problems.words()
    assert not page.findChild(QPushButton, "trySample").isVisible()
    assert page.selected().path == str(tmp_path / "mine.gguf")


def of_menu(page, words):
    """What can be done with the selected model, behind a button that is seen."""
    more = page.findChild(QToolButton, "inspectorMore")
    assert more.isVisible()
    return next(action for action in more.menu().actions() if action.text() == words)


def test_a_model_is_measured_from_a_button(page, window, qtbot):
    page.select(page.context.library.models()[0].path)
    page.findChild(QPushButton, "inspectorMeasure").click()
    assert window.current_page() == "results"
    results = window.page("results")
    assert results._detail.currentWidget() is results.measure


def test_removing_asks_nothing_of_the_disk(page, window, qtbot, sample, tmp_path):
    copy = tmp_path / "mine.gguf"
    shutil.copy(sample, copy)
    with qtbot.waitSignal(window.context.library.arrived, timeout=WAIT_MS):
        window.add_models([str(copy)])
    with qtbot.waitSignal(window.context.library.changed, timeout=WAIT_MS):
        of_menu(page, "Remove from list").trigger()
    assert copy.exists()
    assert [row[0] for row in cells(page.table)] == [SAMPLE_NAME]


def test_an_empty_list_offers_the_sample(page, window, qtbot):
    with qtbot.waitSignal(window.context.library.changed, timeout=WAIT_MS):
        of_menu(page, "Remove from list").trigger()
    again = next(
        button
        for button in page.findChildren(QPushButton)
        if button.isVisible() and button.text() == page.tr("Try the sample")
    )
    with qtbot.waitSignal(window.context.library.arrived, timeout=WAIT_MS):
        qtbot.mouseClick(again, Qt.MouseButton.LeftButton)
    assert [row[0] for row in cells(page.table)] == [SAMPLE_NAME]


def test_a_row_can_be_copied_as_text(page, qtbot):
    page.table.view.setFocus()
    page.table.view.copy_selection()
    assert QGuiApplication.clipboard().text().split("\t")[0] == SAMPLE_NAME


def test_the_inspector_folds(page):
    assert page.inspector.isVisible()
    page.toggle_inspector()
    assert not page.inspector.isVisible()
    page.toggle_inspector()
    assert page.inspector.isVisible()

"""The whole path in the real window with real workers: choose the sample, quantize, see the result, chat a token."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QPushButton

from app.main_window import PAGES, MainWindow
from app.models.columns import SORT_ROLE
from app.widgets.error_plot import MEASURES
from core.catalog import SAMPLE_NAME
from core.formats.gguf_reader import read_header
from tests.app.accessibility import controls, nameless, silent
from tests.app.conftest import context, window

__all__ = ["context", "window"]
WAIT_MS = 180_000


def click(qtbot, root, kind: type, name: str) -> None:
    """Clicks the button of that object name as a user does: it has to be in sight and enabled."""
    button = root.findChild(kind, name)
    assert button is not None, name
    assert button.isVisible(), name
    qtbot.waitUntil(button.isEnabled, timeout=WAIT_MS)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.mark.slow
def test_choose_quantize_see_and_chat(window: MainWindow, qtbot, sample, tmp_path):
    window.context.settings.set("output_folder", str(tmp_path))
    window.resize(1280, 800)
    choose_the_sample(window, qtbot)
    output = quantize_to(window, qtbot, "Q4_K_M", tmp_path)
    see_the_result(window, qtbot, output)
    compare_plot_and_table(window)
    everything_in_sight_has_a_name(window)
    chat_one_token(window, qtbot, output)


def choose_the_sample(window: MainWindow, qtbot) -> None:
    models = window.page("models")
    qtbot.waitUntil(lambda: bool(models.selected() and models.selected().tensors), timeout=WAIT_MS)
    assert models.selected().name == SAMPLE_NAME
    click(qtbot, models, QPushButton, "inspectorQuantize")
    assert window.current_page() == "quantize"


def quantize_to(window: MainWindow, qtbot, target: str, folder: Path) -> Path:
    page = window.page("quantize")
    click(qtbot, page, QAbstractButton, f"target_{target}")
    allow = page.findChild(QCheckBox, "allow_requantize")
    qtbot.waitUntil(allow.isVisible, timeout=WAIT_MS)
    allow.click()
    qtbot.waitUntil(lambda: page.plan is not None and page.plan.target == target, timeout=WAIT_MS)
    planned = page.plan.bytes
    click(qtbot, page, QPushButton, "quantize_button")
    assert window.current_page() == "jobs"
    job_id = window.page("jobs").selected()
    qtbot.waitUntil(lambda: window.context.store.get(job_id).state == "done", timeout=WAIT_MS)
    output = Path(window.context.store.get(job_id).result.output)
    assert list(folder.iterdir()) == [output]
    assert output.stat().st_size == planned
    assert len(read_header(output).tensors) == 272
    qtbot.waitUntil(lambda: window.context.library.find(str(output)) is not None, timeout=WAIT_MS)
    return output


def see_the_result(window: MainWindow, qtbot, output: Path) -> None:
    click(qtbot, window.page("jobs"), QPushButton, "job_result")
    assert window.current_page() == "results"
    page = window.page("results")
    assert page.history.rowCount() == 1
    assert page.result.output == str(output)
    assert page.table_model.rowCount() == 272
    qtbot.waitUntil(page.plot("errors").isVisible, timeout=WAIT_MS)


def compare_plot_and_table(window: MainWindow) -> None:
    """For every measure: what lies on the screen equals what stands in the table, tensor by tensor."""
    page = window.page("results")
    table, plot = page.table_model, page.plot("errors")
    for measure in MEASURES:
        plot.set_measure(measure.key)
        column = table.column_of(measure.key)
        shown = {row.name: table.index(number, column).data(SORT_ROLE) for number, row in enumerate(table.rows)}
        points = dict(plot.points())
        assert points == {name: shown[name] for name in points}
        assert len(points) > 200
        assert set(shown) - set(points) == set(plot.lossless())
        drawn = np.concatenate([np.stack(item.getData(), 1) for item in plot.scatter_items()[:-1]])
        heights = [math.log10(value) if measure.log else value for value in points.values()]
        assert drawn[np.argsort(drawn[:, 0])][:, 1] == pytest.approx(heights)
    plot.set_measure(MEASURES[0].key)


def everything_in_sight_has_a_name(window: MainWindow) -> None:
    for row in PAGES:
        window.show_page(row.key)
        assert len(controls(window)) > len(PAGES)
        assert (row.key, nameless(window), silent(window)) == (row.key, [], [])


def chat_one_token(window: MainWindow, qtbot, output: Path) -> None:
    for key, value in (("chat_max_tokens", 1), ("chat_temperature", 0.0), ("chat_context", 512)):
        window.context.settings.set(key, value)
    window.chat(str(output), None)
    assert window.current_page() == "chat"
    page, turns = window.page("chat"), []
    side = page.conversation.chosen[0]
    side.answered.connect(turns.append)
    side.failed.connect(lambda report: turns.append(report))
    qtbot.keyClicks(page.composer.field, "The capital of France is")
    qtbot.mouseClick(page.composer.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(turns), timeout=WAIT_MS)
    assert turns[0].tokens == 1, turns[0]
    assert turns[0].text.strip()

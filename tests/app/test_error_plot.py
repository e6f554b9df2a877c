"""The error plot: what is drawn equals the result, what cannot be drawn is counted in words."""

from __future__ import annotations

import math

import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QToolButton

from app.models.modules import place
from app.theme import Theme
from app.widgets.error_plot import MEASURES, SYMBOLS, ErrorPlot
from app.widgets.plot_axes import log_ticks
from tests.app.values import make_result


@pytest.fixture
def theme(qapp):
    made = Theme("light")
    yield made
    made.set_mode("light")


@pytest.fixture
def plot(theme, qtbot):
    made = ErrorPlot(theme)
    qtbot.addWidget(made)
    made.resize(900, 480)
    made.show()
    made.set_result(make_result(6))
    return made


@pytest.mark.parametrize("measure", MEASURES, ids=lambda row: row.key)
def test_points_are_the_results_figures(plot, measure):
    plot.set_measure(measure.key)
    wanted = {t.name: getattr(t, measure.key) for t in make_result(6).tensors if t.snr_db is not None}
    assert dict(plot.points()) == wanted
    assert len(plot.points()) == len(wanted)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda row: row.key)
def test_what_is_drawn_is_what_points_says(plot, measure):
    plot.set_measure(measure.key)
    drawn = sorted((x, y) for item in plot._scatters.values() for x, y in zip(*item.getData(), strict=True))
    heights = [math.log10(value) if measure.log else value for _name, value in plot.points()]
    assert [y for _x, y in drawn] == pytest.approx(heights)


def test_points_come_in_layer_order(plot):
    orders = [place(name).order for name, _value in plot.points()]
    assert orders == sorted(orders)


def test_lossless_tensors_are_counted_in_words_not_dropped(plot, qtbot):
    lossless = [t.name for t in make_result(6).tensors if t.snr_db is None]
    assert sorted(plot.lossless()) == sorted(lossless)
    assert len(plot.points()) + len(lossless) == len(make_result(6).tensors)
    words = plot.findChild(object, "lossless")
    assert words.isVisible()
    assert f"{len(lossless)} of {len(make_result(6).tensors)}" in words.text()
    with qtbot.waitSignal(plot.lossless_requested):
        words.click()


def test_every_module_has_its_own_symbol_and_colour(plot, theme):
    assert len(set(SYMBOLS)) == len(SYMBOLS) == 8
    used = {(item.opts["symbol"], item.opts["brush"].color().name()) for item in plot._scatters.values()}
    assert len(used) == len(plot._scatters) == 7
    entries = plot._legend.findChildren(QToolButton)
    assert {entry.text() for entry in entries} == {"Query", "Key", "Value", "Attention output", "Gate", "Up", "Down"}


def test_a_series_can_be_hidden_and_shown(plot):
    entry = next(b for b in plot._legend.findChildren(QToolButton) if b.text() == "Down")
    entry.click()
    assert not any("ffn_down" in name for name, _value in plot.points())
    entry.click()
    assert any("ffn_down" in name for name, _value in plot.points())


def scene_position(plot: ErrorPlot, name: str) -> QPointF:
    x, y = plot.places[plot.names.index(name)]
    return plot.plot.getPlotItem().getViewBox().mapViewToScene(QPointF(x, y))


def test_pointing_at_a_point_reads_out_its_figures(plot, qtbot):
    tensor = next(t for t in make_result(6).tensors if t.name == "blk.2.ffn_down.weight")
    plot._pointed(scene_position(plot, tensor.name))
    said = plot.findChild(object, "readout").text()
    assert tensor.name in said
    assert f"{tensor.relative_rmse:.4g}" in said
    assert f"{tensor.snr_db:.2f} dB" in said
    plot._pointed(QPointF(-10, -10))
    assert tensor.name not in plot.findChild(object, "readout").text()


def test_a_click_selects_and_tells(plot, qtbot):
    name = "blk.3.attn_v.weight"
    view = plot.plot.mapFromScene(scene_position(plot, name))
    with qtbot.waitSignal(plot.tensor_selected) as told:
        QTest.mouseClick(plot.plot.viewport(), Qt.MouseButton.LeftButton, pos=view)
    assert told.args == [name]
    assert plot._selection.getData()[0].tolist() == [plot.places[plot.names.index(name)][0]]


def test_arrow_keys_walk_through_the_points(plot, qtbot):
    names = [name for name, _value in plot.points()]
    seen = []
    plot.tensor_selected.connect(seen.append)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Left):
        QTest.keyClick(plot, key)
    assert seen == [names[0], names[1], names[0], names[-1]]


def test_selecting_a_lossless_tensor_takes_the_ring_away(plot):
    plot.select("blk.3.attn_v.weight")
    plot.select("output_norm.weight")
    assert len(plot._selection.getData()[0]) == 0


def double_click(viewport):
    """What a window system sends; QTest's own double click ends with a press."""
    kinds = QEvent.Type
    at = QPointF(viewport.rect().center())
    for kind in (kinds.MouseButtonPress, kinds.MouseButtonRelease, kinds.MouseButtonDblClick, kinds.MouseButtonRelease):
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        held = none if kind == kinds.MouseButtonRelease else left
        event = QMouseEvent(kind, at, viewport.mapToGlobal(at), left, held, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(viewport, event)


def test_double_click_shows_everything_again(plot, qtbot):
    view = plot.plot.getPlotItem().getViewBox()
    plot.reset_view()
    whole = view.viewRange()
    view.setRange(xRange=(3, 4), yRange=(-2, -1.9), padding=0)
    double_click(plot.plot.viewport())
    assert view.viewRange() == [pytest.approx(side) for side in whole]


def test_colours_follow_the_theme(plot, theme):
    light = plot.grab().toImage()
    theme.set_mode("dark")
    assert plot.plot.backgroundBrush().color() == theme.color("base")
    assert plot.grab().toImage() != light


def test_the_twin_has_every_tensor_and_every_measure(plot):
    header, rows = plot.table()
    assert header == ["tensor", "layer", "module", *(row.key for row in MEASURES)]
    assert {row[0] for row in rows} == {t.name for t in make_result(6).tensors}


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (-3.0, 0.0, [0.001, 0.01, 0.1, 1]),
        (math.log10(0.02), math.log10(0.1), [0.02, 0.05, 0.1]),
        (math.log10(0.030), math.log10(0.034), [0.03, 0.032, 0.034]),
    ],
)
def test_logarithmic_ticks_are_round_numbers(low, high, wanted):
    ticks = [round(10**tick, 6) for tick in log_ticks(low, high, 5)]
    assert set(wanted) <= set(ticks)
    assert len(ticks) <= 7


def test_a_low_axis_has_two_ticks_where_there_are_two_decades():
    for low, high in ((-3.9, -1.1), (-3.7, -1.3), (-1.2, 1.1), (0.3, 6.2)):
        assert 2 <= len(log_ticks(low, high, 2)) <= 3


def test_more_room_gives_more_ticks():
    assert len(log_ticks(-3, 0, 20)) > len(log_ticks(-3, 0, 5))

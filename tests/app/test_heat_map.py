"""The heat map: cells are the result's SNR, what has none stays blank."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.theme import Theme
from app.widgets.heat_map import HeatMap, grid_of
from tests.app.values import make_error, make_result


@pytest.fixture
def heat(qtbot):
    theme = Theme("light")
    made = HeatMap(theme)
    qtbot.addWidget(made)
    made.resize(900, 400)
    made.show()
    made.set_result(make_result(12))
    yield made
    theme.set_mode("light")


def test_cells_are_the_snr_of_their_tensors(heat):
    for tensor in make_result(12).tensors:
        if tensor.snr_db is not None and tensor.name.startswith("blk."):
            _blk, layer, module, _weight = tensor.name.split(".")
            assert heat.grid.cells[(module, int(layer))].snr_db == tensor.snr_db
    assert heat.grid.layers == tuple(range(12))


def test_modules_without_any_loss_are_named_instead_of_drawn(heat):
    assert "attn_norm" not in heat.grid.modules
    assert heat.grid.lossless == ("attn_norm", "ffn_norm")
    assert "attn_norm, ffn_norm" in heat._note.text()


def test_the_table_has_a_row_per_layer_and_empty_cells_where_nothing_was_lost(heat):
    header, rows = heat.table()
    assert header == ["layer", *heat.grid.modules]
    assert [row[0] for row in rows] == list(range(12))
    assert rows[4][header.index("ffn_down")] == heat.grid.cells[("ffn_down", 4)].snr_db


def test_a_lossless_cell_stays_blank(heat):
    result = make_result(12)
    tensors = tuple(
        t.model_copy(update=make_error(0).model_dump()) if t.name == "blk.5.attn_q.weight" else t
        for t in result.tensors
    )
    heat.set_result(result.model_copy(update={"tensors": tensors}))
    header, rows = heat.table()
    assert rows[5][header.index("attn_q")] is None
    center = heat._map._cell(heat.grid.modules.index("attn_q"), 5).center().toPoint()
    assert heat._map.grab().toImage().pixelColor(center) == heat._map.palette().window().color()


def test_colours_run_from_the_lowest_to_the_highest_value(heat):
    low, high = heat.grid.limits
    assert heat._map.color_of(low).name() == "#440154"
    assert heat._map.color_of(high).name() == "#fde725" or heat._map.color_of(high).name().startswith("#fd")
    cell = heat.grid.cells[("ffn_down", 3)]
    where = heat._map._cell(heat.grid.modules.index("ffn_down"), 3).center().toPoint()
    assert heat._map.grab().toImage().pixelColor(where) == heat._map.color_of(cell.snr_db)


def test_pointing_and_clicking_name_the_tensor(heat, qtbot):
    where = heat._map._cell(heat.grid.modules.index("attn_v"), 7).center().toPoint()
    QTest.mouseMove(heat._map, where)
    qtbot.waitUntil(lambda: "blk.7.attn_v.weight" in heat._readout.text())
    assert "dB" in heat._readout.text()
    with qtbot.waitSignal(heat.tensor_selected) as told:
        QTest.mouseClick(heat._map, Qt.MouseButton.LeftButton, pos=where)
    assert told.args == ["blk.7.attn_v.weight"]


def test_arrow_keys_walk_through_the_cells(heat):
    seen = []
    heat.tensor_selected.connect(seen.append)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Down):
        QTest.keyClick(heat._map, key)
    first, second = heat.grid.modules[:2]
    assert seen == [f"blk.0.{first}.weight", f"blk.1.{first}.weight", f"blk.1.{second}.weight"]


def test_a_result_without_any_loss_says_so(heat):
    result = make_result(3)
    exact = tuple(t.model_copy(update=make_error(0).model_dump()) for t in result.tensors)
    heat.set_result(result.model_copy(update={"tensors": exact}))
    assert heat.grid.modules == ()
    heat.grab()
    assert grid_of(exact).limits == (0.0, 0.0)

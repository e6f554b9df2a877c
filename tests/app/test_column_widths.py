"""Tables share their width out so that figures are never cut, names before sentences, and spare columns go first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from PySide6.QtWidgets import QTableView

from app.models.columns import Column, RowsModel
from app.widgets.column_widths import Columns
from app.widgets.filter_table import FilterTable

NAME, ARCHITECTURE, FIGURE, PLACE = range(4)
LONG = "SmolLM2-135M-Instruct-Q4_K_M"


@dataclass(frozen=True)
class Row:
    name: str
    figure: str = "49152 × 576"
    place: str = "/home/somebody/with/a/very/long/path/to/the/models"


class Rows(RowsModel):
    CONTEXT = "Rows"
    COLUMNS = (
        Column("name", "Name", lambda row: row.name),
        Column("architecture", "Architecture", lambda row: "llama"),
        Column("figure", "Figure", lambda row: row.figure, numeric=True),
        Column("place", "Place", lambda row: row.place),
    )


@pytest.fixture
def table(context, qtbot) -> FilterTable:
    made = FilterTable(context.theme, Rows(), "widths")
    made.source.setParent(made)
    qtbot.addWidget(made)
    made.view.set_columns(Columns((80, 60, 40, 60), rest=PLACE, spare=(ARCHITECTURE, PLACE)))
    made.resize(800, 300)
    made.show()
    made.source.set_rows([Row("short"), Row(LONG)])
    return made


def is_cut(view: QTableView, column: int) -> bool:
    model = view.model()
    needed = max(view.sizeHintForIndex(model.index(row, column)).width() for row in range(model.rowCount()))
    return view.columnWidth(column) < needed


def test_with_room_for_all_nothing_is_cut(table):
    assert not any(is_cut(table.view, column) for column in range(4))
    assert sum(map(table.view.columnWidth, range(4))) == table.view.viewport().width()


def test_what_is_narrow_cuts_the_place_then_leaves_columns_out_and_cuts_the_name_last(table):
    view = table.view
    table.resize(520, 300)
    assert is_cut(view, PLACE)
    assert not is_cut(view, NAME)
    table.resize(420, 300)
    assert view.isColumnHidden(ARCHITECTURE)
    assert not is_cut(view, NAME)
    table.resize(330, 300)
    assert view.isColumnHidden(PLACE)
    table.resize(240, 300)
    assert is_cut(view, NAME)
    assert not is_cut(view, FIGURE)
    table.resize(800, 300)
    assert not any(view.isColumnHidden(column) for column in range(4))


def test_figures_that_grow_get_the_room_at_once_and_keep_it(table):
    table.source.set_rows([Row("short", "1"), Row(LONG, "1 234 567 890 × 1 234 567")])
    assert not is_cut(table.view, FIGURE)
    wide = table.view.columnWidth(FIGURE)
    table.source.set_rows([Row("short", "1"), Row(LONG, "2")])
    assert table.view.columnWidth(FIGURE) == wide


def test_without_a_column_of_sentences_the_name_takes_what_is_left(context, qtbot):
    made = FilterTable(context.theme, Rows(), "widths")
    made.source.setParent(made)
    qtbot.addWidget(made)
    made.view.set_columns(Columns((80, 60, 40, 60)))
    made.resize(1200, 300)
    made.show()
    made.source.set_rows([Row("short")])
    assert not is_cut(made.view, PLACE)
    assert sum(map(made.view.columnWidth, range(4))) == made.view.viewport().width()

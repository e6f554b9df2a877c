"""Every word of the field that is shown can be explained, in one sentence."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from app.glossary import entries, explanation
from app.models.columns import RowsModel
from app.models.hub import HubModels
from app.models.plan import PlanModel
from app.models.results import ResultsModel

TABLES: tuple[type[RowsModel], ...] = (PlanModel, ResultsModel, HubModels)


@pytest.mark.parametrize("key", entries())
def test_an_entry_is_one_sentence(key):
    entry = entries()[key]
    assert set(entry) == {"term", "text"}
    assert entry["text"].endswith(".")
    assert ". " not in entry["text"]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_term_of_a_column_has_an_entry(table):
    for column in table.COLUMNS:
        if column.term:
            assert column.term in entries()


def test_headers_explain_themselves(qapp):
    model = ResultsModel()
    tip = model.headerData(model.column_of("snr_db"), Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
    assert tip == explanation("snr")
    assert "Signal-to-noise" in tip


def test_an_unknown_key_is_a_mistake():
    with pytest.raises(KeyError):
        explanation("no such word")

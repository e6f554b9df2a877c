"""A result as a table, and finished jobs as a list."""

from __future__ import annotations

import pytest

from app.models.columns import SORT_ROLE, RowsFilter
from app.models.names import model_title
from app.models.results import CAPTION_ROLE, JOB_ROLE, HistoryModel, ResultsModel
from app.models.sentences import result_sentence
from core.jobs import PlanJob, QuantizeJob, QuantizeOptions
from core.store import Store
from tests.app.values import add_finished, make_error, make_plan, make_result


@pytest.fixture
def model(qapp):
    made = ResultsModel()
    made.set_result(make_result(12))
    return made


def test_the_table_holds_every_figure_exactly(model):
    header, rows = model.table()
    found = {row[header.index("name")]: dict(zip(header, row, strict=True)) for row in rows}
    for tensor in make_result(12).tensors:
        row = found[tensor.name]
        for key in ("rmse", "relative_rmse", "snr_db", "max_error", "cosine", "bpw", "bpw_before", "bytes", "type"):
            assert row[key] == getattr(tensor, key)


def test_a_tensor_without_error_says_lossless_and_sorts_as_the_best(model):
    index = model.index(model.row_of("output_norm.weight"), model.column_of("snr_db"))
    assert index.data() == "lossless"
    assert index.data(SORT_ROLE) == float("inf")


def test_sorting_by_error_puts_the_worst_at_one_end(model):
    rows = RowsFilter(model)
    column = model.column_of("relative_rmse")
    rows.sort(column)
    values = [rows.index(i, column).data(SORT_ROLE) for i in range(rows.rowCount())]
    assert values == sorted(values)


def test_the_same_tensors_again_keep_the_rows(model, qtbot):
    with qtbot.assertNotEmitted(model.modelReset), qtbot.waitSignal(model.dataChanged):
        model.set_result(make_result(12))


def test_the_headline_gives_size_and_error(qapp):
    result = make_result(12)
    sentence = result_sentence(result)
    assert "4.1 %" in sentence
    assert "27.7 dB" in sentence
    exact = result.model_copy(update={"total": make_error(0)})
    assert "copied without loss" in result_sentence(exact)


def test_the_history_lists_finished_quantizations_newest_first(qapp, tmp_path):
    store = Store(tmp_path / "jobs.sqlite3")
    options = QuantizeOptions(target="Q8_0")
    store.add(QuantizeJob(source="a", output="b", options=options))
    plan_id = store.add(PlanJob(source="a", options=options))
    store.start(plan_id)
    store.finish(plan_id, make_plan())
    ids = [add_finished(store, make_result(output=f"/models/M.Q4_K_M-{n}.gguf")) for n in range(3)]

    history = HistoryModel()
    history.set_records(store.jobs())

    assert [record.id for record in history.records] == ids[::-1]
    newest = history.index(0)
    assert newest.data() == "M.Q4_K_M-2"
    assert newest.data(CAPTION_ROLE).startswith("Q4_K_M · ")
    assert newest.data(JOB_ROLE).id == ids[2]
    assert history.row_of(plan_id) == -1


def test_reading_the_same_history_again_changes_nothing(qapp, tmp_path, qtbot):
    store = Store(tmp_path / "jobs.sqlite3")
    add_finished(store, make_result())
    history = HistoryModel()
    history.set_records(store.jobs())
    with qtbot.assertNotEmitted(history.modelReset):
        history.set_records(store.jobs())


@pytest.mark.parametrize(
    ("path", "title"),
    [("/m/A.Q4_K_M.gguf", "A.Q4_K_M"), ("/m/model.safetensors", "model"), ("/m/SmolLM2-135M", "SmolLM2-135M")],
)
def test_titles_come_from_paths(path, title):
    assert model_title(path) == title

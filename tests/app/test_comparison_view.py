"""Comparisons: gathered from runs, drawn, told in tables, and what can be asked from them."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QFileDialog

from app.models.comparisons import comparisons, finding
from app.models.names import short_titles
from app.pages.results import ResultsPage
from app.widgets.comparison_view import KINDS, SIZES, TOKENS
from app.widgets.plot_export import WRITERS
from core.report.front import pareto
from tests.app.accessibility import nameless, silent
from tests.app.evaluations import CATEGORIES, MODELS, SOURCE, add_evaluation, make_evaluation, path_of
from tests.app.values import add_finished, make_result, touch


@pytest.fixture
def page(context, qtbot):
    add_finished(context.store, make_result(2))
    add_evaluation(context.store, make_evaluation())
    made = ResultsPage(context)
    qtbot.addWidget(made)
    made.resize(1208, 740)
    made.show()
    made.activated()
    return made


def test_runs_of_one_original_on_the_same_text_are_one_comparison(context):
    first = add_evaluation(context.store, make_evaluation("Q8_0", "Q2_K"))
    second = add_evaluation(context.store, make_evaluation("Q4_K_M"))
    add_evaluation(context.store, make_evaluation("Q8_0", chunks=9))
    short, long = sorted(comparisons(context.store.jobs("done")), key=lambda found: len(found.models), reverse=True)
    assert [model.short for model in short.models] == ["Q2_K", "Q4_K_M", "Q8_0"]
    assert (short.id, short.ids) == (second, {first, second})
    assert len(long.models) == 1
    again = make_evaluation("Q8_0")
    changed = again.models[0].model_copy(update={"mean_kld": 0.5})
    add_evaluation(context.store, again.model_copy(update={"models": (changed,)}))
    newest = max(comparisons(context.store.jobs("done")), key=lambda found: len(found.models))
    assert next(m for m in newest.models if m.short == "Q8_0").evaluation.mean_kld == 0.5


def test_the_front_has_what_nothing_beats():
    assert pareto([(1, 5), (2, 3), (3, 4), (4, 1), (4, 2)]) == [0, 1, 3]
    assert pareto([]) == []


def test_what_all_names_share_is_left_out():
    assert short_titles(["a-135M-Q4_0", "a-135M-Q8_0"]) == ["Q4_0", "Q8_0"]
    assert short_titles(["a-b"]) == ["a-b"]
    assert short_titles(["same", "same"]) == ["same", "same"]
    assert short_titles(["m.Q4", "m.Q4-x"]) == ["Q4", "Q4-x"]


def test_the_plot_and_the_table_tell_the_same(page):
    view = page.comparison
    assert page._detail.currentWidget() is view
    assert "Q8_0 is closest" in view.sentence.text()
    assert "1 of 5 models is both larger and worse" in view.sentence.text()
    points = {name: (x, y) for name, x, y in view.plot(SIZES).points()}
    rows = {row.name: row.evaluation for row in view.models_table.source.rows}
    assert points == {name: (found.bytes / 2**20, found.mean_kld) for name, found in rows.items()}
    assert view.plot(SIZES)._drawing.line == tuple(path_of(name) for name in ("Q2_K", "Q4_K_M", "Q6_K", "Q8_0"))
    view.plot(SIZES).choice.setCurrentIndex(2)
    assert {y for _, _, y in view.plot(SIZES).points()} == {found.ppl for found in rows.values()}


def test_a_point_selects_its_row_and_a_row_its_point(page):
    view = page.comparison
    view.plot(SIZES).chosen.emit(path_of("Q4_1"))
    assert view.models_table.current().short == "Q4_1"
    view.models_table.select(path_of("Q2_K"))
    assert view.plot(SIZES)._selected == path_of("Q2_K")
    assert view.model_choice.currentText().endswith("Q2_K")


def test_bars_have_every_model_and_kind_of_text(page):
    view = page.comparison
    view.tabs.setCurrentIndex(KINDS)
    bars = dict(view.plot(KINDS).bars())
    assert len(bars) == len(MODELS) * len(CATEGORIES)
    rows = view.kinds_table.source.rows
    assert {row.name: row.evaluation.mean_kld for row in rows} == bars
    assert view.kinds_table.isVisible()


def test_tokens_are_shown_in_their_text_and_in_a_table(page):
    view = page.comparison
    view.tabs.setCurrentIndex(TOKENS)
    view.model_choice.setCurrentIndex(1)
    text = view.plot(TOKENS)
    found = view.comparison.models[1].evaluation.disagreements
    assert tuple(row.found for row in view.tokens_table.source.rows) == found
    assert "The capital of France is" in text.browser.toPlainText()
    assert f"{found[0].kld:.3f} nats" in text.browser.toPlainText()
    view.tokens_table.select("3")
    assert text._selected == "3"
    header, rows = text.table()
    assert (header[0], len(rows), rows[0][header.index("kld")]) == ("rank", len(found), found[0].kld)


def test_every_plot_can_be_exported(page, tmp_path):
    for at in (SIZES, KINDS, TOKENS):
        page.comparison.tabs.setCurrentIndex(at)
        for kind, write in WRITERS.items():
            path = tmp_path / f"{at}.{kind}"
            write(page.comparison.plot(at), path)
            assert path.stat().st_size > 100


def test_chat_needs_both_files(page, qtbot, tmp_path, context):
    view = page.comparison
    view.models_table.select(path_of("Q8_0"))
    assert not view.chat.isEnabled()
    original, model = (str(touch(tmp_path / name)) for name in ("a.gguf", "b.gguf"))
    result = make_evaluation("Q8_0")
    result = result.model_copy(
        update={"source": original, "models": (result.models[0].model_copy(update={"model": model}),)}
    )
    page.show_job(add_evaluation(context.store, result))
    view.check_files()
    with qtbot.waitSignal(page.chat_requested) as asked:
        view.chat.click()
    assert asked.args == [model, original]


def test_more_models_can_be_measured_from_there(page):
    page.comparison.more.click()
    assert page._detail.currentWidget() is page.measure
    assert page.measure.job is None  # nothing is ticked
    page.list.clicked.emit(page.list.currentIndex())
    assert page._detail.currentWidget() is page.comparison


def test_a_report_is_saved(page, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "report"), ""))
    page.comparison.report.click()
    words = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert SOURCE in words
    assert words.count("<svg") == 2


def test_everything_has_a_name(page):
    for at in (SIZES, KINDS, TOKENS):
        page.comparison.tabs.setCurrentIndex(at)
        assert nameless(page) == []
        assert silent(page) == []


def test_one_model_is_told_of_alone(context):
    add_evaluation(context.store, make_evaluation("Q4_0" if "Q4_0" in MODELS else "Q4_1"))
    (found,) = comparisons(context.store.jobs("done"))
    assert "closest to the original" in finding(found)
    assert "larger and worse" not in finding(found)

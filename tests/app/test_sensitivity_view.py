"""Rankings of sensitivity in the window: drawn, told in a table, and applied as rules."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QFileDialog

from app.pages.results import ResultsPage
from app.widgets.plot_export import WRITERS
from core.keeping import keep
from tests.app.accessibility import nameless, silent
from tests.app.evaluations import SOURCE, add_ranking, make_ranking


@pytest.fixture
def page(context, qtbot):
    add_ranking(context.store, make_ranking())
    made = ResultsPage(context)
    qtbot.addWidget(made)
    made.resize(1208, 740)
    made.show()
    made.activated()
    return made


def test_the_plot_and_the_table_tell_the_same(page):
    view = page.ranking
    assert page._detail.currentWidget() is view
    rows = view.table.source.rows
    assert [row.mean_kld for row in rows] == sorted((row.mean_kld for row in rows), reverse=True)
    assert view.plot.points() == [(row.name, float(at), row.mean_kld) for at, row in enumerate(rows, start=1)]
    view.plot.order.setCurrentIndex(1)
    assert {name: x for name, x, _ in view.plot.points()} == {
        row.name: -1.0 if row.layer is None else float(row.layer) for row in rows
    }
    view.plot.chosen.emit(rows[3].name)
    assert view.table.current() == rows[3]
    assert rows[0].name in view.sentence.text()


def test_what_is_to_be_kept_follows_the_choice(page, qtbot):
    view = page.ranking
    assert view.keeping == keep(view.ranking.result, "Q8_0", 5)
    view.percent.setValue(50)
    view.keep_type.setCurrentText("Q6_K")
    assert view.keeping == keep(view.ranking.result, "Q6_K", 50)
    assert f"{100 * view.keeping.share:.0f} %" in view.kept_words.text()
    with qtbot.waitSignal(page.recipe_requested) as asked:
        view.apply.click()
    source, recipe = asked.args
    assert source == SOURCE
    assert recipe.targets == ("Q4_0",)
    assert recipe.options.overrides == view.keeping.overrides
    view.percent.setValue(view.percent.minimum())
    assert view.apply.isEnabled() == bool(view.keeping.pieces)


def test_plot_and_report_are_saved(page, tmp_path, monkeypatch):
    for kind, write in WRITERS.items():
        write(page.ranking.plot, tmp_path / f"plot.{kind}")
        assert (tmp_path / f"plot.{kind}").stat().st_size > 100
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "r.html"), ""))
    page.ranking.report.click()
    assert "Worth keeping in Q8_0" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_everything_has_a_name(page):
    assert nameless(page) == []
    assert silent(page) == []


def test_the_rules_arrive_on_the_quantize_page(window):
    context = window.context
    sample = context.library.models()[0].path
    result = make_ranking().model_copy(update={"source": sample})
    job = add_ranking(context.store, result)
    window.show_result(job)
    page = window.page("results")
    window.page("quantize").goal_row.choose("checkpoint")
    page.ranking.apply.click()
    assert window.current_page() == "quantize"
    assert window.page("quantize").goal is window.page("quantize").gguf
    options = window.page("quantize").gguf.options
    assert options.target == "Q4_0"
    assert options.overrides == page.ranking.keeping.overrides

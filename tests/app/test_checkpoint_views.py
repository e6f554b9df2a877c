"""Views of a checkpoint's figures: what is drawn equals the result, tables are its twins, one choice moves them all."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest

from app.pages.jobs import JobsPage
from app.pages.results import ResultsPage
from app.theme import Theme
from app.widgets.activation_view import ActivationView
from app.widgets.clipping_view import ClippingView
from app.widgets.layer_plot import GUARDED, LayerPlot
from app.widgets.plot_export import save_csv, save_png, save_svg
from core.jobs import CheckpointResult
from core.progress import LAYER_ERROR, Measured, Snapshot
from tests.app.accessibility import nameless, silent
from tests.app.checkpoint_values import add_checkpoint, make_checkpoint, make_job, matrix_names
from tests.app.values import add_finished, make_result


@pytest.fixture
def theme(qapp):
    made = Theme("light")
    yield made
    made.set_mode("light")


@pytest.fixture
def result() -> CheckpointResult:
    return make_checkpoint()


def shown(widget, qtbot, result):
    qtbot.addWidget(widget)
    widget.resize(900, 420)
    widget.show()
    widget.set_result(result)
    return widget


def test_errors_of_layers_are_the_results(theme, qtbot, result):
    plot = shown(LayerPlot(theme), qtbot, result)
    heights = {name: y for name, _x, y in plot.points()}
    for row in result.layers:
        assert heights[row.name] == pytest.approx(100 * row.error)
        assert (f"{row.name}\n" in heights) != row.guarded
        if not row.guarded:
            assert heights[f"{row.name}\n"] == pytest.approx(100 * row.rounded_error)
    guarded = [point.name for point in plot._shown if point.series == GUARDED]
    assert guarded == [row.name for row in result.layers if row.guarded] != []
    header, rows = plot.table()
    assert header[:4] == ["name", "layer", "error", "rounded_error"]
    assert [row[0] for row in rows] == [row.name for row in result.layers]
    order = [x for name, x, _y in plot.points()]
    assert order == sorted(order)


def test_a_point_of_rounding_stands_for_its_matrix(theme, qtbot, result):
    plot = shown(LayerPlot(theme), qtbot, result)
    with qtbot.waitSignal(plot.tensor_selected) as told:
        plot._choose(f"{result.layers[2].name}\n")
    assert told.args == [result.layers[2].name]
    assert result.layers[2].name in plot.readout.text()
    plot.select("")
    assert f"{len(result.layers)} matrices" in plot.readout.text()


def test_the_histogram_has_the_chosen_range(theme, qtbot, result):
    view = shown(ClippingView(theme), qtbot, result)
    for row in result.clipping:
        view.select(row.name)
        edges, counts = view.plot.bars()
        assert tuple(counts) == row.histogram.counts
        assert (edges[0], edges[-1]) == (row.histogram.low, row.histogram.high)
        assert [mark.at for mark in view.plot.marks()] == [row.low, row.high]
        assert row.name in view._title.text()
        assert row.name in view._readout.text()
    assert [row[0] for row in view.table()[1]] == [row.name for row in result.clipping]


def test_pointing_reads_out_the_step(theme, qtbot, result):
    view = shown(ClippingView(theme), qtbot, result)
    edges, counts = view.plot.bars()
    at = int(np.argmax(counts))
    middle = QPointF((edges[at] + edges[at + 1]) / 2, 1)
    view.plot._hover(view.plot.plot.getPlotItem().getViewBox().mapViewToScene(middle))
    assert f"{counts[at]:,}".replace(",", "\u2009") in view._readout.text()
    view.plot._hover(QPointF(-50, -50))
    assert view.current.name in view._readout.text()


def test_arrow_keys_walk_through_the_matrices(theme, qtbot, result):
    view = shown(ClippingView(theme), qtbot, result)
    names = [row.name for row in result.clipping]
    told = []
    view.tensor_selected.connect(told.append)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Left):
        QTest.keyClick(view, key)
    assert told == [names[1], names[0], names[-1]]
    view.plot.plot.getPlotItem().getViewBox().setRange(xRange=(0, 1e-3))
    QTest.keyClick(view, Qt.Key.Key_Home)
    assert view.plot.plot.getPlotItem().getViewBox().viewRange()[0][0] <= view.current.histogram.low


def test_what_meets_a_matrix_is_drawn_with_its_outliers(theme, qtbot, result):
    view = shown(ActivationView(theme), qtbot, result)
    static, plain = result.activations
    assert [(mark.at, mark.is_range) for mark in view.spread.marks()] == [(-2.2, True), (2.4, True)]
    view.select(plain.name)
    assert [(mark.at, mark.words) for mark in view.spread.marks()] == [(-2.0, "0.1 %"), (2.5, "99.9 %")]
    columns, heights, reach = view.columns.points()
    assert tuple(columns[reach]) == plain.outliers
    assert tuple(heights) == plain.largest
    assert tuple(view.spread.bars()[1]) == plain.histogram.counts
    assert "2 columns reach 6" in view._readout.text()
    header, rows = view.table()
    assert [row[header.index("outliers")] for row in rows] == [2, 2]
    view.select(static.shared[1])
    assert view.current == static, "what sees the same is shown together"
    assert "2 more" in view._title.text()


def test_pointing_at_a_column_reads_it_out(theme, qtbot, result):
    view = shown(ActivationView(theme), qtbot, result)
    place = view.columns.plot.getPlotItem().getViewBox().mapViewToScene(QPointF(40.2, 0.5))
    view.columns._hover(place)
    assert "column 40: largest magnitude 9" in view._readout.text()
    many = result.activations[0].model_copy(update={"columns": 2 * len(result.activations[0].largest)})
    view.columns.show_figures(many)
    view.columns._hover(view.columns.plot.getPlotItem().getViewBox().mapViewToScene(QPointF(81, 0.5)))
    assert "columns 80 to 81" in view._readout.text()


@pytest.mark.parametrize("make", [LayerPlot, ClippingView, ActivationView])
def test_views_are_exported_and_follow_the_theme(make, theme, qtbot, result, tmp_path):
    view = shown(make(theme), qtbot, result)
    save_png(view, tmp_path / "a.png")
    save_svg(view, tmp_path / "a.svg")
    save_csv(view.table(), tmp_path / "a.csv")
    assert all((tmp_path / f"a.{kind}").stat().st_size > 200 for kind in ("png", "svg", "csv"))
    light = view.grab().toImage()
    theme.set_mode("dark")
    assert view.grab().toImage() != light


@pytest.fixture
def page(context, qtbot, result):
    add_finished(context.store, make_result(2, "/models/older.Q4_K_M.gguf"))
    add_checkpoint(context.store, result)
    made = ResultsPage(context)
    qtbot.addWidget(made)
    made.resize(1208, 740)
    made.show()
    made.activated()
    return made


def test_a_checkpoint_has_its_views_and_a_file_has_not(page, result):
    assert page.result.output == result.output
    assert {"errors", "layers", "solved", "clipping", "activations", "size"} <= set(page.views())
    page.show_job(page.history.records[1].id)
    assert {"solved", "clipping", "activations"}.isdisjoint(page.views())


def test_one_choice_moves_all_plots_and_tables(page, result):
    name = result.layers[3].name
    page.show_view("clipping")
    table = page.tables.currentWidget()
    assert [row.name for row in table.source.rows] == [row.name for row in result.clipping]
    assert table.select(name)
    assert page.plot("clipping").current.name == name
    page.show_view("solved")
    assert page.tables.currentWidget().current().name == name
    assert page.plot("solved")._selected == name
    page.plot("solved")._choose(result.layers[1].name)
    page.show_view("errors")
    assert page.table.current().name == result.layers[1].name
    assert page.plot("errors")._selected == result.layers[1].name
    assert page.plot("layers").grid.layers == (0, 1)


def test_every_view_and_table_has_a_name(page):
    for key in page.views():
        page.show_view(key)
        assert nameless(page) == []
        assert silent(page) == []
        assert page.plot(key).accessibleName()


def test_errors_are_drawn_while_a_job_runs(context, qtbot, monkeypatch, result):
    monkeypatch.setattr(context.jobs, "resume", lambda: None)
    page = JobsPage(context)
    qtbot.addWidget(page)
    page.show()
    job_id = context.jobs.submit(make_job())
    page.select(job_id)
    assert page.inspector.plot is None
    told = []
    monkeypatch.setattr(context.jobs, "measured", lambda _id: tuple(told))
    for name, (error, rounded) in zip(matrix_names(), ((0.1, 0.2), (0.3, 0.3)), strict=False):
        told.append(Measured(of=LAYER_ERROR, name=name, value=error, compared=rounded))
        snapshot = Snapshot(stage="Quantizing layers", done=len(told), total=9, measured=told[-1])
        context.jobs.progressed.emit(job_id, snapshot)
    first, second = matrix_names()[:2]
    assert {name: y for name, _x, y in page.inspector.plot.points()} == {
        first: pytest.approx(10),
        f"{first}\n": pytest.approx(20),
        second: pytest.approx(30),
    }
    assert page.inspector.plot.isVisible()
    told.clear()
    other = add_checkpoint(context.store, result)
    page.refresh()
    assert page.select(other)
    assert not page.inspector.plot.isVisible()

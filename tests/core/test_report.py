"""Reports: one file that needs nothing else, with every figure, well formed, whatever names hold."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from core.errors import OutputNotWritable
from core.jobs import QuantizeManyResult
from core.report.report import report, reports, write_report
from core.report.svg import Dot, axis, bars, scatter
from tests.app.evaluations import make_evaluation, make_ranking
from tests.app.values import make_result

NASTY = '/models/<script>alert(1)</script>&".gguf'
RESULTS = {
    "quantize": make_result(3),
    "many": QuantizeManyResult(results=(make_result(2), make_result(2, "/models/other.gguf"))),
    "evaluate": make_evaluation(),
    "sensitivity": make_ranking(),
}
VOID = {"meta", "br", "circle", "line", "polyline"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and collects what is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.words = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [
            value for name, value in attrs if name in ("src", "href", "xlink:href") or "url(" in (value or "")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


@pytest.mark.parametrize("name", RESULTS)
def test_a_report_is_whole_and_needs_nothing(name):
    found = read(report(RESULTS[name]))
    assert found.outside == []
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert "svg" in found.tags
    assert "prefers-color-scheme: dark" in found.words


def test_a_comparison_has_every_figure_and_token():
    result = make_evaluation()
    found = read(report(result))
    for model in result.models:
        assert f"{model.mean_kld:.6f} ± {model.mean_kld_error:.6f}" in found.words
        assert f"{model.categories[2].mean_kld:.6f}" in found.words
    assert found.tags.count("mark") == sum(len(model.disagreements) for model in result.models)
    assert found.tags.count("rect") == len(result.models) * len(result.models[0].categories)


def test_a_ranking_and_a_quantization_have_every_row():
    ranking, made = RESULTS["sensitivity"], RESULTS["quantize"]
    words = read(report(ranking)).words
    assert all(f"{piece.mean_kld:.6f}" in words for piece in ranking.pieces)
    words = read(report(made)).words
    assert all(tensor.name in words for tensor in made.tensors)
    assert made.sha256 in words


def test_names_are_never_markup():
    result = make_evaluation("Q8_0")
    model = result.models[0].model_copy(update={"model": NASTY})
    html = report(result.model_copy(update={"models": (model,), "source": NASTY}))
    assert "<script>" not in html
    assert "script>alert" in read(html).words


def test_it_is_written_or_refused(tmp_path):
    write_report(RESULTS["evaluate"], tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == report(RESULTS["evaluate"])
    with pytest.raises(OutputNotWritable):
        write_report(RESULTS["evaluate"], tmp_path / "none" / "a.html")


@pytest.mark.parametrize("values", [[1.0], [0.0], [2.0, 2.0], [1e-9, 4e5], [-3.0, 5.0]])
def test_axes_hold_their_values(values):
    for log in (False, True):
        if log and min(values) <= 0:
            continue
        found = axis(values, 0, 100, log=log)
        assert all(0 <= found.at(value) <= 100 for value in values)
        assert found.ticks
        assert all(0 <= found.at(tick) <= 100 for tick in found.ticks)


def test_plots_without_anything_to_show():
    assert scatter([], "x", "y") == ""
    assert scatter([Dot(1, 0.0)], "x", "y") == ""
    assert read(bars(["a"], ["b"], [[(0.0, 0.0)]], "y")).tags.count("rect") == 1


def test_several_reports_are_one_page_with_links_to_each():
    reader = read(reports(list(RESULTS.values()), "Four results"))
    assert reader.outside == [f"#part{number}" for number in range(1, 5)]
    assert reader.tags.count("h1") == 5
    for name, result in RESULTS.items():
        assert read(report(result)).tags.count("svg") <= reader.tags.count("svg"), name
    assert "Sensitivity of" in reader.words
    with pytest.raises(KeyError):
        reports([make_evaluation(), make_result(2).total], "None")

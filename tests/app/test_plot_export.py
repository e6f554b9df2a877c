"""Plots as files: real PNG and SVG, CSV with exact values, and what happens where nothing can be written."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog, QMessageBox

from app.theme import Theme
from app.widgets.error_plot import ErrorPlot
from app.widgets.heat_map import HeatMap
from app.widgets.memory_bars import SizeBars
from app.widgets.plot_export import WRITERS, export, export_menu, save_csv, save_png, save_svg
from tests.app.values import make_result

PLOTS = (ErrorPlot, HeatMap, SizeBars)


@pytest.fixture(params=PLOTS, ids=lambda kind: kind.__name__)
def plot(request, qtbot):
    made = request.param(Theme("light")).set_result(make_result(6))
    qtbot.addWidget(made)
    return made


def test_png_of_a_widget_that_was_never_shown(plot, tmp_path):
    save_png(plot, tmp_path / "plot.png", QSize(800, 400))
    image = QImage(str(tmp_path / "plot.png"))
    assert image.size() == QSize(1600, 800)
    colors = {image.pixelColor(x, y).name() for x in range(0, 1600, 8) for y in range(0, 800, 4)}
    assert len(colors) > 5


def test_svg_holds_shapes_and_words(plot, tmp_path):
    save_svg(plot, tmp_path / "plot.svg", QSize(800, 400))
    root = ET.parse(tmp_path / "plot.svg").getroot()
    tags = [element.tag.split("}")[-1] for element in root.iter()]
    assert root.attrib["viewBox"] == "0 0 800 400"
    assert tags.count("path") + tags.count("rect") + tags.count("polyline") > 10
    assert "text" in tags
    assert "image" not in tags or isinstance(plot, ErrorPlot)


def test_csv_gives_back_the_exact_values(plot, tmp_path):
    save_csv(plot.table(), tmp_path / "plot.csv")
    header, rows = plot.table()
    with (tmp_path / "plot.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.reader(file))
    assert read[0] == header
    assert len(read) == len(rows) + 1
    numbers = [(a, b) for line, row in zip(read[1:], rows, strict=True) for a, b in zip(line, row, strict=True)]
    assert all(float(a) == b for a, b in numbers if isinstance(b, float))
    assert all(a == "" for a, b in numbers if b is None)


def test_controls_are_not_in_the_picture_and_come_back(qtbot, tmp_path):
    plot = ErrorPlot(Theme("light")).set_result(make_result(6))
    qtbot.addWidget(plot)
    plot.show()
    qtbot.waitExposed(plot)
    save_png(plot, tmp_path / "plot.png")
    assert plot._choice.isVisible()
    assert plot.readout.isVisible()


def test_the_menu_offers_every_kind(plot):
    words = [action.text() for action in export_menu(plot, "x").actions() if action.text()]
    assert words[: len(WRITERS)] == [f"Export {kind.upper()}…" for kind in WRITERS]


@pytest.mark.parametrize("kind", WRITERS)
def test_exporting_asks_for_a_name_and_adds_the_ending(plot, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "chosen"), ""))
    assert export(plot, kind, "suggested") == tmp_path / f"chosen.{kind}"
    assert (tmp_path / f"chosen.{kind}").stat().st_size > 100


def test_changing_ones_mind_writes_nothing(plot, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    assert export(plot, "png", "suggested") is None


def test_a_place_that_cannot_be_written_is_said(plot, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "no" / "such.png"), ""))
    said = []
    monkeypatch.setattr(QMessageBox, "warning", lambda *words: said.append(words[-1]))
    assert export(plot, "png", "suggested") is None
    assert "such.png could not be written" in said[0]

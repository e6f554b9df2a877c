"""Light and dark: colours, contrast, icons and plots that change with the theme."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QToolButton

from app.icons import GLYPHS
from app.theme import COLORS, MODES, Theme


def luminance(color: QColor) -> float:
    """Relative luminance as in WCAG 2.1."""
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: QColor, other: QColor) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def theme(qapp):
    made = Theme("light")
    yield made
    made.set_mode("light")


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("ground", ["window", "base", "surface", "rail", "tooltip"])
@pytest.mark.parametrize("ink", ["text", "muted"])
def test_text_can_be_read_on_every_ground(theme, mode, ground, ink):
    theme.set_mode(mode)
    assert contrast(theme.color(ink), theme.color(ground)) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), [("on_accent", "primary"), ("text", "selection"), ("text", "hover")])
def test_words_on_colour_can_be_read(theme, mode, ink, ground):
    theme.set_mode(mode)
    assert contrast(theme.color(ink), theme.color(ground)) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", ["accent", "good", "warn", "bad", *(f"series{i}" for i in range(8))])
def test_marks_stand_out_from_the_ground(theme, mode, name):
    theme.set_mode(mode)
    assert contrast(theme.color(name), theme.color("base")) >= (2.0 if name.startswith("series") else 2.5)


def test_changing_the_mode_changes_palette_and_icons(theme, qtbot):
    button = QToolButton()
    qtbot.addWidget(button)
    theme.decorate(button, "search")
    before = button.icon().pixmap(16, 16).toImage()
    with qtbot.waitSignal(theme.changed):
        theme.set_mode("dark")
    assert theme.is_dark
    assert QGuiApplication.palette().color(QPalette.ColorRole.Window) == theme.color("window")
    assert button.icon().pixmap(16, 16).toImage() != before


def test_a_widget_that_is_gone_is_no_longer_followed(theme, qtbot):
    calls = []
    button = QToolButton()
    theme.follow(button, lambda: calls.append(1))
    theme.set_mode("dark")
    button.deleteLater()
    qtbot.wait(10)
    theme.set_mode("light")
    assert calls == [1]


def test_the_system_is_followed(theme, monkeypatch):
    theme.set_mode("system")
    assert theme.mode == "system"
    assert not theme.is_dark  # the offscreen platform has no scheme, which counts as light


@pytest.mark.parametrize("name", sorted(GLYPHS))
def test_every_icon_can_be_drawn(theme, name):
    assert not theme.icon(name).pixmap(22, 22).isNull()


def test_a_plot_takes_the_colours(theme, qtbot):
    import pyqtgraph

    plot = pyqtgraph.PlotWidget()
    qtbot.addWidget(plot)
    for mode in ("light", "dark"):
        theme.set_mode(mode)
        theme.style_plot(plot.getPlotItem())
        assert plot.getPlotItem().getAxis("left").pen().color() == theme.color("border")
        assert plot.backgroundBrush().color() == theme.color("base")


def test_unknown_names_are_refused(theme):
    with pytest.raises(ValueError, match="pink"):
        theme.set_mode("pink")
    with pytest.raises(KeyError):
        theme.color("pink")
    assert set(MODES) == {"system", "light", "dark"}
    assert all(len(pair) == 2 for pair in COLORS.values())

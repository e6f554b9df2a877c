"""The size bars: one scale, sums that are the sizes of the files, words for every segment."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QColor

from app.theme import Theme
from app.widgets.memory_bars import SERIES, SizeBars
from app.widgets.stacked_bars import readable_on
from tests.app.values import make_plan, make_result


@pytest.fixture
def bars(qtbot):
    made = SizeBars(Theme("light"))
    qtbot.addWidget(made)
    made.resize(800, made.sizeHint().height())
    return made


@pytest.mark.parametrize("make", [make_plan, make_result])
def test_it_shows_plans_and_results_alike(bars, make):
    model = make(12)
    assert bars.set_result(model) is bars
    header, rows = bars.table()
    assert header == ["group", "bytes_before", "bytes_after"]
    assert sum(row[1] for row in rows) == model.source_bytes
    assert sum(row[2] for row in rows) == model.bytes


def test_both_bars_are_drawn_on_one_scale(bars):
    result = make_result(12)
    bars.set_result(result).grab()
    rows = sorted({area.top() for area, _words in bars._parts})
    assert len(rows) == 2
    before, after = (max(area.right() for area, _words in bars._parts if area.top() == top) for top in rows)
    left = min(area.left() for area, _words in bars._parts)
    assert (after - left) / (before - left) == pytest.approx(result.bytes / result.source_bytes, rel=0.01)


def test_nothing_to_show_draws_nothing(bars):
    bars.set_result(make_result()).set_result(None)
    bars.grab()
    assert bars.sizes == ()


def test_every_group_is_spoken(bars):
    bars.set_result(make_result())
    assert bars.accessibleDescription().count("→") == len(bars.sizes)
    assert "Feed-forward" in bars.accessibleDescription()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("group", SERIES)
def test_names_in_the_bars_can_be_read(qapp, mode, group):
    theme = Theme(mode)
    fill = theme.color(SERIES[group])
    assert contrast(fill, readable_on(fill)) >= 4.5
    theme.set_mode("light")


def contrast(a: QColor, b: QColor) -> float:
    def luminance(color: QColor) -> float:
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color.getRgbF()[:3]]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)

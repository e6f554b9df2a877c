"""The benchmark's figures: a ceiling and a floor are not the same thing, and a miss is counted and shown."""

from __future__ import annotations

import pytest

from bench.report import Figure, show


@pytest.mark.parametrize(
    ("figure", "is_met"),
    [
        (Figure("start", 1.1, "s", 1.2, at_most=True), True),
        (Figure("start", 1.3, "s", 1.2, at_most=True), False),
        (Figure("speed", 5.1, "×", 5), True),
        (Figure("speed", 4.9, "×", 5), False),
        (Figure("speed", 4.9, "×"), True),
    ],
)
def test_targets(figure: Figure, is_met: bool) -> None:
    assert figure.is_met is is_met


def test_misses_are_counted_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("Title", [Figure("a", 1, "s", 2), Figure("b", 3, "s", 2)]) == 1
    said = capsys.readouterr().out
    assert "MISSED" in said
    assert "at least 2 s" in said

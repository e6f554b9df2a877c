"""Plots as SVG for a page: colours are the page's CSS variables --text, --muted, --grid, --series0 to --series7."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 860, 380
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 24, 52
SERIES = 8
MANTISSAS = ((1,), (1, 3), (1, 2, 5))
# Ends of error bars that reach to nothing, on a logarithmic axis, as a share of the value.
LOWEST_SHARE = 0.1
BARS_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Dot:
    """A point. error: half of its bar. label: beside it. title: the tooltip."""

    x: float
    y: float
    error: float = 0.0
    series: int = 0
    label: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """A range on a side of the plot, in the plot's units of pixels from `begin` to `end`."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    ticks: tuple[float, ...] = field(default=())

    def at(self, value: float) -> float:
        """The place of a value."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)


def axis(values: Sequence[float], begin: float, end: float, *, log: bool = False) -> Axis:
    """An axis with round ticks that shows all values, positive ones where it is logarithmic."""
    low, high = min(values), max(values)
    if log:
        low, high = low / 1.3, high * 1.3
        return Axis(low, high, begin, end, log, tuple(_log_ticks(low, high)))
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - (room if low else 0), high + room
    return Axis(low, high, begin, end, log, tuple(_ticks(low, high)))


def scatter(dots: Sequence[Dot], bottom: str, left: str, *, log: bool = True, line: Sequence[Dot] = ()) -> str:
    """A scatter plot with error bars; points of 0 or less have no place on a logarithmic axis and are left out."""
    shown = [dot for dot in dots if not log or dot.y > 0]
    if not shown:
        return ""
    lows = [_low(dot, log) for dot in shown]
    x = axis([dot.x for dot in shown], LEFT, WIDTH - RIGHT)
    y = axis([*lows, *(dot.y + dot.error for dot in shown)], HEIGHT - BOTTOM, TOP, log=log)
    parts = [*_frame(x, y, bottom, left)]
    through = " ".join(f"{x.at(dot.x):.1f},{y.at(dot.y):.1f}" for dot in line if dot in shown)
    if through:
        parts.append(f'<polyline points="{through}" class="front"/>')
    for dot, low in zip(shown, lows, strict=True):
        parts += _dot(dot, x.at(dot.x), (y.at(low), y.at(dot.y), y.at(dot.y + dot.error)))
    return _svg(parts, f"{left}, {bottom}")


def bars(
    groups: Sequence[str], series: Sequence[str], values: Sequence[Sequence[tuple[float, float]]], left: str
) -> str:
    """Bars side by side in groups. values: for each group (value, error) of each series."""
    highest = max((value + error for row in values for value, error in row), default=0.0) or 1.0
    y = axis([0.0, highest], HEIGHT - BOTTOM, TOP)
    width = (WIDTH - LEFT - RIGHT) / len(groups)
    parts = [*_ticks_of(y, left)]
    for at, group in enumerate(groups):
        middle = LEFT + (at + 0.5) * width
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 18}" class="tick middle">{escape(group)}</text>')
        for number, (value, error) in enumerate(values[at]):
            thick = BARS_SHARE * width / len(series)
            begin = middle + (number - len(series) / 2) * thick
            parts += _bar(
                y, begin, thick, (value, error), number, f"{series[number]}, {group}: {value:.5f} ± {error:.5f}"
            )
    return _svg(parts, left) + _legend(series)


# ---------------------------------------------------------------- pieces


def _svg(parts: Sequence[str], words: str) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words, quote=True)}">\n{inside}\n</svg>\n'
    )


def _legend(series: Sequence[str]) -> str:
    entries = (
        f'<span><i style="background: var(--series{number % SERIES})"></i>{escape(name)}</span>'
        for number, name in enumerate(series)
    )
    return f'<p class="legend">{"".join(entries)}</p>\n'


def _frame(x: Axis, y: Axis, bottom: str, left: str) -> Iterator[str]:
    yield from _ticks_of(y, left)
    for tick in x.ticks:
        yield f'<text x="{x.at(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" class="tick middle">{_number(tick)}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" class="name middle">{escape(bottom)}</text>'


def _ticks_of(y: Axis, left: str) -> Iterator[str]:
    for tick in y.ticks:
        at = y.at(tick)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
        yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" class="tick end">{_number(tick)}</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<text transform="translate(16 {middle}) rotate(-90)" class="name middle">{escape(left)}</text>'


def _dot(dot: Dot, x: float, heights: tuple[float, float, float]) -> Iterator[str]:
    low, y, high = heights
    color = f"var(--series{dot.series % SERIES})"
    if dot.error:
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" class="error"/>'
    title = f"<title>{escape(dot.title)}</title>" if dot.title else ""
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" style="fill: {color}">{title}</circle>'
    if dot.label:
        side = ("end", -8) if x > WIDTH * 0.8 else ("", 8)
        yield f'<text x="{x + side[1]:.1f}" y="{y - 7:.1f}" class="label {side[0]}">{escape(dot.label)}</text>'


def _bar(y: Axis, x: float, width: float, value: tuple[float, float], series: int, title: str) -> Iterator[str]:
    zero, top = y.at(0), y.at(max(value[0], 0.0))
    color = f"var(--series{series % SERIES})"
    yield (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{zero - top:.1f}" style="fill: {color}">'
        f"<title>{escape(title)}</title></rect>"
    )
    middle, ends = x + width / 2, (y.at(value[0] + value[1]), y.at(max(value[0] - value[1], 0.0)))
    yield f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" class="error"/>'


def _low(dot: Dot, log: bool) -> float:
    return max(dot.y - dot.error, dot.y * LOWEST_SHARE) if log else dot.y - dot.error


def _ticks(low: float, high: float) -> Iterator[float]:
    raw = (high - low) / 6
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield number * step


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for mantissas in MANTISSAS:
        found = [m * 10.0**e for e in decades for m in mantissas if low <= m * 10.0**e <= high]
        if len(found) >= 3:
            return found
    return found if len(found) > 1 else list(_ticks(low, high))


def _number(value: float) -> str:
    return f"{value:.3g}"

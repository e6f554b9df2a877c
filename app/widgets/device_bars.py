"""Memory by device as stacked horizontal bars: weights, cache, state, computation, overhead, and what is left free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QCoreApplication, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from app import text
from app.widgets.stacked_bars import StackedBars
from core.estimate.values import DeviceMemory

# The parts of a bar in their order, with their colours; each also carries its name.
PARTS: dict[str, str] = {
    "weights": "series0",
    "cache": "series1",
    "state": "series3",
    "compute": "series2",
    "overhead": "series7",
}
_BAR, _GAP, _LEGEND_GAP = 22, 8, 12
# Free memory much larger than the need would leave the parts too thin to see: the scale ends at this multiple.
MOST_OF_NEED = 3.0


def part_word(part: str) -> str:
    """A part's name as it is shown."""
    words = {
        "weights": QCoreApplication.translate("DeviceBars", "Weights"),
        "cache": QCoreApplication.translate("DeviceBars", "Cache"),
        "state": QCoreApplication.translate("DeviceBars", "State"),
        "compute": QCoreApplication.translate("DeviceBars", "Computation"),
        "overhead": QCoreApplication.translate("DeviceBars", "Overhead"),
    }
    return words[part]


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: whose memory, on which device, and what is free there (None: this computer has no such device)."""

    label: str
    memory: DeviceMemory
    free: int | None


class DeviceBars(StackedBars):
    """Bars on one scale, each with what it needs and what is free; a tooltip over a part gives its bytes.

    Where what is needed reaches over what is free, a line marks the end of the free memory.
    """

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(theme, "device_bars", parent)
        self._bars: tuple[Bar, ...] = ()
        self.setAccessibleName(self.tr("Memory by device"))

    def set_bars(self, bars: tuple[Bar, ...]) -> None:
        """Shows these rows."""
        changed = len(bars) != len(self._bars)
        self._bars = bars
        self.setAccessibleDescription("; ".join(f"{bar.label}: {_figure(bar)}" for bar in bars))
        if changed:
            self.updateGeometry()
        self.update()

    @property
    def bars(self) -> tuple[Bar, ...]:
        """What is shown."""
        return self._bars

    def sizeHint(self) -> QSize:
        """All rows and a line of legend."""
        legend = QFontMetrics(self.caption()).height()
        return QSize(520, len(self._bars) * (_BAR + _GAP) - _GAP + _LEGEND_GAP + legend if self._bars else 0)

    def minimumSizeHint(self) -> QSize:
        """As high as the hint, and wide enough for labels and figures."""
        return QSize(300, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws rows and legend."""
        self.forget_parts()
        if not self._bars:
            return
        painter = QPainter(self)
        metrics = QFontMetrics(self.font())
        left = max(metrics.horizontalAdvance(bar.label) for bar in self._bars) + 12
        right = max(metrics.horizontalAdvance(_figure(bar)) for bar in self._bars) + 12
        scale = max(self.width() - left - right, 1) / self._whole()
        for row, bar in enumerate(self._bars):
            y = row * (_BAR + _GAP)
            painter.setFont(self.font())
            painter.setPen(self._theme.color("text"))
            painter.drawText(QRectF(0, y, left, _BAR), Qt.AlignmentFlag.AlignVCenter, bar.label)
            self._draw_bar(painter, bar, QRectF(left, y, self.width() - left - right, _BAR), scale)
            painter.setFont(self.font())
            painter.setPen(self._theme.color("text"))
            side = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight
            painter.drawText(QRectF(self.width() - right, y, right, _BAR), side, _figure(bar))
        self._draw_legend(painter, len(self._bars) * (_BAR + _GAP) - _GAP + _LEGEND_GAP)

    def _whole(self) -> float:
        """Bytes that the widest bar stands for."""
        needs = max(bar.memory.total for bar in self._bars)
        free = max(bar.free or 0 for bar in self._bars)
        return max(needs, min(free, MOST_OF_NEED * needs), 1)

    def _draw_bar(self, painter: QPainter, bar: Bar, area: QRectF, scale: float) -> None:
        x = area.left()
        for part, color_name in PARTS.items():
            n_bytes = getattr(bar.memory, part)
            width = n_bytes * scale
            segment = QRectF(x, area.top(), max(width - 1, 0), area.height())
            self.draw_part(painter, segment, color_name, part_word(part), f"{part_word(part)}: {text.size(n_bytes)}")
            x += width
        self._draw_free(painter, bar, x, area, scale)

    def _draw_free(self, painter: QPainter, bar: Bar, x: float, area: QRectF, scale: float) -> None:
        if bar.free is None:
            return
        end = min(area.left() + bar.free * scale, area.right())
        if end > x + 1:
            free = QRectF(x, area.top(), end - x, area.height())
            left = bar.free - bar.memory.total
            self.draw_part(painter, free, "grid", "", self.tr("Stays free: {0}").format(text.size(left)))
            is_cut = area.left() + bar.free * scale > area.right() + 1
            words = self.tr("Free, more than is drawn") if is_cut else self.tr("Free")
            self.draw_label(painter, free, words, self._theme.color("muted"))
        else:
            painter.setPen(QPen(self._theme.color("bad"), 2))
            painter.drawLine(round(end), round(area.top()) - 2, round(end), round(area.bottom()) + 2)

    def _draw_legend(self, painter: QPainter, y: int) -> None:
        font = self.caption()
        metrics = QFontMetrics(font)
        painter.setFont(font)
        x = 0
        for part, color_name in PARTS.items():
            if not any(getattr(bar.memory, part) for bar in self._bars):
                continue
            painter.fillRect(QRectF(x, y + (metrics.height() - 10) / 2, 10, 10), self._theme.color(color_name))
            painter.setPen(self._theme.color("muted"))
            painter.drawText(x + 15, y + metrics.ascent(), part_word(part))
            x += 15 + metrics.horizontalAdvance(part_word(part)) + 16


def _figure(bar: Bar) -> str:
    """'0.4 of 21.7 GiB free'."""
    need = text.gib(bar.memory.total)
    if bar.free is None:
        return QCoreApplication.translate("DeviceBars", "{0} GiB").format(need)
    return QCoreApplication.translate("DeviceBars", "{0} of {1} GiB free").format(need, text.gib(bar.free))

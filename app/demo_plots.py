"""Draws a finished quantization with the window's own plot widgets into PNG files: the demo's child process.

Usage: `python -m app.demo_plots RESULT.json FOLDER`; prints the path of each file written. Needs no display.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import QSize
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from app.theme import Theme
from app.widgets.error_plot import ErrorPlot
from app.widgets.heat_map import HeatMap
from app.widgets.memory_bars import SizeBars
from app.widgets.plot_export import save_png
from core.jobs import QuantizeResult

MARGIN = 24


def plots(result: QuantizeResult, theme: Theme) -> dict[str, tuple[QWidget, QSize]]:
    """The result page's plots by file name, each with its size in device-independent pixels."""
    return {
        "errors": (ErrorPlot(theme).set_result(result), QSize(1200, 640)),
        "heat-map": (HeatMap(theme).set_result(result), QSize(1200, 420)),
        "sizes": (SizeBars(theme).set_result(result), QSize(1000, 160)),
    }


def framed(plot: QWidget) -> QWidget:
    """The plot with a margin around it, as a picture on its own needs one."""
    frame = QWidget()
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
    layout.addWidget(plot)
    return frame


def main(result_file: str, folder: str) -> int:
    """Reads the result, writes one PNG per plot, and returns 0; raises OSError where a file cannot be written."""
    application = QApplication([])
    theme = Theme("light")
    result = QuantizeResult.model_validate_json(Path(result_file).read_text(encoding="utf-8"))
    for name, (widget, size) in plots(result, theme).items():
        path = Path(folder) / f"{name}.png"
        save_png(framed(widget), path, size)
        print(path)
    application.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Plots as files: PNG and SVG of any widget, CSV of its table twin, and the context menu that offers them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import QBuffer, QByteArray, QCoreApplication, QIODevice, QPoint, QSize
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication, QFileDialog, QMenu, QMessageBox, QWidget

CONTROL = "export_hidden"
_DEFAULT_SIZE = QSize(1200, 640)
_SCALE = 2


class Plot(Protocol):
    """A plot widget with a table twin."""

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and rows of exact values."""


translate = QCoreApplication.translate


@contextmanager
def _as_figure(widget: QWidget, size: QSize | None) -> Iterator[QWidget]:
    """The widget without its controls, laid out even where it was never shown."""
    hidden = [child for child in widget.findChildren(QWidget) if child.property(CONTROL) and not child.isHidden()]
    for child in hidden:
        child.hide()
    if not widget.isVisible():
        widget.resize(size or _DEFAULT_SIZE)
        # A first rendering lets hidden widgets take their final geometry; the second one has it.
        widget.grab()
        QApplication.processEvents()
    try:
        yield widget
    finally:
        for child in hidden:
            child.show()


def save_png(widget: QWidget, path: str | Path, size: QSize | None = None) -> None:
    """Renders a widget to a PNG at twice its size in pixels. size: of a widget never shown. Raises OSError."""
    with _as_figure(widget, size):
        image = QImage(widget.size() * _SCALE, QImage.Format.Format_ARGB32)
        image.setDevicePixelRatio(_SCALE)
        image.fill(widget.palette().window().color())
        widget.render(image, QPoint(0, 0))
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]  # the stub wants bytes for the format
    _write(path, buffer.data())


def save_svg(widget: QWidget, path: str | Path, size: QSize | None = None) -> None:
    """Renders a widget to an SVG. Raises OSError where the file cannot be written."""
    from PySide6.QtSvg import QSvgGenerator

    buffer = QBuffer()
    with _as_figure(widget, size):
        generator = QSvgGenerator()
        generator.setOutputDevice(buffer)
        generator.setSize(widget.size())
        generator.setViewBox(widget.rect())
        generator.setTitle(widget.accessibleName())
        with _vector_symbols(widget):
            painter = QPainter(generator)
            painter.fillRect(widget.rect(), widget.palette().window())
            widget.render(painter, QPoint(0, 0))
            painter.end()
    _write(path, buffer.data())


@contextmanager
def _vector_symbols(widget: QWidget) -> Iterator[None]:
    """Lets scatter items draw shapes instead of their cached pixmaps."""
    items = getattr(widget, "scatter_items", list)()
    for item in items:
        item.opts["useCache"] = False
    try:
        yield
    finally:
        for item in items:
            item.opts["useCache"] = True


def save_csv(table: tuple[Sequence[str], Sequence[Sequence[Any]]], path: str | Path) -> None:
    """Writes a header and rows of exact values; None becomes an empty cell, a shape '49152x576'. Raises OSError."""
    header, rows = table
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[_cell(value) for value in row] for row in rows])


def _cell(value: Any) -> Any:
    return "x".join(str(n) for n in value) if isinstance(value, tuple) else value


def _write(path: str | Path, data: QByteArray) -> None:
    Path(path).write_bytes(data.data())


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "png": save_png,
    "svg": save_svg,
    "csv": lambda plot, path: save_csv(plot.table(), path),
}


def export(plot: Any, kind: str, suggested: str, parent: QWidget | None = None) -> Path | None:
    """Asks for a file name and writes there; returns the path, or None where the user changed their mind.

    plot: a plot widget, or for CSV anything with a table(); parent: the window to ask in, where plot is no widget.
    """
    parent = parent or plot
    title = translate("PlotExport", "Export {0}").format(kind.upper())
    chosen, _ = QFileDialog.getSaveFileName(parent, title, f"{suggested}.{kind}", f"{kind.upper()} (*.{kind})")
    if not chosen:
        return None
    path = Path(chosen) if Path(chosen).suffix else Path(f"{chosen}.{kind}")
    try:
        WRITERS[kind](plot, path)
    except OSError as error:
        message = translate("PlotExport", "{0} could not be written: {1}. Choose another folder.").format(
            path, error.strerror or error
        )
        QMessageBox.warning(parent, title, message)
        return None
    return path


def export_menu(plot: Any, suggested: str, kinds: Sequence[str] = ("png", "svg", "csv")) -> QMenu:
    """The context menu of a plot: one entry per kind of file, and 'Reset view' where the plot has a view to reset."""
    menu = QMenu(plot)
    for kind in kinds:
        action = menu.addAction(translate("PlotExport", "Export {0}…").format(kind.upper()))
        action.triggered.connect(lambda _checked=False, kind=kind: export(plot, kind, suggested))
    if hasattr(plot, "reset_view"):
        menu.addSeparator()
        menu.addAction(translate("PlotExport", "Reset view")).triggered.connect(plot.reset_view)
    return menu

"""Widgets beside each other, or one below another, as one widget without margins."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QVBoxLayout, QWidget


def row(*widgets: QWidget) -> QWidget:
    """From left to right, as wide as they are."""
    line = QHBoxLayout()
    box = _filled(line, widgets)
    line.addStretch(1)
    return box


def tools(*widgets: QWidget) -> QWidget:
    """From left to right, in all the room there is."""
    return _filled(QHBoxLayout(), widgets)


def foot(words: QWidget, *widgets: QWidget) -> QWidget:
    """From left to right; the first takes the room that the others leave."""
    line = QHBoxLayout()
    box = _filled(line, (words, *widgets))
    line.setStretchFactor(words, 1)
    return box


def column(*widgets: QWidget) -> QWidget:
    """From top to bottom."""
    return _filled(QVBoxLayout(), widgets)


def _filled(line: QBoxLayout, widgets: Iterable[QWidget]) -> QWidget:
    box = QWidget()
    box.setLayout(line)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(8)
    for widget in widgets:
        line.addWidget(widget)
    return box

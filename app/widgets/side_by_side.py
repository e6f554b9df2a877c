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

"""Widgets beside each other, or one below another, as one widget without margins."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget


def row(*widgets: QWidget) -> QWidget:
    """From left to right, as wide as they are."""
    box = QWidget()
    line = QHBoxLayout(box)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(8)
    for widget in widgets:
        line.addWidget(widget)
    line.addStretch(1)
    return box


def column(*widgets: QWidget) -> QWidget:
    """From top to bottom."""
    box = QWidget()
    line = QVBoxLayout(box)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(8)
    for widget in widgets:
        line.addWidget(widget)
    return box

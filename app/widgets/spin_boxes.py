"""Spin boxes whose text does not touch the border."""

from __future__ import annotations

from PySide6.QtWidgets import QDoubleSpinBox, QSpinBox

# A style sheet's padding does not reach the line inside a spin box.
TEXT_MARGIN = 6


def inset(box: QSpinBox | QDoubleSpinBox) -> None:
    """Sets a box's text off its border, as other fields have it."""
    box.lineEdit().setTextMargins(TEXT_MARGIN, 0, 0, 0)

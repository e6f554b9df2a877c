"""Walks what is in sight for controls that a screen reader or a pointer would find nameless."""

from __future__ import annotations

from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QProgressBar,
    QWidget,
)

KINDS = (QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit, QAbstractItemView, QProgressBar)
# Parts of Qt's own composite widgets, which speak through their owner.
OWN_PARTS = ("qt_", "ScrollLeftButton", "ScrollRightButton", "CloseButton")
COMPOSITES = (QAbstractSpinBox, QComboBox, QLineEdit, QAbstractItemView)


def controls(root: QWidget) -> list[QWidget]:
    """Everything in sight below `root` that can be used, without the inner parts of composite widgets."""
    return [
        widget
        for kind in KINDS
        for widget in root.findChildren(kind)
        if widget.isVisible() and not widget.objectName().startswith(OWN_PARTS) and not _is_part(widget)
    ]


def nameless(root: QWidget) -> list[str]:
    """Controls without a name."""
    return [f"{type(widget).__name__} {widget.objectName()}" for widget in controls(root) if not _name(widget)]


def silent(root: QWidget) -> list[str]:
    """Buttons that show an icon alone and do not say what they do when the pointer rests on them."""
    buttons = [widget for widget in controls(root) if isinstance(widget, QAbstractButton)]
    return [
        button.accessibleName() or button.objectName()
        for button in buttons
        if not button.text() and not button.toolTip()
    ]


def _is_part(widget: QWidget) -> bool:
    parent = widget.parent()
    while parent is not None:
        if isinstance(parent, COMPOSITES) or type(parent).__name__ in {"QComboBoxPrivateContainer", "QTabBar"}:
            return True
        parent = parent.parent()
    return False


def _name(widget: QWidget) -> str:
    if widget.accessibleName():
        return widget.accessibleName()
    if isinstance(widget, QAbstractButton):
        return widget.text()
    return next((label.text() for label in widget.window().findChildren(QLabel) if label.buddy() is widget), "")

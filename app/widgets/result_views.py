"""THE table of views of a finished quantization: a plot each, made when it is first shown.

Importing this file imports no plot library; making a view does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP
from PySide6.QtWidgets import QWidget

from core.jobs import QuantizeResult

_T = QT_TRANSLATE_NOOP


@dataclass(frozen=True, slots=True)
class View:
    """A tab of the Results page.

    make: its plot, with set_result() and table(); select() and tensor_selected where it shows single tensors. has:
    whether a result has what it shows.
    """

    key: str
    title: str
    make: Callable[[Any], QWidget]
    has: Callable[[QuantizeResult], bool] = lambda result: True


def _errors(theme: Any) -> QWidget:
    from app.widgets.error_plot import ErrorPlot

    return ErrorPlot(theme)


def _layers(theme: Any) -> QWidget:
    from app.widgets.heat_map import HeatMap

    return HeatMap(theme)


def _size(theme: Any) -> QWidget:
    from app.widgets.size_view import SizeView

    return SizeView(theme)


VIEWS: tuple[View, ...] = (
    View("errors", _T("ResultViews", "Errors by tensor"), _errors),
    View("layers", _T("ResultViews", "Layers and modules"), _layers),
    View("size", _T("ResultViews", "Size"), _size),
)
VIEW = {view.key: view for view in VIEWS}

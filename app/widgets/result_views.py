"""THE table of views of a finished quantization: a plot each, made when it is first shown.

Importing this file imports no plot library; making a view does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP
from PySide6.QtWidgets import QWidget

from app.models.checkpoint_figures import ActivationsModel, ClippingModel, FiguresModel, LayersModel
from core.jobs import QuantizeResult

_T = QT_TRANSLATE_NOOP


@dataclass(frozen=True, slots=True)
class View:
    """A tab of the Results page.

    make: its plot, with set_result() and table(); select() and tensor_selected where it shows single tensors. has:
    whether a result has what it shows. model: of its own table twin; without one, the table of all tensors is it.
    """

    key: str
    title: str
    make: Callable[[Any], QWidget]
    has: Callable[[QuantizeResult], bool] = lambda result: True
    model: type[FiguresModel] | None = None


def _has(field: str) -> Callable[[QuantizeResult], bool]:
    return lambda result: bool(getattr(result, field, ()))


def _errors(theme: Any) -> QWidget:
    from app.widgets.error_plot import ErrorPlot

    return ErrorPlot(theme)


def _layers(theme: Any) -> QWidget:
    from app.widgets.heat_map import HeatMap

    return HeatMap(theme)


def _size(theme: Any) -> QWidget:
    from app.widgets.size_view import SizeView

    return SizeView(theme)


def _solved(theme: Any) -> QWidget:
    from app.widgets.layer_plot import LayerPlot

    return LayerPlot(theme)


def _clipping(theme: Any) -> QWidget:
    from app.widgets.clipping_view import ClippingView

    return ClippingView(theme)


def _activations(theme: Any) -> QWidget:
    from app.widgets.activation_view import ActivationView

    return ActivationView(theme)


VIEWS: tuple[View, ...] = (
    View("errors", _T("ResultViews", "By tensor"), _errors),
    View("layers", _T("ResultViews", "By layer"), _layers),
    View("solved", _T("ResultViews", "Output errors"), _solved, _has("layers"), LayersModel),
    View("clipping", _T("ResultViews", "Clipping"), _clipping, _has("clipping"), ClippingModel),
    View("activations", _T("ResultViews", "Activations"), _activations, _has("activations"), ActivationsModel),
    View("size", _T("ResultViews", "Size"), _size),
)
VIEW = {view.key: view for view in VIEWS}

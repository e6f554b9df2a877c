"""Folds scales into a layer that is in memory, after all windows of the text have passed it once.

Scales are sought by the error that rounding makes of what the consumers compute (AWQ) or by the extremes of activations
and weights (SmoothQuant). The moments that were counted serve the matrices that are rounded by themselves afterwards,
whose inputs the folded scales have divided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from core.calibration.moments import Inputs
from core.calibration.units import Unit, seeing_the_same
from core.checkpoints.decide import Decided, Item
from core.checkpoints.folds import Changes, Fold, changes_of, folds_of, realized, together
from core.checkpoints.solve import SOLVERS
from core.checkpoints.source import CheckpointSource
from core.errors import NonFiniteActivations, NonFiniteWeights
from core.methods import awq, smoothquant
from core.methods.activations import Observed
from core.methods.gptq import loss
from core.methods.linear import Floats
from core.network.network import Layer


@dataclass(slots=True)
class Seen:
    """What met matrices that share their inputs, which is divided by what is folded into them afterwards."""

    units: tuple[Unit, ...]
    inputs: Inputs
    observed: Observed
    moments: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def divide(self, columns: Floats) -> None:
        """After scales were folded: inputs are smaller by these factors (columns,)."""
        if len(self.moments):
            factors = torch.from_numpy(1 / columns).to(self.moments.device)
            self.moments *= factors[:, None] * factors


@dataclass(frozen=True, slots=True)
class Prepared:
    """A layer after folding: what was changed, and of matrices what they see and what plain rounding would lose.

    moments: of their inputs, empty where only extremes were looked at. rounded_errors: of their outputs over these.
    tokens: how many were looked at.
    """

    changes: Changes
    moments: Mapping[str, torch.Tensor]
    rounded_errors: Mapping[str, float]
    tokens: int


NOTHING = Prepared({}, {}, {}, 0)


def prepare(
    source: CheckpointSource, decided: Decided, layer: Layer, units: Sequence[Unit], run: Callable[[], None]
) -> Prepared:
    """Folds what can be folded. run: takes all windows through the layer.

    Raises NonFiniteActivations, NonFiniteWeights.
    """
    items = {item.entry.name: item for item in decided.items}
    seen = _watched(decided, units, run)
    for group in seen:
        _check(source, group)
    by_name = {unit.name: group for group in seen for unit in group.units}
    errors = {unit.name: _rounded_error(items[unit.name], unit, group) for group in seen for unit in group.units}
    parts: list[Changes] = []
    for fold in folds_of(source, decided, layer.number):
        group = by_name[fold.consumers[0].entry.name]
        wanted = {item.entry.name: item for item in fold.consumers}
        consumers = [(unit, wanted[unit.name]) for unit in group.units if unit.name in wanted]
        scales = _SEARCHES[decided.settings.prestep](source, decided, fold, group, consumers)
        parts.append(changes_of(source, fold, scales))
        apply(layer, parts[-1], items)
        group.divide(np.ascontiguousarray(scales[fold.channel_of]))
    moments = {unit.name: group.moments for group in seen for unit in group.units}
    return Prepared(together(parts), moments, errors, max((group.observed.tokens for group in seen), default=0))


def apply(layer: Layer, changes: Changes, items: Mapping[str, Item]) -> None:
    """Changes the tensors of a layer in memory."""
    for name, change in changes.items():
        module, attribute = layer.owners[items[name].entry.gguf]
        parameter = module.get_parameter(attribute)
        changed = change.of(parameter.detach().cpu().numpy())
        parameter.data = torch.from_numpy(np.ascontiguousarray(changed)).to(parameter.device)


def _watched(decided: Decided, units: Sequence[Unit], run: Callable[[], None]) -> list[Seen]:
    """What meets the matrices of a layer; experts, into which nothing is folded, are left out."""
    settings = decided.settings
    has_moments = settings.prestep == "awq"
    seen, handles = [], []
    for (stage, _), members in seeing_the_same(units).items():
        module = members[0].module
        device = module.get_parameter("weight").device
        inputs = Inputs(members, device, settings.calibration.sinks if stage == 0 else 1.0, crossed=False)
        group = Seen(tuple(members), inputs, Observed(members[0].linear.columns))
        handles.append(module.register_forward_pre_hook(group.observed.hook))
        if has_moments:
            handles.append(module.register_forward_pre_hook(inputs.count))
        seen.append(group)
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for group in seen if has_moments else ():
        group.moments = group.inputs.hessian.mean()
    return seen


def _check(source: CheckpointSource, group: Seen) -> None:
    if not np.isfinite(group.observed.largest).all():
        raise NonFiniteActivations(str(source.path), group.units[0].name)
    for unit in group.units:
        if not np.isfinite(unit.weights()).all():
            raise NonFiniteWeights(str(source.path), unit.name)


def _rounded_error(item: Item, unit: Unit, group: Seen) -> float:
    """What plain rounding of the unfolded matrix would lose of its output, as a share; NaN where it is not known."""
    if not len(group.moments):
        return float("nan")
    w = unit.weights()
    energy = max(loss(w, group.moments), 1e-30)
    return loss(w - _rounder(item)(w), group.moments) / energy


def _rounder(item: Item) -> Callable[[Floats], Floats]:
    """Plain rounding to what a matrix becomes: integers over the whole range, or its method's own levels."""
    own = item.settings
    assert own is not None
    dtype = item.entry.stored.dtype
    if item.has_integers:
        scheme = own.scheme(dtype)
        return lambda w: awq.plain(w, scheme)
    solver = SOLVERS[own.choice.method]
    return lambda w: solver(w, own, dtype, None).values()


def _by_error(
    source: CheckpointSource, decided: Decided, fold: Fold, group: Seen, consumers: Sequence[tuple[Unit, Item]]
) -> Floats:
    members = [awq.Consumer(unit.weights(), _rounder(item)) for unit, item in consumers]
    exact = realized(source, fold)
    problem = awq.Problem(members, group.moments, group.observed.mean_magnitudes, fold.channel_of, exact)
    return awq.search(problem).scales


def _by_extremes(
    source: CheckpointSource, decided: Decided, fold: Fold, group: Seen, consumers: Sequence[tuple[Unit, Item]]
) -> Floats:
    w = np.max([np.abs(unit.weights()).max(axis=0) for unit, _ in consumers], axis=0)
    extremes = np.zeros((2, int(fold.channel_of.max()) + 1), np.float32)
    for of_channels, of_columns in zip(extremes, (group.observed.largest, w), strict=True):
        np.maximum.at(of_channels, fold.channel_of, of_columns)
    wished = smoothquant.scales(extremes[0], extremes[1], decided.settings.inputs.alpha)
    return realized(source, fold)(wished)


_SEARCHES = {"awq": _by_error, "smoothquant": _by_extremes}

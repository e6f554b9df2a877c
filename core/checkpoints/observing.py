"""What meets the quantized matrices while the text passes a layer as it has become: figures, and static ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from core.calibration.units import Hook, Unit, seeing_the_same
from core.checkpoints.decide import Item
from core.checkpoints.figures import layer_of
from core.jobs import ActivationFigures, Histogram
from core.methods.activations import Observed, static_range
from core.methods.linear import Floats
from core.methods.llm_int8 import THRESHOLD, outlier_columns

PERCENTS = (0.0, 0.1, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 100.0)
# Steps of the histogram and runs of columns in figures: as many as a plot can show.
STEPS = 128
RUNS = 512


class Watch:
    """Counts what meets a layer's matrices, each set of which sees the same; experts are left out."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._groups = seeing_the_same(units)
        self._observed = {key: Observed(members[0].linear.columns) for key, members in self._groups.items()}
        self._left = set(self._groups)

    def observer(self, unit: Unit) -> Hook | None:
        """What is to be told of everything that meets a matrix, once; None for an expert."""
        key = next((key for key, members in self._groups.items() if unit in members), None)
        if key is None:
            return None
        self._left.discard(key)
        return self._observed[key].hook

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts while the block runs, for matrices of which nobody was told."""
        handles = [
            members[0].module.register_forward_pre_hook(self._observed[key].hook)
            for key, members in self._groups.items()
            if key in self._left
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def figures(self, items: Mapping[str, Item]) -> tuple[ActivationFigures, ...]:
        """Of each set of matrices."""
        return tuple(
            activation_figures([items[unit.name] for unit in members], self._observed[key])
            for key, members in self._groups.items()
        )


def activation_figures(items: Sequence[Item], observed: Observed) -> ActivationFigures:
    """Of matrices that see the same; the range is that of the first of them that has static activations."""
    outliers = outlier_columns(observed.largest)
    ends: tuple[float, float] | tuple[None, None] = (None, None)
    static = next((item for item in items if item.settings is not None and item.settings.is_static), None)
    if static is not None and static.settings is not None:
        own = static.settings
        scheme = own.inputs_scheme(static.entry.stored.dtype)
        ends = static_range(observed, own.inputs.rule, scheme, own.inputs.percent)
    return ActivationFigures(
        name=items[0].entry.name,
        shared=tuple(item.entry.name for item in items[1:]),
        layer=layer_of(items[0]),
        low=observed.low,
        high=observed.high,
        percentiles=tuple((percent, observed.percentile(percent)) for percent in PERCENTS),
        histogram=_histogram(observed),
        columns=len(observed.largest),
        largest=_thinned(observed.largest),
        outliers=tuple(outliers.tolist()),
        threshold=THRESHOLD,
        range_low=ends[0],
        range_high=ends[1],
    )


def _histogram(observed: Observed) -> Histogram:
    """Between the extremes, in few steps."""
    place = (observed.middles >= observed.low) & (observed.middles <= observed.high)
    low, high = observed.low, max(observed.high, observed.low + 1e-30)
    counts, _ = np.histogram(observed.middles[place], STEPS, (low, high), weights=observed.counts[place])
    return Histogram(low=low, high=high, counts=tuple(int(count) for count in counts))


def _thinned(largest: Floats) -> tuple[float, ...]:
    """The largest of each of at most RUNS runs of neighbouring columns, as long as each other but the last."""
    length = -(-len(largest) // RUNS)
    starts = np.arange(0, len(largest), length)
    return tuple(float(f"{value:.5g}") for value in np.maximum.reduceat(largest, starts))

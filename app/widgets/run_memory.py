"""What a model takes to run: bars for its forms and devices, a context to slide, the cache's type, and the verdict."""

from __future__ import annotations

from typing import Any, get_args

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QSlider, QSpinBox, QVBoxLayout, QWidget

from app.glossary import explain
from app.widgets.device_bars import Bar, DeviceBars
from app.widgets.spin_boxes import inset
from core.estimate.fitting import free_bytes, layers_that_fit, longest_context, verdict
from core.estimate.running import estimate_run
from core.estimate.values import CacheType, ModelFacts, RunEstimate, RunOptions, Verdict
from core.jobs import EstimateResult

SHORTEST = 512
USUAL = 4096
# Contexts between two powers of two.
STEPS = 4


def contexts(longest: int) -> list[int]:
    """What the slider offers, up to what the model was trained for: four steps to a doubling, in whole 256s."""
    end, found, power = max(longest or USUAL * 8, SHORTEST), [SHORTEST], SHORTEST
    while found[-1] < end:
        found += [power + number * power // STEPS for number in range(1, STEPS + 1)]
        power *= 2
    return sorted({min(context // 256 * 256, end) for context in found if context // 256 * 256 <= end} | {end})


class RunMemory(QWidget):
    """Shows an EstimateResult and recomputes it here as its controls are moved.

    For tests: objectNames `context_slider`, `cache_type`, `gpu_layers`, `run_verdict`.
    """

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._result: EstimateResult | None = None
        self._contexts = [USUAL]
        self.bars = DeviceBars(theme)
        self.words = QLabel()
        self.words.setObjectName("run_verdict")
        self.words.setWordWrap(True)
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.notes.setProperty("role", "caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.words)
        layout.addWidget(self.bars)
        layout.addLayout(self._make_controls())
        layout.addWidget(self.notes)

    def show_result(self, result: EstimateResult | None) -> None:
        """Shows a model, and what a plan would make of it where the result has that; None empties."""
        self._result = result
        if result is None:
            self.words.setText("")
            self.notes.setText("")
            self.bars.set_bars(())
            return
        self._fill_contexts(result.now.facts)
        self._fill_layers(result)
        self._recompute()

    def options(self) -> RunOptions:
        """How the model is to be run."""
        cache: CacheType = self.cache_type.currentData()
        layers = self.gpu_layers.value() if self._has_gpu() else 0
        return RunOptions(
            context=self._contexts[self.slider.value()],
            cache_type_k=cache,
            cache_type_v=cache,
            gpu_layers=layers,
            backend="cuda" if layers else "cpu",
            split=self._split(),
        )

    def verdicts(self) -> list[Verdict]:
        """Of each form shown: as it is, and as it would be."""
        assert self._result is not None
        return [verdict(estimate, self._result.machine) for _, _, estimate in self._estimates()]

    # ------------------------------------------------------------ composition

    def _make_controls(self) -> QGridLayout:
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setObjectName("context_slider")
        self.slider.setMinimumWidth(120)
        self._shown_context = QLabel()
        self._shown_context.setMinimumWidth(92)
        self.cache_type = QComboBox()
        self.cache_type.setObjectName("cache_type")
        for name in get_args(CacheType):
            self.cache_type.addItem(name, name)
        self.cache_type.setCurrentText("f16")
        self.gpu_layers = QSpinBox()
        inset(self.gpu_layers)
        self.gpu_layers.setObjectName("gpu_layers")
        context, cache = QLabel(self.tr("Conte&xt")), QLabel(self.tr("Cac&he"))
        self._layers_label = QLabel(self.tr("&Layers on the GPU"))
        pairs = ((context, self.slider), (cache, self.cache_type), (self._layers_label, self.gpu_layers))
        for label, widget in pairs:
            label.setBuddy(widget)
        explain(context, "context")
        explain(cache, "kv_cache")
        explain(self._layers_label, "gpu_layers")
        row = QHBoxLayout()
        row.setSpacing(8)
        for part in (context, self.slider, self._shown_context, cache, self.cache_type):
            row.addWidget(part, int(part is self.slider))
        row.addWidget(self._layers_label)
        row.addWidget(self.gpu_layers)
        grid = QGridLayout()
        grid.addLayout(row, 0, 0)
        self.slider.valueChanged.connect(self._recompute)
        self.cache_type.currentIndexChanged.connect(self._recompute)
        self.gpu_layers.valueChanged.connect(self._recompute)
        return grid

    def _fill_contexts(self, facts: ModelFacts) -> None:
        """Keeps the context that was chosen, as far as this model goes."""
        chosen = self._contexts[self.slider.value()] if len(self._contexts) > 1 else USUAL
        self._contexts = contexts(facts.context_length)
        self.slider.blockSignals(True)
        self.slider.setRange(0, len(self._contexts) - 1)
        below = [number for number, context in enumerate(self._contexts) if context <= chosen]
        self.slider.setValue(below[-1] if below else 0)
        self.slider.blockSignals(False)

    def _fill_layers(self, result: EstimateResult) -> None:
        for part in (self._layers_label, self.gpu_layers):
            part.setVisible(self._has_gpu())
        if not self._has_gpu():
            return
        facts = (result.after or result.now).facts
        options = RunOptions(backend="cuda", context=self._contexts[self.slider.value()])
        self.gpu_layers.blockSignals(True)
        self.gpu_layers.setRange(0, len(facts.layers) + 1)
        self.gpu_layers.setValue(layers_that_fit(facts, options, result.machine))
        self.gpu_layers.blockSignals(False)

    def _has_gpu(self) -> bool:
        return bool(self._result and self._result.machine.gpus)

    def _split(self) -> tuple[float, ...]:
        gpus = self._result.machine.gpus if self._result else ()
        shares = tuple(float(gpu.free) for gpu in gpus)
        return shares if any(shares) else (1.0,)

    # ------------------------------------------------------------ showing

    def _estimates(self) -> list[tuple[str, ModelFacts, RunEstimate]]:
        assert self._result is not None
        found, options = [], self.options()
        now = self.tr("Now") if self._result.after else self.tr("To run it")
        forms = [(now, self._result.now), (self.tr("Quantized"), self._result.after)]
        for word, form in forms:
            if form is not None:
                estimate = estimate_run(form.facts, options, self._result.overhead_correction)
                found.append((word, form.facts, estimate))
        return found

    def _recompute(self) -> None:
        if self._result is None:
            return
        machine, estimates = self._result.machine, self._estimates()
        self._shown_context.setText(self.tr("{0} tokens").format(self._contexts[self.slider.value()]))
        bars = []
        for word, _, estimate in estimates:
            for device in estimate.devices:
                several = len(estimate.devices) > 1
                where = self.tr("memory") if device.kind == "host" else device.name
                label = f"{word}, {where}" if several else word
                bars.append(Bar(label, device, free_bytes(device, machine)))
        self.bars.set_bars(tuple(bars))
        self.words.setText("\n".join(self._sentence(*one) for one in estimates))
        notes = dict.fromkeys(note for _, _, estimate in estimates for note in estimate.assumptions)
        self.notes.setText("\n".join(notes))
        self.notes.setVisible(bool(notes))

    def _sentence(self, word: str, facts: ModelFacts, estimate: RunEstimate) -> str:
        """'Quantized: Fits, 2.1 GiB to spare. Up to 32768 tokens of context fit.'."""
        assert self._result is not None
        found = verdict(estimate, self._result.machine)
        runs_in = "" if estimate.runtime == "llama.cpp" else self.tr(" in {0}").format(estimate.runtime)
        words = f"{word}{runs_in}: {found.words}."
        longest = longest_context(
            facts, self.options(), self._result.machine, corrected_by=self._result.overhead_correction
        )
        return f"{words} {self.tr('Up to {0} tokens of context fit.').format(longest)}" if longest else words

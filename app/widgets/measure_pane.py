"""What to measure: models against their original, or which parts of a model are sensitive; on which text, how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QWidget,
)

from app import job_kinds
from app.computing import Computing
from app.glossary import explain
from app.models.names import model_title
from app.widgets import before_start
from app.widgets.device_box import DeviceBox
from app.widgets.measured_models import MeasuredModels
from app.widgets.measured_texts import MeasuredTexts
from app.widgets.preflight_list import PreflightList
from app.widgets.side_by_side import column, foot, row
from app.widgets.source_strip import ModelMenu
from core.catalog import COPY, TARGETS
from core.jobs import (
    CONTEXT,
    QUICK_CHUNKS,
    RANKING_CHUNKS,
    RANKING_CONTEXT,
    EvaluateJob,
    Grain,
    ModelSummary,
    PreflightResult,
    QuantizeOptions,
    SensitivityJob,
)

USUAL_TARGET = "Q4_K_M"
MAX_WIDTH = 720
# After the last change of a choice, before it is looked at.
CHECK_MS = 300


class MeasurePane(QWidget):
    """Chooses an EvaluateJob or a SensitivityJob. Signals: job_requested(job).

    check_wanted(job) when what stands in its way is to be looked at, timing_wanted(job) when its time is not known:
    `show_checks` takes the answers.
    models: what the library has. device: the choice of `computing`, shown beside the button. For tests: objectNames
    `measure_models`, `measure_parts`, `measure_original`, `measured_models`, `measure_quick`, `measure_full`,
    `measure_button`, `measure_target`, `measure_grain`.
    """

    job_requested = Signal(object)
    check_wanted = Signal(object)
    timing_wanted = Signal(object)

    def __init__(
        self, theme: Any, models: Callable[[], Iterable[ModelSummary]], computing: Computing, device: DeviceBox
    ) -> None:
        super().__init__()
        self._theme, self._library, self._computing, self._device = theme, models, computing, device
        self._source = ""
        self._soon = QTimer(self, singleShot=True, interval=CHECK_MS)
        self._soon.timeout.connect(lambda: self.check_wanted.emit(self.job))
        self._unknown = QTimer(self, singleShot=True, interval=before_start.PATIENCE_MS)
        self._unknown.timeout.connect(lambda: self.timing_wanted.emit(self.job))
        self._build()
        self._show_state()

    # ------------------------------------------------------------ what others ask

    def open(self, source: str = "", model: str = "") -> None:
        """Begins anew with an original, or with a model whose original is to be chosen."""
        self._source = source or self.models.original_of(model)
        self.models.begin(self._source, model)

    def show_checks(self, result: PreflightResult) -> None:
        """Shows what stands in the way of the job, and how long it takes where that is known."""
        self.checks.show_result(result)
        if result.worst != "error" and result.seconds is None:
            self._unknown.start()

    @property
    def job(self) -> EvaluateJob | SensitivityJob | None:
        """What is chosen now; None where something is missing."""
        if not self._source:
            return None
        common: dict[str, Any] = {
            "source": self._source,
            "text": self.texts.texts,
            "categories": self.texts.categories,
            **self._computing.for_layers,
        }
        if self.of_parts.isChecked():
            target, grain = self.target.currentText(), self.grain.currentData()
            chunks = RANKING_CHUNKS if self.quick.isChecked() else 0
            return SensitivityJob(options=QuantizeOptions(target=target), by=grain, chunks=chunks, **common)
        models, chunks = self.models.chosen, QUICK_CHUNKS if self.quick.isChecked() else 0
        if not models:
            return None
        return EvaluateJob(models=models, chunks=chunks, as_run=self.as_run.isChecked(), **common)

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        inner = QWidget()
        inner.setMaximumWidth(MAX_WIDTH)
        form = QFormLayout(inner)
        form.setContentsMargins(8, 0, 0, 0)
        form.setVerticalSpacing(16)
        form.setHorizontalSpacing(16)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        title = QLabel(self.tr("Measure what a quantization costs"))
        title.setProperty("role", "section")
        form.addRow(title)
        kind = self._make_kind()
        form.addRow(_beside(self.of_models, self.tr("What")), kind)
        form.addRow(self.tr("Original"), self._make_original())
        self._models_label = QLabel(self.tr("Models made from it"))
        self.models = MeasuredModels(self._theme, self._library)
        self.models.changed.connect(self._show_state)
        form.addRow(self._models_label, self.models)
        self._parts_label = QLabel(self.tr("Quantize to"))
        form.addRow(self._parts_label, self._make_parts())
        self.texts = MeasuredTexts()
        self.texts.changed.connect(self._show_state)
        form.addRow(_beside(next(iter(self.texts.kinds.values())), self.tr("Text")), self.texts)
        length = self._make_length()
        form.addRow(_beside(self.quick, self.tr("How much")), length)
        self._as_run_label = QLabel(self.tr("Also count"))
        self.as_run = QCheckBox(self.tr("what llama.cpp loses by &rounding activations while it runs GGUF files"))
        self.as_run.setObjectName("measure_as_run")
        form.addRow(self._as_run_label, self.as_run)
        self.checks = PreflightList(self._theme)
        form.addRow(self.checks)
        form.addRow(self._make_foot())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(inner, 1)
        layout.addStretch(0)

    def _make_kind(self) -> QWidget:
        self.of_models = QRadioButton(self.tr("&Models against their original: perplexity, divergence, agreement"))
        self.of_models.setObjectName("measure_models")
        self.of_parts = QRadioButton(self.tr("Which &parts of a model suffer most, each quantized alone"))
        self.of_parts.setObjectName("measure_parts")
        self.of_models.setChecked(True)
        group = QButtonGroup(self)
        for button in (self.of_models, self.of_parts):
            group.addButton(button)
            button.toggled.connect(self._show_state)
        return column(self.of_models, self.of_parts)

    def _make_original(self) -> QPushButton:
        self.original = QPushButton()
        self.original.setObjectName("measure_original")
        menu = ModelMenu(self._library, self.original)
        menu.chosen.connect(self._take_original)
        self.original.setMenu(menu)
        return self.original

    def _make_parts(self) -> QWidget:
        self.target = QComboBox()
        self.target.setObjectName("measure_target")
        self.target.setAccessibleName(self.tr("Type to quantize to"))
        self.target.addItems([name for name in TARGETS if name != COPY.name])
        self.target.setCurrentText(USUAL_TARGET)
        self.grain = QComboBox()
        self.grain.setObjectName("measure_grain")
        words: dict[Grain, str] = {
            "group": self.tr("attention and feed-forward part of each layer"),
            "layer": self.tr("whole layers"),
            "tensor": self.tr("single tensors (slow)"),
        }
        for grain in words:
            self.grain.addItem(words[grain], grain)
        for combo in (self.target, self.grain):
            combo.currentIndexChanged.connect(self._show_state)
        label = QLabel(self.tr("p&iece by piece:"))
        label.setBuddy(self.grain)
        explain(label, "piece")
        self._parts_box = row(self.target, label, self.grain)
        return self._parts_box

    def _make_length(self) -> QWidget:
        self.quick = QRadioButton()
        self.quick.setObjectName("measure_quick")
        self.full = QRadioButton(self.tr("F&ull: all of the text, for small standard errors"))
        self.full.setObjectName("measure_full")
        self.quick.setChecked(True)
        group = QButtonGroup(self)
        group.addButton(self.quick)
        group.addButton(self.full)
        self.quick.toggled.connect(self._show_state)
        return column(self.quick, self.full)

    def _make_foot(self) -> QWidget:
        self.copy = QPushButton(self.tr("&Copy as command"))
        self._theme.decorate(self.copy, "copy")
        self.copy.clicked.connect(self._copy_command)
        self.button = QPushButton(self.tr("Add to &queue"))
        self.button.setObjectName("measure_button")
        self.button.setProperty("primary", True)
        self.button.clicked.connect(lambda: self.job_requested.emit(self.job))
        self._missing = QLabel()
        self._missing.setProperty("role", "muted")
        self._missing.setWordWrap(True)
        return foot(self._missing, self._device, self.copy, self.button)

    # ------------------------------------------------------------ reactions

    def _take_original(self, path: str) -> None:
        self._source = path
        self.models.set_original(path)

    def _show_state(self) -> None:
        parts = self.of_parts.isChecked()
        for widget in (self._models_label, self.models, self._as_run_label, self.as_run):
            widget.setVisible(not parts)
        for widget in (self._parts_label, self._parts_box):
            widget.setVisible(parts)
        windows = (RANKING_CHUNKS, RANKING_CONTEXT) if parts else (QUICK_CHUNKS, CONTEXT)
        self.quick.setText(self.tr("&Quick: {0} windows of {1} tokens").format(*windows))
        name = model_title(self._source) if self._source else self.tr("Choose the original")
        self.original.setText(name.replace("&", "&&"))
        self.original.setToolTip(self._source)
        missing = self._what_is_missing()
        self._missing.setText(missing)
        self.button.setEnabled(not missing)
        self.copy.setEnabled(not missing)
        self._unknown.stop()
        self.checks.show_result(None)
        if missing:
            self._soon.stop()
        else:
            self._soon.start()

    def _what_is_missing(self) -> str:
        if not self._source:
            return self.tr("Choose the original that the models were made from.")
        if self.of_models.isChecked() and not self.models.chosen:
            return self.tr("Tick one model or several.")
        if self.texts.is_empty:
            return self.tr("Tick a kind of text, or choose text files or a data set.")
        return ""

    def _copy_command(self) -> None:
        job = self.job
        if job is not None:
            QGuiApplication.clipboard().setText(job_kinds.command(job))


def _beside(first: QWidget, words: str) -> QLabel:
    """The label of a field of several lines, on the height of its first one; a form would place it lower."""
    label = QLabel(words)
    label.setMaximumHeight(first.sizeHint().height())
    return label

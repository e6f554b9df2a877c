"""What can be made of a model on the Quantize page: for each kind of output its choices, and the jobs they ask for.

A goal knows its pane of choices and the model; it asks nothing and shows nothing itself.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication
from PySide6.QtWidgets import QWidget

from app import actions
from app.computing import Fields
from app.context import AppContext
from app.widgets.choice_pane import ChoicePane
from app.widgets.method_pane import MethodPane
from app.widgets.output_row import OutputRow
from core.catalog import output_name
from core.errors import CannotConvert, ErrorReport, UnknownArchitecture, UnknownQuantization
from core.jobs import (
    CheckpointPlanJob,
    CheckpointPreflightJob,
    EstimateJob,
    Job,
    MethodOptions,
    ModelSummary,
    Override,
    Plan,
    PlanJob,
    PreflightJob,
    QuantizeOptions,
)
from core.methods.table import label, refusal
from kernels.blocks import FORMATS, ROWS

# What llama.cpp's converter may know although nothing here does.
CONVERTIBLE = frozenset(leaf.__name__ for leaf in (UnknownArchitecture, UnknownQuantization, CannotConvert))
_T = QT_TRANSLATE_NOOP


class Goal(Protocol):
    """One kind of output. title: what the user chooses between. types: those a user may choose for single tensors.

    several: what is written where there are several targets, in words.
    """

    key: str
    title: str
    several: str
    types: tuple[str, ...]

    @property
    def pane(self) -> QWidget:
        """The choices; signals changed() and targets_changed()."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the outputs, at least one."""

    @property
    def computed(self) -> Fields:
        """What it is computed with."""

    def open(self, source: str) -> None:
        """Begins with another model."""

    def learn(self, summary: ModelSummary) -> None:
        """Takes in the facts of the model."""

    def count(self, plan: Plan) -> None:
        """Learns from a plan how much each choice decides."""

    def refuse(self) -> ErrorReport | None:
        """Why the choices cannot be together, known without reading the model."""

    def plans(self) -> dict[str, Job]:
        """The jobs that plan each target."""

    def check(self, target: str, outputs: tuple[str, ...], *, measure: bool) -> Job | None:
        """The preflight of a target, None where there is none; measure: it is to time this computer."""

    def memory(self, target: str) -> Job | None:
        """The estimate of what a result takes to run, None where there is none."""

    def propose(self, output: OutputRow) -> None:
        """Proposes where the outputs go."""

    def jobs(self, outputs: tuple[str, ...], faults: Collection[ErrorReport]) -> tuple[Job, ...]:
        """What is done for the choice as it is now, in order; faults: why there is no plan, where it can do without."""

    def obstacle(self) -> str:
        """What has to be done before the job can start, in words; '' where nothing."""

    def converts(self, faults: Collection[ErrorReport]) -> bool:
        """Whether another program makes a readable file of this model first."""

    def must_compute(self) -> bool:
        """Whether an importance matrix is to be computed first, and not kept from another time."""

    def remember(self) -> None:
        """Keeps the choice for the next time."""


class GgufGoal:
    """GGUF files of one type or several."""

    key = "gguf"
    title = _T("Goals", "&GGUF file for llama.cpp")
    several = _T("Goals", "Writes {0} files of {1} together")
    types = tuple(row.name for row in ROWS)

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self.pane = ChoicePane(context.theme)
        self.source = ""
        self.summary: ModelSummary | None = None
        # Choices for single tensors, which are made in the plan's table.
        self.own: tuple[Override, ...] = ()
        settings = context.settings
        self.pane.choose(settings.value("quantize_types"), settings.value("quantize_fit"))

    @property
    def targets(self) -> tuple[str, ...]:
        """The types chosen."""
        return self.pane.targets

    @property
    def computed(self) -> Fields:
        """GPTQ runs the model's layers; all else searches blocks."""
        computing = self._context.computing
        return computing.for_searches if self.pane.gptq.options is None else computing.for_layers

    @property
    def options(self) -> QuantizeOptions:
        """What is chosen, for the first of the types; single tensors go before rules."""
        options = self.pane.options
        own: dict[str, Any] = {"overrides": (*self.own, *options.overrides)}
        if self.pane.imatrix.text is not None:
            own["imatrix"] = str(actions.imatrix_path(self.source, self.pane.imatrix.text))
        return options.model_copy(update=own)

    def open(self, source: str) -> None:
        """Begins with another model."""
        self.source, self.summary, self.own = source, None, ()
        self.pane.forget()

    def learn(self, summary: ModelSummary) -> None:
        """Takes in the facts of the model."""
        self.summary = summary
        self.pane.allow_box.setVisible(self.is_quantized())

    def count(self, plan: Plan) -> None:
        """Learns how many tensors each rule decides."""
        self.pane.count(plan)

    def refuse(self) -> ErrorReport | None:
        """Types go with everything; what does not fit the model is found by the plan."""
        return None

    def is_quantized(self) -> bool:
        """Whether a weight matrix of the source is stored in a quantized type."""
        # Folders that other programs quantized are dequantized while they are read; the plan warns of it.
        tensors = self.summary.tensors if self.summary and self.summary.format == "gguf" else ()
        return any(len(t.shape) > 1 and (t.type not in FORMATS or FORMATS[t.type].quantized) for t in tensors)

    def plans(self) -> dict[str, Job]:
        """A plan for each type."""
        to_come = self.must_compute()
        return {
            target: PlanJob(source=self.source, options=self._for(target), imatrix_to_come=to_come)
            for target in self.targets
        }

    def check(self, target: str, output: str, *, measure: bool) -> Job | None:
        """The preflight of one type."""
        return PreflightJob(
            source=self.source,
            output=output,
            options=self._for(target),
            beside=tuple(other for other in self.targets if other != target),
            measure=measure,
            **self.computed,
        )

    def memory(self, target: str) -> Job | None:
        """What the model and its result take to run."""
        return EstimateJob(source=self.source, options=self._for(target))

    def _for(self, target: str) -> QuantizeOptions:
        return self.options.model_copy(update={"target": target})

    def propose(self, output: OutputRow) -> None:
        """A file for the type, or a folder for the files of several."""
        settings, targets = self._context.settings, self.targets
        if len(targets) > 1:
            names = tuple(output_name(Path(self.source), target) for target in targets)
            output.propose_several(str(actions.output_folder(self.source, settings)), names)
        else:
            output.propose(actions.proposed_output(self.source, targets[0], settings, self._context.jobs.is_taken))

    def jobs(self, outputs: tuple[str, ...], faults: Collection[ErrorReport]) -> tuple[Job, ...]:
        """First the importance matrix where it is not there yet."""
        options = self.options
        if self.converts(faults):
            options = options.model_copy(update={"converter": self._context.settings.value("converter")})
        paths = dict(zip(self.targets, outputs, strict=True))
        job = actions.quantize_job(self.source, paths, options, self.computed)
        text = self.pane.imatrix.text
        if text is None or not self.must_compute():
            return (job,)
        return actions.imatrix_job(self.source, text, self._context.computing), job

    def obstacle(self) -> str:
        """A faulty choice, or a quantized source that is not allowed yet."""
        if self.pane.problem:
            return self.pane.problem
        if self.is_quantized() and not self.pane.allow.isChecked():
            return _tr("To start, allow quantizing an already quantized model (below the types).")
        return ""

    def converts(self, faults: Collection[ErrorReport]) -> bool:
        """Whether llama.cpp's converter, which the settings name, makes a file of this source first."""
        kinds = {fault.kind for fault in faults}
        return bool(kinds) and kinds <= CONVERTIBLE and bool(self._context.settings.value("converter"))

    def must_compute(self) -> bool:
        """Whether the importance matrix is to be computed and not kept from another time."""
        return self.pane.imatrix.text is not None and not Path(self.options.imatrix).exists()

    def remember(self) -> None:
        """Keeps types and search."""
        self._context.settings.set("quantize_types", self.targets)
        self._context.settings.set("quantize_fit", self.options.fit)


class CheckpointGoal:
    """Folders that transformers and vLLM load: what one of the methods makes, in one form or several."""

    key = "checkpoint"
    title = _T("Goals", "Chec&kpoint for transformers and vLLM")
    several = _T("Goals", "Writes {0} models of {1} together")
    # What a tensor becomes follows from the method and its rules.
    types: tuple[str, ...] = ()

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self.pane = MethodPane(context.theme)
        self.source = ""
        settings = context.settings
        forms = (settings.value("quantize_export"), *settings.value("quantize_beside"))
        self.pane.choose(settings.value("quantize_method"), forms)

    @property
    def targets(self) -> tuple[str, ...]:
        """The checkpoint, or of several forms each."""
        forms = self.pane.forms
        return forms if len(forms) > 1 else (label(self.pane.choice),)

    @property
    def computed(self) -> Fields:
        """Only what looks at a text runs the model's layers."""
        computing = self._context.computing
        return computing.for_layers if self.pane.is_calibrated else computing.on_processor

    @property
    def options(self) -> MethodOptions:
        """What is chosen, in the first of the forms."""
        options = self.pane.options
        text = self._imatrix_text()
        if text is None:
            return options
        return options.model_copy(update={"imatrix": str(actions.imatrix_path(self.source, text))})

    def _imatrix_text(self) -> tuple[str, ...] | None:
        """What an importance matrix is to be computed from, None where there is to be none."""
        row = self.pane.settings.imatrix
        return None if row.isHidden() else row.text

    def open(self, source: str) -> None:
        """Begins with another model."""
        self.source = source
        self.pane.settings.imatrix.forget()

    def learn(self, summary: ModelSummary) -> None:
        """What matters here is in the plan."""

    def count(self, plan: Plan) -> None:
        """Learns how many layers each rule decides."""
        self.pane.rules.model.count(plan)

    def refuse(self) -> ErrorReport | None:
        """A choice that no model could be made into."""
        found = refusal(self.pane.choice)
        return ErrorReport("IllegalMethod", found.what, found.why, found.remedy) if found else None

    def plans(self) -> dict[str, Job]:
        """The plan; an importance matrix that is still to be computed changes no size."""
        without = {"imatrix": ""} if self.must_compute() else {}
        return {
            target: CheckpointPlanJob(source=self.source, options=self._for(target).model_copy(update=without))
            for target in self.targets
        }

    def _for(self, target: str) -> MethodOptions:
        forms, options = self.pane.forms, self.options
        if target not in forms:
            return options
        others = tuple(form for form in forms if form != target)
        return options.model_copy(update={"export": target, "beside": others})

    def check(self, target: str, output: str, *, measure: bool) -> Job | None:
        """The preflight of one form."""
        return CheckpointPreflightJob(
            source=self.source, output=output, options=self._for(target), measure=measure, **self.computed
        )

    def memory(self, target: str) -> Job | None:
        """What other programs take to run it is not known here."""
        return None

    def propose(self, output: OutputRow) -> None:
        """A folder beside the source, named after the method; each of several forms has a folder of its own in it."""
        settings, queue = self._context.settings, self._context.jobs
        pane = self.pane
        path = actions.proposed_checkpoint(self.source, pane.choice, pane.forms, settings, queue.is_taken)
        output.propose_folder(path)

    def jobs(self, outputs: tuple[str, ...], faults: Collection[ErrorReport]) -> tuple[Job, ...]:
        """First the importance matrix where it is not there yet."""
        job = actions.checkpoint_job(self.source, outputs[0], self.options, self.computed)
        text = self._imatrix_text()
        if text is None or not self.must_compute():
            return (job,)
        return actions.imatrix_job(self.source, text, self._context.computing), job

    def obstacle(self) -> str:
        """A faulty rule."""
        return self.pane.problem

    def converts(self, faults: Collection[ErrorReport]) -> bool:
        """Never: llama.cpp's converter makes GGUF files."""
        return False

    def must_compute(self) -> bool:
        """Whether the importance matrix is to be computed and not kept from another time."""
        return self._imatrix_text() is not None and not Path(self.options.imatrix).exists()

    def remember(self) -> None:
        """Keeps method and forms."""
        self._context.settings.set("quantize_method", self.pane.choice.method)
        export, *beside = self.pane.forms
        self._context.settings.set("quantize_export", export)
        self._context.settings.set("quantize_beside", tuple(beside))


def _tr(words: str) -> str:
    return QCoreApplication.translate("Goals", words)

"""The Quantize page: a model, a type, what that does to every tensor and to the size, and the button to start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from app import actions, job_kinds, text
from app.context import AppContext
from app.glossary import explain
from app.models.sentences import fallback_sentence, size_sentence
from app.widgets.before_start import BeforeStart
from app.widgets.choice_pane import ChoicePane
from app.widgets.empty_state import EmptyState
from app.widgets.memory_bars import SizeBars
from app.widgets.note_line import NoteLine
from app.widgets.output_row import OutputRow, problem_with, room_words
from app.widgets.page_header import MARGIN, PageHeader
from app.widgets.plan_table import PlanTable
from app.widgets.problem_box import ProblemBox
from app.widgets.source_strip import ModelMenu, SourceStrip
from core.catalog import output_name, sample_path
from core.errors import CannotConvert, ErrorReport, UnknownArchitecture, UnknownQuantization
from core.jobs import (
    EstimateJob,
    ImatrixJob,
    InspectJob,
    Job,
    ModelSummary,
    Plan,
    PlanJob,
    PreflightJob,
    QuantizeJob,
    QuantizeManyJob,
    QuantizeOptions,
    Value,
)
from core.recipe_file import Recipe
from kernels.blocks import FORMATS

DEBOUNCE_MS = 120
# What llama.cpp's converter may know although nothing here does.
CONVERTIBLE = frozenset(leaf.__name__ for leaf in (UnknownArchitecture, UnknownQuantization, CannotConvert))
# A file name is being typed: what it means for the disk is asked when it is finished.
RECHECK_MS = 400


class QuantizePage(QWidget):
    """Chooses everything about one quantization and shows its plan; asks for the job with `job_requested`.

    Several types have a plan each, of which the tabs `plan_tabs` show one. For tests: objectNames `quantize_button`,
    `target_<NAME>` (the type cards, radio buttons), `plan_table` (the QTableView), `output_folder`, `output_name`, and
    those of ChoicePane; `plan` is the Plan shown, None while one is being made; `plans` has all by their types.
    """

    job_requested = Signal(object)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.plans: dict[str, Plan] = {}
        self._faults: dict[str, ErrorReport] = {}
        self._awaited: set[str] = set()
        self._source = ""
        self._summary: ModelSummary | None = None
        # Owners of questions: a newer one of the same owner makes the older answers be dropped.
        self._asks_summary = QObject(self)
        self._asks_plan: dict[str, QObject] = {}
        self._soon = QTimer(self, singleShot=True, interval=DEBOUNCE_MS)
        self._soon.timeout.connect(self._ask_plan)
        self._checked: Plan | None = None
        self._recheck = QTimer(self, singleShot=True, interval=RECHECK_MS)
        self.setAcceptDrops(True)
        self._build()
        settings = context.settings
        self.choice.choose(settings.value("quantize_types"), settings.value("quantize_fit"))
        self._connect()
        self._show_state()

    # ------------------------------------------------------------ what others ask

    def set_source(self, path: str) -> None:
        """Begins with this model: its facts and its plan are asked for at once."""
        self._source, self._summary = path, None
        self._forget_plans()
        self.table.model.forget()
        self._pages.setCurrentWidget(self._work)
        self.strip.show_loading(path)
        with QSignalBlocker(self.choice):
            self.choice.forget()
        self.output.renew()
        self._propose()
        self._show_plan()
        self.context.questions.ask(
            InspectJob(source=path), self._take_summary, self._fail_summary, owner=self._asks_summary
        )
        self._ask_plan()

    def set_recipe(self, recipe: Recipe) -> None:
        """Chooses what a recipe says for the present model."""
        self.choice.load(recipe)

    def activated(self) -> None:
        """The page became visible: names that were free may be taken by now."""
        if self._source:
            self._propose()

    @property
    def plan(self) -> Plan | None:
        """The plan shown."""
        return self.plans.get(self._shown_target())

    @property
    def options(self) -> QuantizeOptions:
        """What is chosen, for the first of the types; single tensors go before rules."""
        options = self.choice.options
        own = {"overrides": (*self.table.model.overrides, *options.overrides)}
        if self.imatrix.text is not None:
            own["imatrix"] = str(actions.imatrix_path(self._source, self.imatrix.text))
        return options.model_copy(update=own)

    def jobs(self) -> tuple[Job, ...]:
        """What is done for the choice as it is now: first the importance matrix where it is not there yet."""
        if not self._must_compute():
            return (self.job(),)
        assert self.imatrix.text is not None
        return actions.imatrix_job(self._source, self.imatrix.text, self.context.settings), self.job()

    def _must_compute(self) -> bool:
        """Whether the importance matrix is to be computed and not kept from another time."""
        return self.imatrix.text is not None and not Path(self.options.imatrix).exists()

    def job(self) -> QuantizeJob | QuantizeManyJob:
        """The job as it is chosen now."""
        outputs = dict(zip(self.choice.targets, self.output.paths, strict=True))
        options = self.options
        if self._converts:
            options = options.model_copy(update={"converter": self.context.settings.value("converter")})
        return actions.quantize_job(self._source, outputs, options, self.context.settings)

    @property
    def _converts(self) -> bool:
        """Whether llama.cpp's converter, which the settings name, makes a file of this source first."""
        kinds = {fault.kind for fault in self._faults.values()}
        return bool(kinds) and kinds <= CONVERTIBLE and bool(self.context.settings.value("converter"))

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        theme = self.context.theme
        self.strip = SourceStrip(theme, self.context.library.models)
        self.choice = ChoicePane(theme)
        self.cards, self.pure, self.allow = self.choice.cards, self.choice.pure, self.choice.allow
        self.imatrix = self.choice.imatrix
        self.output = OutputRow(theme)
        self._work = QWidget()
        work = QVBoxLayout(self._work)
        work.setContentsMargins(0, 0, 0, 0)
        work.setSpacing(12)
        work.addWidget(self.strip)
        work.addWidget(self._make_split(), 1)
        work.addWidget(self.output)
        work.addLayout(self._make_foot())
        self._pages = QStackedWidget()
        self._pages.addWidget(self._make_empty())
        self._pages.addWidget(self._work)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 16, MARGIN, 16)
        layout.setSpacing(12)
        layout.addWidget(PageHeader(self.tr("Quantize")))
        layout.addWidget(self._pages, 1)

    def _make_empty(self) -> EmptyState:
        empty = EmptyState(
            self.context.theme,
            "quantize",
            self.tr("Choose a model to quantize"),
            self.tr("Pick one of your models, drop a .gguf file or a model folder here, or try the sample."),
        )
        choose = empty.add_button(self.tr("Choose &model"), lambda: None)
        menu = ModelMenu(self.context.library.models, choose)
        menu.chosen.connect(self.set_source)
        choose.setMenu(menu)
        sample = sample_path()
        if sample:
            empty.add_button(self.tr("Use the sample"), lambda: self.set_source(str(sample)), primary=True)
        return empty

    def _make_split(self) -> QSplitter:
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setObjectName("quantize_split")
        split.setChildrenCollapsible(False)
        split.addWidget(self.choice)
        split.addWidget(self._make_plan())
        split.setStretchFactor(0, 0)
        split.setStretchFactor(1, 1)
        split.setSizes([344, 816])
        return split

    def _make_plan(self) -> QWidget:
        theme = self.context.theme
        self.headline = QLabel()
        self.headline.setWordWrap(True)
        self.headline.setObjectName("size_sentence")
        self.bars = SizeBars(theme)
        self.fallbacks = NoteLine(theme, "warning", "warn")
        self.fallbacks.setObjectName("fallback_sentence")
        self.before = BeforeStart(theme)
        self.problem = ProblemBox(theme)
        self.table = PlanTable(theme)
        pane = QWidget()
        layout = QVBoxLayout(pane)
        layout.setContentsMargins(8, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(self._make_plan_title())
        layout.addWidget(self._make_plan_tabs())
        layout.addWidget(self.remarks)
        layout.addWidget(self.problem)
        layout.addWidget(self.headline)
        layout.addWidget(self.bars)
        layout.addWidget(self.fallbacks)
        layout.addWidget(self.before)
        layout.addWidget(self.table, 1)
        # Takes the room where there is nothing but a problem to show.
        layout.addStretch(0)
        return pane

    def _make_plan_tabs(self) -> QTabBar:
        self.plan_tabs = QTabBar()
        self.plan_tabs.setObjectName("plan_tabs")
        self.plan_tabs.setDrawBase(False)
        self.plan_tabs.setExpanding(False)
        self.plan_tabs.setAccessibleName(self.tr("The type whose plan is shown"))
        self.plan_tabs.currentChanged.connect(self._show_plan)
        self.plan_tabs.hide()
        return self.plan_tabs

    def _make_plan_title(self) -> QHBoxLayout:
        self.remarks = QLabel()
        self.remarks.setObjectName("remarks")
        self.remarks.setWordWrap(True)
        self.remarks.setProperty("role", "muted")
        self.remarks.hide()
        self.remark_button = QPushButton()
        self.remark_button.setObjectName("show_remarks")
        self.remark_button.setProperty("link", "true")
        self.remark_button.setCheckable(True)
        self.remark_button.setStyleSheet("QPushButton { padding: 0; min-height: 0; }")
        self.remark_button.toggled.connect(self.remarks.setVisible)
        self.remark_button.hide()
        row = QHBoxLayout()
        row.addWidget(_section(self.tr("Plan"), "mix"))
        row.addStretch(1)
        row.addWidget(self.remark_button)
        return row

    def _make_foot(self) -> QHBoxLayout:
        self.preview = QLabel()
        self.preview.setObjectName("preview")
        self.preview.setProperty("role", "caption")
        self.preview.setWordWrap(True)
        self.copy = QPushButton(self.tr("&Copy as command"))
        self.copy.setObjectName("copy_command")
        self.context.theme.decorate(self.copy, "copy")
        self.button = QPushButton(self.tr("&Quantize"))
        self.button.setObjectName("quantize_button")
        self.button.setProperty("primary", True)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addWidget(self.preview, 1)
        foot.addWidget(self.copy)
        foot.addWidget(self.button)
        return foot

    def _connect(self) -> None:
        self.strip.chosen.connect(self.set_source)
        self.choice.targets_changed.connect(self._retarget)
        self.choice.changed.connect(self._replan)
        self.choice.rules.model.dataChanged.connect(self._show_state)
        self.table.model.overrides_changed.connect(self._replan)
        self.output.changed.connect(self._show_state)
        self.output.changed.connect(self._recheck.start)
        self._recheck.timeout.connect(self._ask_checks)
        self.before.timing_wanted.connect(lambda: self._ask_checks(measure=True))
        self.before.opened.connect(self._show_table)
        self.fallbacks.clicked.connect(lambda: self.table.filter_box.setText(self.tr("Fallback:")))
        self.fallbacks.clicked.connect(lambda: self.before.button.setChecked(False))
        self.copy.clicked.connect(self._copy_command)
        self.button.clicked.connect(self._start)
        self.context.settings.changed.connect(self._on_setting)
        self.context.jobs.changed.connect(self._on_queue)

    # ------------------------------------------------------------ asking

    def _retarget(self) -> None:
        self._propose()
        self._replan()

    def _replan(self) -> None:
        """The choice is another: the plan shown is stale until the new one has come."""
        if self._source:
            self._soon.start()
            self._show_state()

    def _ask_plan(self) -> None:
        """Asks for a plan for each type; answers to what was asked before are dropped."""
        self._soon.stop()
        targets = self.choice.targets
        for target in [target for target in self._asks_plan if target not in targets]:
            self.context.questions.drop(self._asks_plan.pop(target))
            self._awaited.discard(target)
        self.plans = {target: plan for target, plan in self.plans.items() if target in targets}
        self._faults = {target: fault for target, fault in self._faults.items() if target in targets}
        self._show_tabs()
        for target in targets:
            self._ask_for(target)

    def _ask_for(self, target: str) -> None:
        options = self.options.model_copy(update={"target": target})
        job = PlanJob(source=self._source, options=options, imatrix_to_come=self._must_compute())
        owner = self._asks_plan.setdefault(target, QObject(self))
        self._awaited.add(target)
        self.context.questions.ask(
            job,
            lambda answer: self._take_plan(target, answer),
            lambda report: self._fail_plan(target, report),
            owner=owner,
        )

    def _ask_checks(self, *, measure: bool = False) -> None:
        """What stands in the way of the type shown, and with `measure` how long it takes."""
        outputs = dict(zip(self.choice.targets, self.output.paths, strict=False))
        target = self._shown_target()
        if self.plan is None or target not in outputs:
            return
        job = PreflightJob(
            source=self._source,
            output=outputs[target],
            options=self.options.model_copy(update={"target": target}),
            threads=self.context.settings.value("threads"),
            measure=measure,
        )
        asked = self.context.timings if measure else self.context.questions
        asked.ask(job, self.before.show_checks, owner=self.before)

    def _ask_memory(self) -> None:
        """What the model and its result take to run."""
        options = self.options.model_copy(update={"target": self._shown_target()})
        job = EstimateJob(source=self._source, options=options)
        self.context.questions.ask(job, self.before.show_memory, owner=self.before.memory)

    def _propose(self) -> None:
        if not self._source:
            return
        settings, targets = self.context.settings, self.choice.targets
        if len(targets) > 1:
            names = tuple(output_name(Path(self._source), target) for target in targets)
            self.output.propose_several(str(actions.output_folder(self._source, settings)), names)
        else:
            self.output.propose(actions.proposed_output(self._source, targets[0], settings, self.context.jobs.is_taken))

    def _start(self) -> None:
        """Asks for the job, and remembers types and search for the next time."""
        self.context.settings.set("quantize_types", self.choice.targets)
        self.context.settings.set("quantize_fit", self.options.fit)
        for job in self.jobs():
            if isinstance(job, ImatrixJob):
                if self.context.jobs.is_taken(job.output):
                    continue  # it is in the queue already, for another quantization
                Path(job.output).parent.mkdir(parents=True, exist_ok=True)
            self.job_requested.emit(job)

    # ------------------------------------------------------------ answers

    def _take_summary(self, answer: Value) -> None:
        assert isinstance(answer, ModelSummary)
        self._summary = answer
        self.strip.show_model(answer)
        self.choice.allow_box.setVisible(self._is_quantized())
        self._show_state()

    def _take_plan(self, target: str, answer: Value) -> None:
        assert isinstance(answer, Plan)
        self.plans[target] = answer
        self._awaited.discard(target)
        self._faults.pop(target, None)
        self._show_tabs()
        self._show_plan()

    def _fail_plan(self, target: str, report: ErrorReport) -> None:
        self.plans.pop(target, None)
        self._awaited.discard(target)
        several = len(self.choice.targets) > 1
        self._faults[target] = replace(report, what=f"{target}: {report.what}") if several else report
        self._show_tabs()
        self._show_plan()

    def _fail_summary(self, report: ErrorReport) -> None:
        self._forget_plans()
        self._faults[self.choice.targets[0]] = report
        self._show_plan()

    def _forget_plans(self) -> None:
        self.plans, self._faults = {}, {}

    # ------------------------------------------------------------ showing

    def _is_quantized(self) -> bool:
        """Whether a weight matrix of the source is stored in a quantized type."""
        # Folders that other programs quantized are dequantized while they are read; the plan warns of it.
        tensors = self._summary.tensors if self._summary and self._summary.format == "gguf" else ()
        return any(len(t.shape) > 1 and (t.type not in FORMATS or FORMATS[t.type].quantized) for t in tensors)

    def _shown_target(self) -> str:
        """The type whose plan is shown: the one of the tab, else the first."""
        targets, at = self.choice.targets, self.plan_tabs.currentIndex()
        return self.plan_tabs.tabData(at) if len(targets) > 1 and at >= 0 else targets[0]

    def _show_tabs(self) -> None:
        """One tab for each type with the size of its file; none for a single type."""
        targets, shown = self.choice.targets, self._shown_target()
        with QSignalBlocker(self.plan_tabs):
            while self.plan_tabs.count():
                self.plan_tabs.removeTab(0)
            for target in targets if len(targets) > 1 else ():
                size = f" · {text.size(self.plans[target].bytes)}" if target in self.plans else ""
                self.plan_tabs.setTabData(self.plan_tabs.addTab(f"{target}{size}"), target)
            if shown in targets:
                self.plan_tabs.setCurrentIndex(targets.index(shown))
        self.plan_tabs.setVisible(len(targets) > 1)

    def _show_before(self, plan: Plan | None) -> None:
        """Begins anew with the checks where another plan is shown; a matrix to be computed is needed for them first."""
        plan = None if self._must_compute() else plan
        self.before.setVisible(plan is not None)
        if plan is self._checked:
            return
        self._checked = plan
        self.before.forget()
        self.context.timings.drop(self.before)
        if plan is not None:
            self._ask_checks()
            self._ask_memory()

    def _show_plan(self) -> None:
        plan = self.plan
        if plan is not None:
            self.table.model.set_plan(plan)
            self.choice.count(plan)
        fault = self._faults.get(self._shown_target()) or next(iter(self._faults.values()), None)
        self.problem.show_report(None if self._converts else fault)
        if self._faults and self._summary is None:
            self.strip.show_unreadable(self._source, self._converts)
        self.bars.set_result(plan)
        converted = self.tr("The plan and the sizes are known once llama.cpp has made a 16-bit file of this model.")
        self.headline.setText(size_sentence(plan) if plan else converted if self._converts else "")
        remarks = plan.warnings if plan else ()
        self.remarks.setText("\n".join(f"• {remark}" for remark in remarks))
        self.remark_button.setText(self.tr("Remarks ({0})").format(len(remarks)))
        self.remark_button.setVisible(bool(remarks))
        self.remarks.setVisible(bool(remarks) and self.remark_button.isChecked())
        self._show_before(plan)
        words = fallback_sentence(plan) if plan else ""
        self.fallbacks.say(words, self.tr("Show them") if words else "")
        self.headline.setVisible(plan is not None or self._converts)
        self.bars.setVisible(plan is not None)
        # The last plan stays beside a problem with an override, so that it can be taken back.
        self._show_table()
        self._show_state()

    def _show_table(self) -> None:
        """Details of what comes before a start take the table's place."""
        has_rows = not self._faults or bool(self.table.model.rows)
        self.table.setVisible(has_rows and not (self.before.isVisibleTo(self) and self.before.button.isChecked()))

    def _show_state(self) -> None:
        """Says what would be written and whether it can be started; the button is live only where it can."""
        obstacle = self._obstacle()
        self.preview.setText(obstacle or self._run_words())
        self.button.setEnabled(not obstacle)
        self.copy.setEnabled(bool(self._source and self.output.paths))

    def _obstacle(self) -> str:
        """What has to be done before the job can start, in words; '' where nothing."""
        if not self.problem.isHidden():
            return self.tr("There is no plan: see above what to do.")
        if self._soon.isActive() or self._awaited or not (self._converts or (self._summary and self.plans)):
            return self.tr("Planning…")
        if self.choice.problem:
            return self.choice.problem
        if self._is_quantized() and not self.allow.isChecked():
            return self.tr("To start, allow quantizing an already quantized model (below the types).")
        paths = self.output.paths
        found = (problem_with(path, self._source) or self._rival_words(path) for path in paths)
        return next(filter(None, found), "") if paths else problem_with("", self._source)

    def _rival_words(self, path: str) -> str:
        if not self.context.jobs.is_taken(path):
            return ""
        return self.tr("A job in the queue writes to {0} already: choose another file name.").format(Path(path).name)

    def _run_words(self) -> str:
        if self._converts:
            return self.tr("llama.cpp converts the model first, into a hidden file that is removed afterwards.")
        plans, paths = self.plans.values(), self.output.paths
        threads = self.context.settings.value("threads")
        shown = str(threads) if threads else self.tr("all")
        # One pass holds the chunks of all outputs; the program itself is there once.
        needs = self.tr("Needs about {0} of memory while it runs; threads: {1}.").format(
            text.size(max(plan.memory_bytes for plan in plans)), shown
        )
        there = sum(Path(path).exists() for path in paths)
        replaced = ""
        if there:
            one = self.tr(" Replaces the file of this name.")
            replaced = one if len(paths) == 1 else self.tr(" Replaces existing files: {0}.").format(there)
        first = self.tr(" The importance matrix is computed first, and kept.") if self._must_compute() else ""
        return f"{room_words(paths[0], sum(plan.bytes for plan in plans), len(paths))}.{replaced} {needs}{first}"

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(" && ".join(map(job_kinds.command, self.jobs())))
        self.copy.setText(self.tr("Copied"))
        QTimer.singleShot(1500, self.copy, lambda: self.copy.setText(self.tr("&Copy as command")))

    def _on_setting(self, key: str) -> None:
        if key in ("threads", "output_folder"):
            self._propose()
            self._show_state()
        elif key == "converter":
            self._show_plan()

    def _on_queue(self) -> None:
        """What was in the way may be gone, or something is new."""
        if self._source and self.isVisible():
            self._show_state()

    # ------------------------------------------------------------ drag and drop

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Welcomes one model file or folder."""
        if _dropped(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Begins with what was dropped."""
        event.acceptProposedAction()
        self.set_source(_dropped(event))


def _dropped(event: QDropEvent) -> str:
    """The path of the one model among what is dragged, or ''."""
    paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
    if len(paths) != 1 or not (paths[0].is_dir() or paths[0].suffix in (".gguf", ".safetensors")):
        return ""
    return str(paths[0])


def _section(title: str, term: str) -> QLabel:
    label = QLabel(title)
    label.setProperty("role", "section")
    explain(label, term)
    return label

"""The Quantize page: a model, what is made of it, what that does to every tensor and to the size, and the start."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QCoreApplication, QObject, QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from app import job_kinds, text
from app.context import AppContext
from app.goals import CheckpointGoal, GgufGoal, Goal
from app.models.remedies import Fix, fix_of
from app.planner import Planner
from app.widgets.device_box import DeviceBox
from app.widgets.empty_state import EmptyState
from app.widgets.goal_row import GoalRow
from app.widgets.output_row import OutputRow, problem_with, room_words
from app.widgets.page_header import MARGIN, PageHeader
from app.widgets.plan_pane import PlanPane
from app.widgets.source_strip import ModelMenu, SourceStrip
from core.catalog import sample_path
from core.errors import ErrorReport
from core.jobs import ImatrixJob, InspectJob, Job, ModelSummary, Plan, Value
from core.recipe_file import Recipe

DEBOUNCE_MS = 120
# A file name is being typed: what it means for the disk is asked when it is finished.
RECHECK_MS = 400


class QuantizePage(QWidget):
    """Chooses everything about one quantization and shows its plan; asks for the job with `job_requested`.

    What can be made are the rows of `goals`, of which `goal` is chosen. For tests: objectNames `quantize_button`,
    `plan_table` (the QTableView), `output_folder`, `output_name`, `goal_KEY` (radio buttons), and those of the goals'
    panes and of PlanPane; `plan` is the Plan shown, None while one is being made.
    """

    job_requested = Signal(object)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.gguf = GgufGoal(context)
        self.checkpoint = CheckpointGoal(context)
        self.goals: dict[str, Goal] = {goal.key: goal for goal in (self.gguf, self.checkpoint)}
        self.goal = self.goals.get(context.settings.value("quantize_goal"), self.gguf)
        self.planner = Planner(context.questions, self)
        self._source = ""
        self._summary: ModelSummary | None = None
        self._asks_summary = QObject(self)
        self._soon = QTimer(self, singleShot=True, interval=DEBOUNCE_MS)
        self._soon.timeout.connect(self._ask_plan)
        self._checked: Plan | None = None
        self._recheck = QTimer(self, singleShot=True, interval=RECHECK_MS)
        self.setAcceptDrops(True)
        self._build()
        self.goal_row.choose(self.goal.key)
        self._show_goal()
        self._connect()
        self._show_state()

    # ------------------------------------------------------------ what others ask

    def set_source(self, path: str) -> None:
        """Begins with this model: its facts and its plan are asked for at once."""
        self._source, self._summary = path, None
        self.planner.forget()
        self.table.model.forget()
        self._pages.setCurrentWidget(self._work)
        self.strip.show_loading(path)
        for goal in self.goals.values():
            with QSignalBlocker(goal.pane):
                goal.open(path)
        self.output.renew()
        self._propose()
        self._show_plan()
        self.context.questions.ask(
            InspectJob(source=path), self._take_summary, self._fail_summary, owner=self._asks_summary
        )
        self._ask_plan()

    def set_recipe(self, recipe: Recipe) -> None:
        """Chooses what a recipe says for the present model: GGUF files."""
        self.goal_row.choose(self.gguf.key)
        self.gguf.pane.load(recipe)

    def activated(self) -> None:
        """The page became visible: names that were free may be taken by now."""
        if self._source:
            self._propose()

    @property
    def plan(self) -> Plan | None:
        """The plan shown."""
        return self.planner.plans.get(self._shown_target())

    def jobs(self) -> tuple[Job, ...]:
        """What is done for the choice as it is now, in order."""
        return self.goal.jobs(self.output.paths, self.planner.faults.values())

    @property
    def is_settled(self) -> bool:
        """Whether the plans are those of the choices as they are."""
        return not self._soon.isActive() and not self.planner.awaited

    @property
    def _converts(self) -> bool:
        return self.goal.converts(self.planner.faults.values())

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        theme = self.context.theme
        self.strip = SourceStrip(theme, self.context.library.models)
        titles = {goal.key: QCoreApplication.translate("Goals", goal.title) for goal in self.goals.values()}
        self.goal_row = GoalRow(titles)
        self.output = OutputRow(theme)
        self.pane = PlanPane(theme)
        self.table, self.before, self.problem = self.pane.table, self.pane.before, self.pane.problem
        self._work = QWidget()
        work = QVBoxLayout(self._work)
        work.setContentsMargins(0, 0, 0, 0)
        work.setSpacing(12)
        work.addWidget(self.strip)
        work.addWidget(self.goal_row)
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
        self._panes = QStackedWidget()
        for goal in self.goals.values():
            self._panes.addWidget(goal.pane)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setObjectName("quantize_split")
        split.setChildrenCollapsible(False)
        split.addWidget(self._panes)
        split.addWidget(self.pane)
        split.setStretchFactor(0, 0)
        split.setStretchFactor(1, 1)
        split.setSizes([344, 816])
        return split

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
        foot.addWidget(DeviceBox(self.context.settings, self.context.computing))
        foot.addWidget(self.copy)
        foot.addWidget(self.button)
        return foot

    def _connect(self) -> None:
        self.strip.chosen.connect(self.set_source)
        self.goal_row.chosen.connect(self._take_goal)
        self.problem.fix_wanted.connect(self._mend)
        for goal in self.goals.values():
            goal.pane.targets_changed.connect(self._retarget)
            goal.pane.changed.connect(self._replan)
            goal.pane.state_changed.connect(self._show_state)
        self.planner.changed.connect(self._on_plan)
        self.pane.turned.connect(self._show_plan)
        self.table.model.overrides_changed.connect(self._override)
        self.output.changed.connect(self._show_state)
        self.output.changed.connect(self._recheck.start)
        self._recheck.timeout.connect(self._ask_checks)
        self.before.timing_wanted.connect(lambda: self._ask_checks(measure=True))
        self.copy.clicked.connect(self._copy_command)
        self.button.clicked.connect(self._start)
        self.context.settings.changed.connect(self._on_setting)
        self.context.jobs.changed.connect(self._on_queue)

    # ------------------------------------------------------------ asking

    def _take_goal(self, key: str) -> None:
        """Something else is to be made: nothing that is shown belongs to it."""
        self.goal = self.goals[key]
        self.planner.forget()
        self.table.model.forget()
        self.gguf.own = ()
        self._show_goal()
        if self._source:
            self._propose()
            self._ask_plan()
            self._show_plan()

    def _show_goal(self) -> None:
        self._panes.setCurrentWidget(self.goal.pane)
        self.table.offer(self.goal.types)

    def _mend(self) -> None:
        """Chooses what the refusal that is shown advises."""
        fix = self._fix()
        if fix is not None:
            self.checkpoint.pane.apply(fix.changes)

    def _fix(self) -> Fix | None:
        fault = self._fault()
        return fix_of(fault.remedy) if fault and self.goal is self.checkpoint else None

    def _fault(self) -> ErrorReport | None:
        """Why there is no plan for the target shown."""
        faults = self.planner.faults
        return faults.get(self._shown_target()) or next(iter(faults.values()), None)

    def _retarget(self) -> None:
        self._propose()
        self._replan()

    def _override(self) -> None:
        self.gguf.own = self.table.model.overrides
        self._replan()

    def _replan(self) -> None:
        """The choice is another: the plan shown is stale until the new one has come."""
        if self._source:
            self._soon.start()
            self._show_state()

    def _ask_plan(self) -> None:
        """Asks for a plan for each target, where the choices can be together at all."""
        self._soon.stop()
        refused = self.goal.refuse()
        self.planner.ask({} if refused else self.goal.plans())
        if refused:
            self.planner.fail(self.goal.targets[0], refused)
        self.pane.show_tabs(self.goal.targets, self.planner.plans)

    def _ask_checks(self, *, measure: bool = False) -> None:
        """What stands in the way of the target shown, and with `measure` how long it takes."""
        target, outputs = self._shown_target(), self.output.paths
        if self.plan is None or not outputs:
            return
        at = self.goal.targets.index(target)  # several forms of a checkpoint share one folder
        job = self.goal.check(target, outputs[min(at, len(outputs) - 1)], measure=measure)
        asked = self.context.timings if measure else self.context.questions
        if job is not None:
            asked.ask(job, self.before.show_checks, owner=self.before)

    def _ask_memory(self) -> None:
        """What the model and its result take to run."""
        job = self.goal.memory(self._shown_target())
        if job is not None:
            self.context.questions.ask(job, self.before.show_memory, owner=self.before.memory)

    def _propose(self) -> None:
        if self._source:
            self.goal.propose(self.output)

    def _start(self) -> None:
        """Asks for the job, and remembers the choice for the next time."""
        self.context.settings.set("quantize_goal", self.goal.key)
        self.goal.remember()
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
        for goal in self.goals.values():
            goal.learn(answer)
        self._show_state()

    def _fail_summary(self, report: ErrorReport) -> None:
        self.planner.forget()
        self.planner.fail(self.goal.targets[0], report)

    def _on_plan(self) -> None:
        self.pane.show_tabs(self.goal.targets, self.planner.plans)
        self._show_plan()

    # ------------------------------------------------------------ showing

    def _shown_target(self) -> str:
        return self.pane.shown(self.goal.targets)

    def _show_before(self, plan: Plan | None) -> None:
        """Begins anew with the checks where another plan is shown; a matrix to be computed is needed for them first."""
        plan = None if self.goal.must_compute() else plan
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
        plan, fault = self.plan, self._fault()
        if plan is not None:
            self.goal.count(plan)
        if fault and self._summary is None:
            self.strip.show_unreadable(self._source, self._converts)
        if self._converts:
            words = self.tr("The plan and the sizes are known once llama.cpp has made a 16-bit file of this model.")
            self.pane.show_plan(plan, None, "" if plan else words)
        else:
            fix = self._fix()
            self.pane.show_plan(plan, fault, fix=fix.words if fix else "")
        self._show_before(plan)
        self.pane.show_table()
        self._show_state()

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
        if not self.is_settled or not (self._converts or (self._summary and self.planner.plans)):
            return self.tr("Planning…")
        paths = self.output.paths
        found = (problem_with(path, self._source) or self._rival_words(path) for path in paths)
        wrong = next(filter(None, found), "") if paths else problem_with("", self._source)
        return self.goal.obstacle() or wrong

    def _rival_words(self, path: str) -> str:
        if not self.context.jobs.is_taken(path):
            return ""
        return self.tr("A job in the queue writes to {0} already: choose another file name.").format(Path(path).name)

    def _run_words(self) -> str:
        if self._converts:
            return self.tr("llama.cpp converts the model first, into a hidden file that is removed afterwards.")
        plans, paths = self.planner.plans.values(), self.output.paths
        computed = self.goal.computed
        shown = str(computed["threads"]) if computed["threads"] else self.tr("all")
        if computed["device"] == "cuda":
            shown = self.tr("{0}, and the GPU").format(shown)
        # One pass holds the chunks of all outputs; the program itself is there once.
        needs = self.tr("Needs about {0} of memory while it runs; threads: {1}.").format(
            text.size(max(plan.memory_bytes for plan in plans)), shown
        )
        there = sum(Path(path).exists() for path in paths)
        replaced = ""
        if there:
            one = self.tr(" Replaces the file of this name.")
            replaced = one if len(paths) == 1 else self.tr(" Replaces existing files: {0}.").format(there)
        first = self.tr(" The importance matrix is computed first, and kept.") if self.goal.must_compute() else ""
        several = QCoreApplication.translate("Goals", self.goal.several) if len(plans) > 1 else ""
        return (
            f"{room_words(paths[0], sum(plan.bytes for plan in plans), several, len(plans))}.{replaced} {needs}{first}"
        )

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(" && ".join(map(job_kinds.command, self.jobs())))
        self.copy.setText(self.tr("Copied"))
        QTimer.singleShot(1500, self.copy, lambda: self.copy.setText(self.tr("&Copy as command")))

    def _on_setting(self, key: str) -> None:
        if key in ("threads", "device", "output_folder"):
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

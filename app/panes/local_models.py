"""The models on this computer: the list, and an inspector for the one selected."""

from __future__ import annotations

import re
from pathlib import Path

from PySide6.QtCore import QPoint, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QLabel, QMenu, QPushButton, QStackedWidget, QToolButton, QVBoxLayout, QWidget

from app.context import AppContext
from app.models.library import LibraryModel, LibraryRow, PartialModel, shown_name
from app.removal import Removal
from app.widgets.column_widths import Columns
from app.widgets.empty_state import EmptyState
from app.widgets.error_words import sentences
from app.widgets.filter_table import FilterTable
from app.widgets.hint_card import HintCard
from app.widgets.model_inspector import ModelInspector
from app.widgets.page_header import fold_button
from app.widgets.partial_model import PartialModelView
from app.widgets.problem_list import ProblemList
from app.widgets.split import InspectorSplit
from core.catalog import sample_path
from core.errors import ErrorReport
from core.jobs import DownloadJob, EstimateJob, InspectJob, ModelSummary, TensorStats, TensorStatsJob, Value

INSPECTOR_WIDTH = 520
INSPECTOR_SHARE = 0.42


class LocalModels(QWidget):
    """Lists the library; says which model is to be quantized or talked to, and that something is to be added."""

    quantize_requested = Signal(str)
    chat_requested = Signal(str)
    measure_requested = Signal(str)
    publish_requested = Signal(str)
    job_requested = Signal(object)
    said = Signal(str)
    add_file_requested = Signal()
    add_folder_requested = Signal()

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self._summary: ModelSummary | None = None
        self.model = LibraryModel(context.theme.icon, self)
        self.table = FilterTable(context.theme, self.model, "models")
        self.menu = self._make_menu()
        self.inspector = ModelInspector(context.theme, self.menu)
        self.partial = PartialModelView(context.theme)
        self.problems = ProblemList(context.theme)
        self.removal = Removal(context.timings, self)
        self._state = QLabel()
        self._state.setProperty("role", "muted")
        self._newcomer = self._make_newcomer()
        self._fold = fold_button(context.theme)
        self._list = self._make_list()
        self._side = self._make_side()
        self._split = self._make_split()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._split)
        self._connect()
        self.refresh()

    # ------------------------------------------------------------ what others ask

    def select(self, path: str) -> bool:
        """Selects the model at that path; False where it is not in the list."""
        return self.table.select(path)

    def selected(self) -> ModelSummary | None:
        """The model the inspector shows, with its tensors once they have been read."""
        return self._summary

    def toggle_inspector(self) -> None:
        """Folds the inspector away, or back."""
        self._fold.toggle()

    def refresh(self) -> None:
        """Shows what the library knows now, keeping the selection where its model is still there."""
        library = self.context.library
        row = self.table.current()
        self.model.set_models(library.models(), library.partial())
        self.problems.show_problems(library.problems())
        self._newcomer.setVisible(bool(library.models()) and all(model.is_sample for model in library.models()))
        self._show_state()
        if not (row and self.select(row.name)) and library.models():
            self.select(library.models()[0].path)

    # ------------------------------------------------------------ composition

    def tools(self) -> list[QWidget]:
        """The buttons for the head of the page."""
        made: list[QWidget] = []
        for icon, words, tip, signal in (
            ("add_file", self.tr("Add file…"), self.tr("Add a .gguf file (Ctrl+O)"), self.add_file_requested),
            (
                "add_folder",
                self.tr("Add folder…"),
                self.tr("Add a folder of models (Ctrl+Shift+O)"),
                self.add_folder_requested,
            ),
        ):
            button = QPushButton(words)
            button.setToolTip(tip)
            button.clicked.connect(signal)
            self.context.theme.decorate(button, icon)
            made.append(button)
        rescan = QToolButton()
        rescan.setAccessibleName(self.tr("Rescan"))
        rescan.setToolTip(self.tr("Look at all folders again (F5)"))
        rescan.clicked.connect(self.context.library.rescan)
        self.context.theme.decorate(rescan, "refresh")
        return [*made, rescan, self._fold]

    def _make_list(self) -> QStackedWidget:
        self.table.set_texts(
            {
                "filter": self.tr("Filter models"),
                "name": self.tr("Models on this computer"),
                "rows": self.tr("{0} on this computer"),
            }
        )
        family, place, count = map(self.model.column_of, ("architecture", "location", "parameters"))
        columns = Columns((176, 88, 88, 60, 80, 104), rest=place, spare=(family, place, count))
        self.table.view.set_columns(columns)
        self.table.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        full = QWidget()
        layout = QVBoxLayout(full)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.table, 1)
        layout.addWidget(self._newcomer)
        layout.addWidget(self.problems)
        layout.addWidget(self._state)
        empty = EmptyState(
            self.context.theme,
            "drop",
            self.tr("No models yet"),
            self.tr("Drop a .gguf file or a model folder here, or try the sample."),
        )
        if sample_path() is not None:
            empty.add_button(self.tr("Try the sample"), self._bring_sample, primary=True)
        empty.add_button(self.tr("Add folder…"), self.add_folder_requested.emit)
        stack = QStackedWidget()
        stack.addWidget(full)
        stack.addWidget(empty)
        return stack

    def _make_newcomer(self) -> HintCard:
        card = HintCard(
            self.tr("New here?"),
            self.tr(
                "Try the sample: quantize a small real model in seconds and see what it cost. "
                "Or drop a .gguf file or a model folder anywhere on this window."
            ),
        )
        button = card.add_button(self.tr("Try the sample"), self._try_sample)
        button.setObjectName("trySample")
        return card

    def _make_menu(self) -> QMenu:
        """All that can be done with the selected model: under a right click, and behind the inspector's button."""
        menu = QMenu(self)
        menu.addAction(self.tr("Quantize"), self._quantize)
        chat = menu.addAction(self.tr("Chat"), self._chat)
        menu.addAction(self.tr("Measure…"), self._measure)
        menu.addAction(self.tr("Publish…"), self._publish)
        menu.addSeparator()
        menu.addAction(self.tr("Reveal in folder"), self._reveal)
        menu.addAction(self.tr("Copy path"), self._copy_path)
        menu.addSeparator()
        menu.addAction(self.tr("Remove from list"), self._remove)
        trash = menu.addAction(self.tr("Move to the trash…"), self._trash)

        def show_what_can_be() -> None:
            chat.setEnabled(self._summary is not None and self._summary.format == "gguf")
            trash.setEnabled(self._summary is not None and not self._summary.is_sample)

        menu.aboutToShow.connect(show_what_can_be)
        return menu

    def _make_side(self) -> QStackedWidget:
        stack = QStackedWidget()
        stack.addWidget(self.inspector)
        stack.addWidget(
            EmptyState(self.context.theme, "models", self.tr("No model selected"), self.tr("Choose one from the list."))
        )
        stack.addWidget(self.partial)
        stack.setCurrentIndex(1)
        return stack

    def _make_split(self) -> InspectorSplit:
        self._list.setMinimumWidth(320)
        self._side.setMinimumWidth(340)
        self._fold.toggled.connect(self._side.setVisible)
        return InspectorSplit("models_split", self._list, self._side, INSPECTOR_WIDTH, INSPECTOR_SHARE)

    def _connect(self) -> None:
        library = self.context.library
        library.changed.connect(self.refresh)
        library.busy_changed.connect(lambda busy: self._show_state())
        library.arrived.connect(self.select)
        self.table.selected.connect(self._on_selected)
        self.table.activated.connect(lambda row: self._quantize())
        self.table.view.customContextMenuRequested.connect(self._show_menu)
        self.inspector.quantize_clicked.connect(self._quantize)
        self.inspector.chat_clicked.connect(self._chat)
        self.inspector.measure_clicked.connect(self._measure)
        self.partial.resume_clicked.connect(self._resume)
        self.partial.discard_clicked.connect(self._discard)
        self.removal.done.connect(self._on_removed)
        self.removal.failed.connect(lambda report: self.said.emit(" ".join(sentences(report))))
        self.inspector.tensor_selected.connect(self._ask_stats)
        for keys, function in (("Del", self._remove), ("Shift+Del", self._trash)):
            shortcut = QShortcut(QKeySequence(keys), self.table.view)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(function)

    # ------------------------------------------------------------ reactions

    def _show_state(self) -> None:
        library = self.context.library
        error = library.error()
        words = self.tr("Looking for models…") if library.is_busy else ""
        if error is not None and not library.is_busy:
            words = " ".join(sentences(error))
        self._state.setText(words)
        self._state.setVisible(bool(words))
        is_there = library.models() or library.problems() or library.partial()
        is_empty = library.is_scanned and not is_there and error is None
        self._list.setCurrentIndex(int(is_empty))

    def _on_selected(self, row: LibraryRow | None) -> None:
        if row is None or row.model is None:
            self._summary = None
            self._side.setCurrentIndex(1)
            if row is not None and row.partial is not None:
                self.partial.show_partial(row.partial)
                self._side.setCurrentWidget(self.partial)
            return
        if self._summary is not None and self._summary.path == row.name and self._summary.tensors:
            return
        self._summary = row.model
        self.inspector.show_model(row.model)
        self._side.setCurrentIndex(0)
        self.context.questions.ask(InspectJob(source=row.name), self._take_summary, self._refuse, owner=self)

    def _take_summary(self, answer: Value) -> None:
        assert isinstance(answer, ModelSummary)
        self._summary = answer
        self.inspector.show_model(answer)
        job = EstimateJob(source=answer.path)
        self.context.questions.ask(job, self.inspector.memory.show_result, owner=self.inspector.memory)

    def _refuse(self, report: ErrorReport) -> None:
        self.inspector.say(" ".join(sentences(report)))

    def _ask_stats(self, tensor: str) -> None:
        if self._summary is not None:
            job = TensorStatsJob(source=self._summary.path, tensor=tensor)
            self.context.questions.ask(job, self._take_stats, self._refuse, owner=self.inspector)

    def _take_stats(self, answer: Value) -> None:
        assert isinstance(answer, TensorStats)
        self.inspector.show_stats(answer)

    def _bring_sample(self) -> None:
        sample = sample_path()
        if sample is not None:
            self.context.library.add(str(sample))

    def _try_sample(self) -> None:
        sample = next((model for model in self.context.library.models() if model.is_sample), None)
        if sample is not None:
            self.quantize_requested.emit(sample.path)

    def _quantize(self) -> None:
        if self._summary is not None:
            self.quantize_requested.emit(self._summary.path)

    def _chat(self) -> None:
        if self._summary is not None:
            self.chat_requested.emit(self._summary.path)

    def _measure(self) -> None:
        if self._summary is not None:
            self.measure_requested.emit(self._summary.path)

    def _reveal(self) -> None:
        if self._summary is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(self._summary.path).parent)))

    def _remove(self) -> None:
        if self._summary is not None:
            self.context.library.remove(self._summary.path)

    def _trash(self) -> None:
        if self._summary is not None and not self._summary.is_sample:
            self.removal.ask((self._summary.path,), shown_name(self._summary))

    def _publish(self) -> None:
        if self._summary is not None:
            self.publish_requested.emit(self._summary.path)

    def _partial(self) -> PartialModel | None:
        row = self.table.current()
        return row.partial if row else None

    def _resume(self) -> None:
        partial = self._partial()
        if partial is not None:
            names = [file.name for file in partial.files if file.name.endswith(".gguf")]
            self.job_requested.emit(DownloadJob(repo=partial.repo, include=tuple(_pattern(name) for name in names)))

    def _discard(self) -> None:
        if (partial := self._partial()) is not None:
            self.removal.discard(tuple(file.path for file in partial.files))

    def _on_removed(self, words: str) -> None:
        self.said.emit(words)
        self.context.library.rescan()

    def _copy_path(self) -> None:
        if self._summary is not None:
            QGuiApplication.clipboard().setText(self._summary.path)

    def _show_menu(self, at: QPoint) -> None:
        if self._summary is not None:
            self.menu.popup(self.table.view.viewport().mapToGlobal(at))


def _pattern(name: str) -> str:
    """A GGUF file and the other parts of the model it belongs to, as a pattern that finds them alone."""
    escaped = re.sub(r"([*?[])", r"[\1]", name)
    return re.sub(r"-\d{5}-of-(\d{5})\.gguf$", r"-*-of-\1.gguf", escaped)

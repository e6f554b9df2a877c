"""The Models page: what is on this computer, and what is on the Hugging Face Hub, each as a pane of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from app.context import AppContext
from app.panes.downloads import Downloads
from app.panes.local_models import LocalModels
from app.widgets.page_header import MARGIN, PageHeader
from core.jobs import ModelSummary

if TYPE_CHECKING:
    from app.panes.hub_browser import HubBrowser

LOCAL, HUB = 0, 1


class ModelsPage(QWidget):
    """Says which model is to be quantized or talked to, what is to be added, and which job is to be queued.

    The Hub's pane is made when it is first shown.
    """

    quantize_requested = Signal(str)
    chat_requested = Signal(str)
<<<<<<< HEAD
    publish_requested = Signal(str)
=======
    measure_requested = Signal(str)
>>>>>>> hub
    add_file_requested = Signal()
    add_folder_requested = Signal()
    job_requested = Signal(object)
    token_requested = Signal()
    said = Signal(str)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.local = LocalModels(context)
        self.downloads = Downloads(context)
        self.downloads.said.connect(self.said)
        self._hub: HubBrowser | None = None
        self._panes = QStackedWidget()
        self._panes.addWidget(self.local)
        self._switch = QButtonGroup(self)
        self._tools: dict[int, QWidget] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 16, MARGIN, 16)
        layout.setSpacing(16)
        layout.addWidget(self._make_header())
        layout.addWidget(self._panes, 1)
        layout.addWidget(self.downloads)
        for signal in (
            "quantize_requested",
            "chat_requested",
            "publish_requested",
            "add_file_requested",
            "add_folder_requested",
            "job_requested",
            "said",
        ):
            getattr(self.local, signal).connect(getattr(self, signal))
        self.show_local()

    # ------------------------------------------------------------ what others ask

    def select(self, path: str) -> bool:
        """Selects the model at that path on this computer; False where it is not in the list."""
        return self.local.select(path)

    def selected(self) -> ModelSummary | None:
        """The model of this computer that the inspector shows."""
        return self.local.selected()

    def toggle_inspector(self) -> None:
        """Folds the inspector away, or back."""
        self._panes.currentWidget().toggle_inspector()  # type: ignore[attr-defined]  # both panes have it

    def show_local(self) -> None:
        """What is on this computer."""
        self._show(LOCAL)

    def show_hub(self) -> None:
        """What is on the Hub."""
        self._show(HUB)

    @property
    def hub(self) -> HubBrowser:
        """The pane of the Hub, made when it is first asked for."""
        if self._hub is None:
            from app.panes.hub_browser import HubBrowser  # a good part of a second that the start need not wait for

            self._hub = pane = HubBrowser(self.context)
            self._panes.addWidget(pane)
            self._add_tools(HUB, pane.tools())
            pane.job_requested.connect(self.job_requested)
            pane.token_requested.connect(self.token_requested)
            pane.said.connect(self.said)
            pane.local_requested.connect(self._show_here)
        return self._hub

    def search_hub(self) -> None:
        """Where a search on the Hub is typed."""
        self.show_hub()
        self.hub.begin()

    def token_changed(self) -> None:
        """The Hub takes us for another: what was refused may be open now."""
        if self._hub is not None:
            self._hub.refresh_page()

    # ------------------------------------------------------------ composition

    def _make_header(self) -> PageHeader:
        header = PageHeader(self.tr("Models"))
        header.add_switch(self._make_switch())
        self._header = header
        self._add_tools(LOCAL, self.local.tools())
        return header

    def _make_switch(self) -> QWidget:
        box = QWidget()
        row = QHBoxLayout(box)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for number, (name, words) in enumerate(
            (("showLocal", self.tr("This computer")), ("showHub", self.tr("Hugging Face")))
        ):
            button = QPushButton(words)
            button.setObjectName(name)
            button.setCheckable(True)
            button.setProperty("segment", ("first", "last")[number])
            self._switch.addButton(button, number)
            row.addWidget(button)
        self._switch.idClicked.connect(self._show)
        return box

    def _add_tools(self, number: int, widgets: list[QWidget]) -> None:
        """The buttons of a pane, in the head of the page while the pane is shown."""
        box = QWidget()
        row = QHBoxLayout(box)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        for widget in widgets:
            row.addWidget(widget)
        self._tools[number] = box
        self._header.add(box)

    def _show_here(self, place: str) -> None:
        """A model on this computer, or just the list."""
        self.show_local()
        if place and not self.select(place):
            self.context.library.add(place)

<<<<<<< HEAD
    def _show(self, number: int) -> None:
        self._panes.setCurrentWidget(self.hub if number == HUB else self.local)
        self._switch.button(number).setChecked(True)
        for key, box in self._tools.items():
            box.setVisible(key == number)
=======
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
        self.inspector.reveal_clicked.connect(self._reveal)
        self.inspector.remove_clicked.connect(self._remove)
        self.inspector.tensor_selected.connect(self._ask_stats)
        delete = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.table.view)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self._remove)

    # ------------------------------------------------------------ reactions

    def _show_state(self) -> None:
        library = self.context.library
        error = library.error()
        words = self.tr("Looking for models…") if library.is_busy else ""
        if error is not None and not library.is_busy:
            words = " ".join(sentences(error))
        self._state.setText(words)
        self._state.setVisible(bool(words))
        is_empty = library.is_scanned and not library.models() and not library.problems() and error is None
        self._list.setCurrentIndex(int(is_empty))

    def _on_selected(self, row: LibraryRow | None) -> None:
        if row is None:
            self._summary = None
            self._side.setCurrentIndex(1)
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

    def _reveal(self) -> None:
        if self._summary is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(self._summary.path).parent)))

    def _remove(self) -> None:
        if self._summary is not None:
            self.context.library.remove(self._summary.path)

    def _copy_path(self) -> None:
        if self._summary is not None:
            QGuiApplication.clipboard().setText(self._summary.path)

    def _show_menu(self, at: QPoint) -> None:
        if self._summary is None:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(self.tr("Quantize"), self._quantize)
        menu.addAction(self.tr("Chat"), self._chat).setEnabled(self._summary.format == "gguf")
        path = self._summary.path
        menu.addAction(self.tr("Measure…"), lambda: self.measure_requested.emit(path))
        menu.addSeparator()
        menu.addAction(self.tr("Reveal in folder"), self._reveal)
        menu.addAction(self.tr("Copy path"), self._copy_path)
        menu.addAction(self.tr("Remove from list"), self._remove)
        menu.popup(self.table.view.viewport().mapToGlobal(at))
>>>>>>> hub

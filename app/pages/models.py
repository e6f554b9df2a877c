"""The Models page: what is on this computer, and what is on the Hugging Face Hub, each as a pane of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from app.context import AppContext
from app.panes.downloads import Downloads
from app.panes.local_models import LocalModels
from app.widgets.page_header import MARGIN, PageHeader
from app.widgets.side_by_side import tools
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
    measure_requested = Signal(str)
    publish_requested = Signal(str)
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
            "measure_requested",
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
        self._tools[number] = tools(*widgets)
        self._header.add(self._tools[number])

    def _show_here(self, place: str) -> None:
        """A model on this computer, or just the list."""
        self.show_local()
        if place and not self.select(place):
            self.context.library.add(place)

    def _show(self, number: int) -> None:
        self._panes.setCurrentWidget(self.hub if number == HUB else self.local)
        self._switch.button(number).setChecked(True)
        for key, box in self._tools.items():
            box.setVisible(key == number)

"""The window: the rail, the pages (built when first shown), the status line and the menus.

It composes; pages know their models and say what the user wants. `connect_page` holds all wiring between pages.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import (
    QAction,
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QKeySequence,
    QPaintEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMainWindow, QMenu, QStackedWidget, QVBoxLayout, QWidget

from app import job_kinds
from app.context import AppContext
from app.logs import log_path
from app.models.jobs import fraction
from app.widgets.banner import Banner
from app.widgets.rail import Rail
from app.widgets.status_line import StatusLine
from app.window_state import WindowState
from core.jobs import Job, outputs_of
from core.recipe_file import Recipe
from core.store import JobRecord, data_dir

SIZE = (1280, 800)
SMALLEST = (960, 640)
# Between pages made ahead, so that what the user does meanwhile comes first.
BUILD_PAUSE_MS = 150
_T = QT_TRANSLATE_NOOP


@dataclass(frozen=True, slots=True)
class PageRow:
    """A page: its key, the word under its icon, and the class that is imported when it is first shown."""

    key: str
    word: str
    module: str
    name: str


PAGES: tuple[PageRow, ...] = (
    PageRow("models", _T("MainWindow", "Models"), "app.pages.models", "ModelsPage"),
    PageRow("quantize", _T("MainWindow", "Quantize"), "app.pages.quantize", "QuantizePage"),
    PageRow("jobs", _T("MainWindow", "Jobs"), "app.pages.jobs", "JobsPage"),
    PageRow("results", _T("MainWindow", "Results"), "app.pages.results", "ResultsPage"),
    PageRow("chat", _T("MainWindow", "Chat"), "app.pages.chat", "ChatPage"),
    PageRow("settings", _T("MainWindow", "Settings"), "app.pages.settings", "SettingsPage"),
)
PAGE = {row.key: row for row in PAGES}


class MainWindow(QMainWindow):
    """Everything on the screen. `painted` is emitted once, after the first paint.

    modules_loaded: to be emitted, from any thread, once all pages can be made without waiting for imports.
    """

    painted = Signal()
    modules_loaded = Signal()

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.setWindowTitle("Bitwright")
        self.setAcceptDrops(True)
        self.setMinimumSize(*SMALLEST)
        self.context = context
        self._pages: dict[str, Any] = {}
        self._was_painted = False
        self._asks = True
        self._state = WindowState()
        self.rail = Rail(context.theme)
        self.status = StatusLine(context.theme, context.computing)
        self.banner = Banner(context.theme)
        self._stack = QStackedWidget()
        self._drop_hint = self._make_drop_hint()
        self._compose()
        self._make_menus()
        self._connect()
        if not self._state.restore_window(self):
            self.resize(*SIZE)
        self.show_page("models")

    # ------------------------------------------------------------ pages

    def page(self, key: str) -> Any:
        """A page by its key, built when it is first asked for. Raises KeyError for another key."""
        if key not in self._pages:
            row = PAGE[key]
            page = getattr(importlib.import_module(row.module), row.name)(self.context)
            self._pages[key] = page
            self._stack.addWidget(page)
            self._state.restore_inside(page)
            self.connect_page(key, page)
        return self._pages[key]

    def build_ahead(self) -> None:
        """Makes the next page that was not shown yet, and the others later: one at a time, when nothing else waits."""
        key = next((row.key for row in PAGES if row.key not in self._pages), None)
        if key is not None:
            self.page(key)
            QTimer.singleShot(BUILD_PAUSE_MS, self, self.build_ahead)

    def show_page(self, key: str) -> None:
        """Brings a page to the front."""
        page = self.page(key)
        self._stack.setCurrentWidget(page)
        self.rail.select(key)
        page.setFocus(Qt.FocusReason.OtherFocusReason)
        if hasattr(page, "activated"):
            page.activated()

    def current_page(self) -> str:
        """The key of the page that is shown."""
        return next(key for key, page in self._pages.items() if page is self._stack.currentWidget())

    def connect_page(self, key: str, page: Any) -> None:
        """All wiring between pages: what each of them asks for, and who does it."""
        match key:
            case "models":
                page.quantize_requested.connect(self.quantize)
                page.chat_requested.connect(lambda path: self.chat(path, None))
                page.measure_requested.connect(self.measure)
                page.add_file_requested.connect(self.choose_file)
                page.add_folder_requested.connect(self.choose_folder)
                page.publish_requested.connect(self.publish)
                page.job_requested.connect(self.start_download)
                page.token_requested.connect(self.enter_token)
                page.said.connect(self.status.say)
            case "quantize":
                page.job_requested.connect(self.start_job)
            case "jobs":
                page.result_requested.connect(self.show_result)
                page.said.connect(self.status.say)
            case "settings":
                page.token_accepted.connect(self._on_token)
            case "results":
                page.chat_requested.connect(self.chat)
                page.job_requested.connect(self.start_job)
                page.recipe_requested.connect(self.quantize_by)
                page.publish_requested.connect(self.publish)

    # ------------------------------------------------------------ what pages and menus ask for

    def quantize(self, path: str) -> None:
        """Opens the Quantize page on a model."""
        self.page("quantize").set_source(path)
        self.show_page("quantize")

    def quantize_by(self, path: str, recipe: Recipe) -> None:
        """Opens the Quantize page on a model with what a recipe says chosen."""
        self.quantize(path)
        self.page("quantize").set_recipe(recipe)

    def measure(self, model: str) -> None:
        """Opens the Results page to measure a model against its original."""
        self.page("results").measure_models("", model)
        self.show_page("results")

    def chat(self, model: str, against: str | None) -> None:
        """Opens the Chat page on a model, beside another one where given."""
        self.page("chat").open_models(model, against)
        self.show_page("chat")

    def start_job(self, job: Job) -> None:
        """Puts a job into the queue and shows it there; two jobs never write to one file."""
        taken = [path for path in outputs_of(job) if self.context.jobs.is_taken(path)]
        if taken:
            self.status.say(self.tr("A job in the queue writes to {0} already").format(taken[0]))
            return
        self.context.jobs.submit(job)
        self.show_page("jobs")
        self.status.say(self.tr("Added to the queue: {0}").format(job_kinds.title(job)))

    def start_download(self, job: Job) -> None:
        """Puts a download into the queue; it is shown where it was asked for."""
        self.context.jobs.submit(job)
        self.status.say(self.tr("Added to the queue: {0}").format(job_kinds.title(job)))

    def search_hub(self) -> None:
        """Brings the search on the Hub to the front."""
        self.show_page("models")
        self.page("models").search_hub()

    def publish(self, path: str) -> None:
        """Opens the form to publish a model with, beside the window."""
        from app.dialogs.publish import PublishDialog

        dialog = PublishDialog(self.context, path, self)
        dialog.job_requested.connect(self.start_download)
        dialog.token_requested.connect(self.enter_token)
        dialog.show()

    def enter_token(self) -> None:
        """Shows where the Hub's token is entered."""
        self.show_page("settings")
        self.page("settings").show_token()

    def show_result(self, job_id: str) -> None:
        """Opens the page that shows the answer of a finished job on it."""
        key = job_kinds.KINDS[self.context.store.get(job_id).job.kind].page
        self.page(key).show_job(job_id)
        self.show_page(key)

    def choose_file(self) -> None:
        """Asks for a .gguf or .safetensors file and adds it to the list."""
        path, _ = QFileDialog.getOpenFileName(
            self, self.tr("Add a model file"), str(Path.home()), self.tr("Models (*.gguf *.safetensors);;All files (*)")
        )
        if path:
            self.add_models([path])

    def choose_folder(self) -> None:
        """Asks for a folder and adds it to the list."""
        path = QFileDialog.getExistingDirectory(self, self.tr("Add a model folder"), str(Path.home()))
        if path:
            self.add_models([path])

    def add_models(self, paths: list[str]) -> None:
        """Adds files and folders to the library and shows the Models page."""
        self.show_page("models")
        for path in paths:
            self.context.library.add(path)

    # ------------------------------------------------------------ composition

    def _compose(self) -> None:
        for row in PAGES:
            if row.key == "settings":
                self.rail.add_stretch()
            shortcut = f"Ctrl+{PAGES.index(row) + 1}"
            self.rail.add(row.key, QCoreApplication.translate("MainWindow", row.word), shortcut)
        middle = QVBoxLayout()
        middle.setSpacing(0)
        middle.addWidget(self.banner)
        middle.addWidget(self._stack, 1)
        upper = QHBoxLayout()
        upper.setSpacing(0)
        upper.addWidget(self.rail)
        upper.addLayout(middle, 1)
        whole = QVBoxLayout()
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addLayout(upper, 1)
        whole.addWidget(self.status)
        body = QWidget()
        body.setLayout(whole)
        self.setCentralWidget(body)

    def _make_drop_hint(self) -> QLabel:
        hint = QLabel(self.tr("Drop to add to your models"), self)
        hint.setObjectName("dropHint")
        hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        hint.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        hint.hide()
        return hint

    def _make_menus(self) -> None:
        file = self.menuBar().addMenu(self.tr("&File"))
        self._add_action(file, self.tr("Add &model file…"), self.choose_file, "Ctrl+O")
        self._add_action(file, self.tr("Add model &folder…"), self.choose_folder, "Ctrl+Shift+O")
        self._add_action(file, self.tr("&Search Hugging Face…"), self.search_hub, "Ctrl+K")
        self._add_action(file, self.tr("&Rescan"), self.context.library.rescan, "F5")
        file.addSeparator()
        self._add_action(file, self.tr("&Quit"), self.close, "Ctrl+Q")
        view = self.menuBar().addMenu(self.tr("&View"))
        for number, row in enumerate(PAGES, start=1):
            word = QCoreApplication.translate("MainWindow", row.word)
            self._add_action(view, f"&{number}  {word}", _bind(self.show_page, row.key), f"Ctrl+{number}")
        view.addSeparator()
        self._add_action(view, self.tr("Show or hide the &inspector"), self._toggle_inspector, "Ctrl+I")
        help_menu = self.menuBar().addMenu(self.tr("&Help"))
        self._add_action(help_menu, self.tr("Open &log"), lambda: _open(log_path()), "")
        self._add_action(help_menu, self.tr("Open &data folder"), lambda: _open(data_dir()), "")
        help_menu.addSeparator()
        self._add_action(help_menu, self.tr("&About Bitwright"), self._show_about, "")

    def _add_action(self, menu: QMenu, words: str, function: Callable[[], Any], shortcut: str) -> None:
        action = QAction(words, self)
        action.triggered.connect(lambda: function())
        if shortcut:
            action.setShortcut(QKeySequence(shortcut))
        menu.addAction(action)

    def _connect(self) -> None:
        context = self.context
        self.modules_loaded.connect(self.build_ahead, Qt.ConnectionType.QueuedConnection)
        self.rail.chosen.connect(self.show_page)
        self.status.job_clicked.connect(lambda: self.show_page("jobs"))
        context.jobs.progressed.connect(self._show_running)
        context.jobs.changed.connect(self._show_running)
        context.jobs.finished.connect(self._on_job_finished)
        context.library.arrived.connect(lambda path: self.status.say(self.tr("Added {0}").format(path)))
        context.library.refused.connect(lambda path, why: self.status.say(f"{path}: {why}"))
        context.settings.changed.connect(self._on_setting)
        context.settings.not_saved.connect(self._on_settings_not_saved)

    # ------------------------------------------------------------ reactions

    def _show_running(self) -> None:
        job, snapshot = self.context.jobs.running_job(), self.context.jobs.snapshot()
        if job is None:
            self.status.clear_job()
        else:
            left = snapshot.eta_s if snapshot else None
            self.status.show_job(job_kinds.title(job), fraction(snapshot), left)

    def _on_job_finished(self, job_id: str) -> None:
        record = self.context.store.get(job_id)
        name = job_kinds.title(record.job)
        if record.state == "failed" and record.error:
            self.status.say(self.tr("{0} failed: {1}").format(name, record.error.what))
        elif record.state == "cancelled":
            self.status.say(self.tr("{0} was cancelled").format(name))
        elif record.state == "paused":
            self.status.say(self.tr("{0} is paused").format(name))
        elif record.result:
            self._take(record, name)

    def _take(self, record: JobRecord, name: str) -> None:
        """Tells of a finished job, and takes the models it made into the library."""
        kind = job_kinds.KINDS[record.job.kind]
        made = kind.made(record.result)
        where = ", ".join(made)
        self.status.say(
            self.tr("{0} is done: {1}").format(name, where) if made else self.tr("{0} is done").format(name)
        )
        for path in made if kind.models else ():
            self.context.library.include(path)

    def _on_token(self) -> None:
        """Whoever the Hub takes us for has changed."""
        self.context.fits.renew()
        self.page("models").token_changed()

    def _on_setting(self, key: str) -> None:
        if key == "theme":
            self.context.theme.set_mode(self.context.settings.value("theme"))
        elif key == "downloads_at_once":
            self.context.jobs.set_room("network", self.context.settings.value(key))
            self.context.jobs.resume()

    def _on_settings_not_saved(self, reason: str) -> None:
        folder = self.context.settings.path.parent
        self.banner.show_message(
            self.tr(
                "The settings could not be saved: {0}. They hold until you quit. "
                "Check the disk and the permissions of {1}."
            ).format(reason, folder),
            self.tr("Open folder"),
            lambda: _open(folder),
        )

    def _toggle_inspector(self) -> None:
        page = self._stack.currentWidget()
        if hasattr(page, "toggle_inspector"):
            page.toggle_inspector()

    def _show_about(self) -> None:
        from app.dialogs.about import AboutDialog

        AboutDialog(self).open()

    # ------------------------------------------------------------ Qt events

    def paintEvent(self, event: QPaintEvent) -> None:
        """Announces the first paint."""
        super().paintEvent(event)
        if not self._was_painted:
            self._was_painted = True
            self.painted.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keeps the drop hint over the pages."""
        super().resizeEvent(event)
        self._drop_hint.setGeometry(self.rect().adjusted(96, 48, -24, -48))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Welcomes folders and model files."""
        if _dropped_paths(event):
            event.acceptProposedAction()
            self._drop_hint.show()
            self._drop_hint.raise_()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """Takes the hint away."""
        self._drop_hint.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Adds what was dropped."""
        self._drop_hint.hide()
        event.acceptProposedAction()
        self.add_models(_dropped_paths(event))

    def closeEvent(self, event: QCloseEvent) -> None:
        """Asks if a job runs, remembers the window, and ends every worker."""
        if self._may_close():
            self._state.save(self)
            self.context.jobs.shutdown()
            self.context.computing.stop()
            event.accept()
        else:
            event.ignore()

    def offer_downloads(self) -> None:
        """Offers to go on with what the end of the last session interrupted."""
        jobs = self.context.jobs
        waiting = jobs.interrupted_downloads()
        if not waiting:
            return

        def go_on() -> None:
            self.banner.hide()
            for job_id in waiting:
                jobs.go_on(job_id)

        many = self.tr("{0} downloads were interrupted. What has arrived is kept.").format(len(waiting))
        one = self.tr("{0} was interrupted. What has arrived is kept.").format(
            job_kinds.title(self.context.store.get(waiting[0]).job)
        )
        self.banner.show_message(one if len(waiting) == 1 else many, self.tr("Go on"), go_on)

    def close_unasked(self) -> None:
        """Closes in order, without asking about a running job."""
        self._asks = False
        self.close()

    def _may_close(self) -> bool:
        job = self.context.jobs.running_job()
        if job is None or not self._asks or not self.context.settings.value("confirm_quit_with_jobs"):
            return True
        if job_kinds.KINDS[job.kind].goes_on:
            return True  # nothing is lost: it is offered after the next start
        from app.dialogs.confirm import confirm_quit

        return confirm_quit(self, job_kinds.title(job))


def _bind(function: Callable[[str], None], argument: str) -> Callable[[], None]:
    return lambda: function(argument)


def _open(path: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


def _dropped_paths(event: QDropEvent) -> list[str]:
    """The local folders and model files among what is dragged."""
    paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
    return [str(path) for path in paths if path.is_dir() or path.suffix in {".gguf", ".safetensors"}]

"""The models on the Hugging Face Hub: search, what fits this computer, and the page of the one selected."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import QButtonGroup, QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app import job_kinds
from app.context import AppContext
from app.hub_fits import HubFits
from app.hub_search import HubSearch
from app.hub_shelf import HubShelf
from app.models.hub import Badge, HubRow
from app.widgets.empty_state import EmptyState
from app.widgets.error_words import sentences
from app.widgets.hub_filters import HubFilters
from app.widgets.hub_inspector import HubInspector
from app.widgets.hub_results import HubResults
from app.widgets.hub_states import HubStates
from app.widgets.page_header import fold_button
from app.widgets.split import InspectorSplit
from core.errors import ErrorReport
from core.hub.cache import RepoCache, cache_root
from core.jobs import DownloadJob, HubModel, HubPage, HubPageJob, SearchJob, Value

INSPECTOR_WIDTH = 440
INSPECTOR_SHARE = 0.4
# So long a model stays selected before its page is asked for: the arrow keys pass over the others.
REST_MS = 200
KEPT_PAGES = 50
SEARCH, FAVOURITES, RECENT = range(3)


class HubBrowser(QWidget):
    """job_requested: (DownloadJob). local_requested: the place of a model that is here. said: for the status line.

    token_requested: a token is to be entered.
    """

    job_requested = Signal(object)
    local_requested = Signal(str)
    token_requested = Signal()
    said = Signal(str)

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.search = HubSearch(context.hub, self)
        self.fits = HubFits(context.fits, context.settings.value("hub_context"), self)
        self.shelf = HubShelf(context.settings, self)
        self.filters = HubFilters(context.theme, self.fits.context)
        self.results = HubResults(context.theme)
        self.inspector = HubInspector(context.theme)
        self._pages: dict[tuple[str, str], HubPage] = {}
        self._asks_page = QObject(self)
        self._revision = "main"
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._ask_page)
        self._fold = fold_button(context.theme)
        self._scopes = QButtonGroup(self)
        self.states = HubStates(context.theme, self)
        for state in self.states.every:
            self.results.add_state(state)
        self._compose()
        self._connect()
        self._show_scope(SEARCH)

    # ------------------------------------------------------------ what others ask

    def tools(self) -> list[QWidget]:
        """The buttons for the head of the page."""
        return [self._fold]

    def toggle_inspector(self) -> None:
        """Folds the inspector away, or back."""
        self._fold.toggle()

    def begin(self) -> None:
        """Puts the cursor where the search is typed."""
        self._scopes.button(SEARCH).click()
        self.filters.focus()

    def selected(self) -> HubModel | None:
        """The model the inspector shows."""
        row = self.results.current()
        return row.model if row else None

    def refresh_page(self) -> None:
        """Asks for the page of the selected model anew: what is here has changed, or who the Hub takes us for."""
        self._pages.clear()
        self.fits.forget_failures()
        self.results.look_again()
        if self.selected() is not None and self.isVisible():
            self._rest.start()

    # ------------------------------------------------------------ composition

    def _compose(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(0)
        words = (self.tr("Search"), self.tr("Favourites"), self.tr("Recent"))
        for number, word in enumerate(words):
            button = QPushButton(word)
            button.setObjectName(("hub_scope_search", "hub_scope_favourites", "hub_scope_recent")[number])
            button.setCheckable(True)
            button.setProperty("segment", ("first", "middle", "last")[number])
            self._scopes.addButton(button, number)
            head.addWidget(button)
        head.addSpacing(8)
        head.addWidget(self.filters.query, 1)
        main = QWidget()
        layout = QVBoxLayout(main)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.results, 1)
        self.results.foot.addWidget(self.filters.judged)
        main.setMinimumWidth(320)
        self.inspector.setMinimumWidth(340)
        self._fold.toggled.connect(lambda _on: self._show_side())
        split = InspectorSplit("hub_split", main, self.inspector, INSPECTOR_WIDTH, INSPECTOR_SHARE)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(8)
        whole.addLayout(head)
        whole.addWidget(self.filters)
        whole.addSpacing(4)
        whole.addWidget(split, 1)

    def _connect(self) -> None:
        self.states.trending_wanted.connect(self._show_trending)
        self.states.clear_wanted.connect(self.filters.clear)
        self.states.again_wanted.connect(self.search.again)
        self.states.local_wanted.connect(lambda: self.local_requested.emit(""))
        self._scopes.idClicked.connect(self._show_scope)
        self.filters.changed.connect(self._look_for)
        self.filters.context_changed.connect(self._set_context)
        self.search.changed.connect(self._show_found)
        self.shelf.changed.connect(self._show_shelf)
        self.fits.found.connect(self._show_badge)
        self.results.seen.connect(self.fits.want)
        self.results.more_wanted.connect(self.search.more)
        self.results.selected.connect(self._on_selected)
        self.results.starred.connect(lambda row: self._star(row.model) if row else None)
        self.inspector.asked.connect(self._act)
        self.inspector.revision_chosen.connect(self._choose_revision)
        self.inspector.link_followed.connect(_browse)
        self.context.jobs.finished.connect(self._on_job)

    # ------------------------------------------------------------ searching

    def _look_for(self, job: SearchJob) -> None:
        if self._scopes.checkedId() != SEARCH:
            self._scopes.button(SEARCH).setChecked(True)
        self.search.look_for(job)

    def _show_trending(self) -> None:
        self.filters.sort.setCurrentIndex(self.filters.sort.findData("trending"))
        self.search.look_for(self.filters.job())

    def _show_scope(self, number: int) -> None:
        self._scopes.button(number).setChecked(True)
        self.results.more.hide()
        self.results.note.say("")
        if number == SEARCH:
            self._show_found()
        else:
            self._show_shelf()

    def _show_shelf(self) -> None:
        """The favourites, or the recent ones; neither needs a network."""
        self.results.model.set_favourites([model.repo for model in self.shelf.favourites()])
        self._show_star()
        scope = self._scopes.checkedId()
        if scope == SEARCH:
            return
        models = self.shelf.favourites() if scope == FAVOURITES else self.shelf.recent()
        self._set_models(models)
        self.results.count.setText(self.tr("{0} models").format(len(models)))
        empty = self.states.no_favourites if scope == FAVOURITES else self.states.no_recent
        self.results.show_state(None if models else empty)
        self._show_side()

    def _show_found(self) -> None:
        if self._scopes.checkedId() != SEARCH:
            return
        self._set_models(self.search.models())
        self.results.more.setVisible(self.search.has_more)
        self.results.more.setEnabled(not self.search.is_busy)
        self.results.count.setText(self._count_words())
        self.results.show_state(self._state())
        error = self.search.error
        self.results.note.say(" ".join(sentences(error)) if error and self.search.models() else "")
        self._show_side()

    def _set_models(self, models: tuple[HubModel, ...]) -> None:
        row = self.results.current()
        self.results.model.set_models(models)
        if row is not None:
            self.results.select(row.name)

    def _state(self) -> EmptyState | None:
        """The words in the place of the table, None where there are models to show."""
        search = self.search
        if search.models() or (search.is_busy and search.error is None):
            return None
        if search.error is not None:
            return self.states.of_failure(search.error)
        return self.states.begin if search.job is None else self.states.none

    def _count_words(self) -> str:
        if self.search.is_busy:
            return self.tr("Searching…")
        count = len(self.search.models())
        return (
            self.tr("The first {0} models").format(count)
            if self.search.has_more
            else self.tr("{0} models").format(count)
        )

    def _set_context(self, tokens: int) -> None:
        self.context.settings.set("hub_context", tokens)
        self.fits.set_context(tokens)
        self.results.model.forget_badges()
        self.results.look_again()
        if (model := self.selected()) is not None:
            self.inspector.show_badge(self.fits.badge(model.repo))

    def _show_badge(self, repo: str, badge: Badge) -> None:
        self.results.model.set_badge(repo, badge)
        model = self.selected()
        if model is not None and model.repo == repo:
            self.inspector.show_badge(badge)

    # ------------------------------------------------------------ one model

    def _on_selected(self, row: HubRow | None) -> None:
        self._rest.stop()
        self._revision = "main"
        self._show_side()
        if row is None:
            return
        self.inspector.show_model(row.model, self.fits.badge(row.name))
        self._show_star()
        self.results.look_again()
        if page := self._pages.get((row.name, self._revision)):
            self.inspector.show_page(page)
        else:
            self._rest.start()

    def _show_side(self) -> None:
        self.inspector.setVisible(self._fold.isChecked() and self.selected() is not None)

    def _ask_page(self) -> None:
        model = self.selected()
        if model is not None:
            job = HubPageJob(repo=model.repo, revision=self._revision)
            self.context.hub.ask(job, self._take_page, self._refuse_page, owner=self._asks_page)

    def _take_page(self, answer: Value) -> None:
        assert isinstance(answer, HubPage)
        while len(self._pages) >= KEPT_PAGES:
            del self._pages[next(iter(self._pages))]
        self._pages[(answer.repo, answer.revision)] = answer
        model = self.selected()
        if model is not None and model.repo == answer.repo:
            self.inspector.show_page(answer)
            self.shelf.visit(answer.model)

    def _refuse_page(self, report: ErrorReport) -> None:
        self.inspector.show_problem(report)

    def _choose_revision(self, name: str) -> None:
        self._revision = name
        self._ask_page()

    def _show_star(self) -> None:
        model = self.selected()
        self.inspector.show_favourite(model is not None and self.shelf.is_favourite(model.repo))

    def _star(self, model: HubModel) -> None:
        if self.shelf.is_favourite(model.repo):
            self.shelf.unmark(model.repo)
        else:
            self.shelf.mark(model)

    def _act(self, key: str) -> None:
        model = self.inspector.model
        if model is None:
            return
        match key:
            case "star":
                self._star(model)
            case "open":
                _browse(self.inspector.page.url if self.inspector.page else f"https://huggingface.co/{model.repo}")
            case "retry":
                self.inspector.show_model(model, self.fits.badge(model.repo))
                self._ask_page()
            case "token":
                self.token_requested.emit()
            case "local":
                self.local_requested.emit(self._place(model.repo))
            case "download":
                self.job_requested.emit(self._download(""))
            case "folder":
                self._download_into_folder()
            case "copy":
                QGuiApplication.clipboard().setText(job_kinds.command(self._download("")))
                self.said.emit(self.tr("The command is on the clipboard"))

    def _download(self, output: str) -> DownloadJob:
        page, variant = self.inspector.page, self.inspector.choice.chosen
        assert page is not None
        return DownloadJob(
            repo=page.repo,
            revision=page.revision,
            include=variant.include if variant else (),
            output=output,
            limit=self.context.settings.value("download_limit") << 20,
        )

    def _download_into_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, self.tr("Download into a folder"))
        if folder and self.inspector.page is not None:
            name = self.inspector.page.repo.partition("/")[2]
            self.job_requested.emit(self._download(f"{folder}/{name}"))

    def _place(self, repo: str) -> str:
        """Where a model that is here lies."""
        page, variant = self.inspector.page, self.inspector.choice.chosen
        assert page is not None
        folder = RepoCache(cache_root(), repo).snapshot(page.commit)
        return str(folder / variant.name if variant else folder)

    def _on_job(self, job_id: str) -> None:
        """A download has ended: what is here is another."""
        if isinstance(self.context.store.get(job_id).job, DownloadJob):
            self.refresh_page()

    # ------------------------------------------------------------ Qt events

    def showEvent(self, event: QShowEvent) -> None:
        """What is in sight is judged."""
        super().showEvent(event)
        self.results.look_again()

    def hideEvent(self, event: QHideEvent) -> None:
        """Nobody waits for badges that nobody sees."""
        super().hideEvent(event)
        self.fits.want([])


def _browse(address: str) -> None:
    QDesktopServices.openUrl(QUrl(address))

"""The page of one model on the Hub: what it is, whether it runs here, what to fetch of it, its card and its files."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import text
from app.models import hub_words
from app.models.columns import RowsFilter
from app.models.hub import Badge
from app.models.hub_files import FitForms, HubFiles
from app.theme import Theme
from app.widgets.card_view import CardView
from app.widgets.column_widths import Columns
from app.widgets.elided_label import ElidedLabel
from app.widgets.filter_table import FilterTable, TableView
from app.widgets.hub_choice import HubChoice
from app.widgets.note_line import NoteLine
from app.widgets.problem_box import ProblemBox
from core.errors import ErrorReport
from core.jobs import HubModel, HubPage


class HubInspector(QWidget):
    """asked: a key of what the user wants: download, folder, star, open, retry, token, local, copy.

    revision_chosen: another branch or tag. link_followed: an address in the card.
    """

    asked = Signal(str)
    revision_chosen = Signal(str)
    link_followed = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.model: HubModel | None = None
        self.page: HubPage | None = None
        self._badge = Badge()
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self._facts = QLabel()
        self._facts.setProperty("role", "caption")
        self._facts.setWordWrap(True)
        self.verdict = QLabel()
        self.verdict.setObjectName("hub_verdict")
        self.verdict.setWordWrap(True)
        self.access = NoteLine(theme, "lock", "warn")
        self.access.clicked.connect(lambda: self.asked.emit("open"))
        self.again = QPushButton()
        self.again.setObjectName("hub_again")
        self.again.clicked.connect(lambda: self.asked.emit("retry"))
        self.token = QPushButton(self.tr("Enter a token"))
        self.token.setObjectName("hub_token")
        self.token.clicked.connect(lambda: self.asked.emit("token"))
        self.problem = ProblemBox(theme)
        self._amount = QLabel()
        self._amount.setProperty("role", "caption")
        self._amount.setWordWrap(True)
        self.files = HubFiles(theme.icon, self)
        self.forms = FitForms(theme.icon, self)
        self.card = CardView(theme)
        self.card.link_followed.connect(self.link_followed)
        self.choice = HubChoice(theme)
        self.choice.changed.connect(self._show_actions)
        self.choice.revision_chosen.connect(self.revision_chosen)
        self._compose()

    # ------------------------------------------------------------ what is shown

    def show_model(self, model: HubModel, badge: Badge) -> None:
        """What a search knows of a model, until its page comes."""
        self.model, self.page = model, None
        self._title.setText(model.repo)
        self._facts.setText(hub_words.figures(model))
        self.choice.forget()
        self.card.clear()
        self.files.set_rows(())
        self._clear_notes()
        self._amount.setText(self.tr("Asking the Hub for its page…"))
        self.show_badge(badge)
        self._show_actions()

    def show_page(self, page: HubPage) -> None:
        """The page of the model that is shown."""
        self.model, self.page = page.model, page
        self._facts.setText(hub_words.figures(page.model))
        self._clear_notes()
        self._show_verdict()
        self.files.set_rows(page.files)
        no_card = self.tr("*This model has no card.*")
        closed = self.tr("*The card can be read once the terms are accepted.*")
        self.card.show_card(page.card or (closed if page.access == "ask" else no_card), page.url)
        self.choice.show_page(page, self._badge.result)
        self._show_access(page)
        self._show_actions()

    def show_problem(self, report: ErrorReport) -> None:
        """Why there is no page, in its place."""
        self._amount.clear()
        self.problem.show_report(report)
        self.again.setText(self.tr("Try again"))
        self.again.show()
        self.token.setVisible(report.kind in {"HubGated", "HubTokenRefused", "HubNotFound"})

    def show_badge(self, badge: Badge) -> None:
        """Whether it runs here."""
        self._badge = badge
        self.forms.set_forms(badge.result.forms if badge.result else ())
        self._show_verdict()
        if self.page is not None and badge.result is not None:
            self.choice.mark(badge.result)

    def show_favourite(self, is_favourite: bool) -> None:
        """Whether it is marked."""
        self.star.setChecked(is_favourite)

    # ------------------------------------------------------------ composition

    def _compose(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(self._make_head())
        layout.addWidget(self._facts)
        layout.addWidget(self.verdict)
        layout.addWidget(self.access)
        layout.addWidget(self.problem)
        retry = QHBoxLayout()
        retry.addWidget(self.again)
        retry.addWidget(self.token)
        retry.addStretch(1)
        layout.addLayout(retry)
        layout.addWidget(self.choice)
        layout.addLayout(self._make_buttons())
        layout.addWidget(self._amount)
        layout.addWidget(self._make_tabs(), 1)

    def _make_head(self) -> QHBoxLayout:
        self.star = self._tool("favourite", self.tr("Favourite (Ctrl+D in the list)"), "star")
        self.star.setCheckable(True)
        self.open = self._tool("open", self.tr("Open its page in the browser"), "open")
        head = QHBoxLayout()
        head.setSpacing(4)
        head.addWidget(self._title, 1)
        head.addWidget(self.star)
        head.addWidget(self.open)
        return head

    def _tool(self, icon: str, words: str, key: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName(f"hub_{key}")
        button.setToolTip(words)
        button.setAccessibleName(words)
        button.clicked.connect(lambda: self.asked.emit(key))
        self._theme.decorate(button, icon)
        return button

    def _make_buttons(self) -> QHBoxLayout:
        self.download = QPushButton()
        self.download.setObjectName("hub_download")
        self.download.setProperty("primary", True)
        self._theme.decorate(self.download, "download", "on_accent")
        self.download.clicked.connect(lambda: self.asked.emit("download"))
        self.local = QPushButton(self.tr("Show on this computer"))
        self.local.setObjectName("hub_local")
        self.local.clicked.connect(lambda: self.asked.emit("local"))
        self.more = self._tool("more", self.tr("More"), "more")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.more)
        menu.addAction(self.tr("Download into a folder…"), lambda: self.asked.emit("folder"))
        menu.addAction(self.tr("Copy as command"), lambda: self.asked.emit("copy"))
        self.more.setMenu(menu)
        row = QHBoxLayout()
        row.setSpacing(8)
        for widget in (self.download, self.local, self.more):
            row.addWidget(widget)
        row.addStretch(1)
        return row

    def _make_tabs(self) -> QTabWidget:
        files = FilterTable(self._theme, self.files, "hub_files")
        files.set_texts(
            {"filter": self.tr("Filter files"), "name": self.tr("Files of the model"), "rows": self.tr("{0} files")}
        )
        use, here = self.files.column_of("use"), self.files.column_of("here")
        files.view.set_columns(Columns((128, 72, 102, 56), rest=use, spare=(here,)))
        forms = TableView("hub_forms")
        forms.setModel(RowsFilter(self.forms, self))
        forms.setAccessibleName(self.tr("Forms of the model and whether they run here"))
        weights, longest = self.forms.column_of("weights"), self.forms.column_of("context")
        forms.set_columns(Columns((120, 76, 76, 104, 84), spare=(weights, longest)))
        self.forms.modelReset.connect(forms.fit)
        self.tabs = tabs = QTabWidget()
        tabs.setObjectName("hub_tabs")
        tabs.setDocumentMode(True)
        tabs.tabBar().setDrawBase(False)
        for widget, words in ((self.card, self.tr("Card")), (files, self.tr("Files")), (forms, self.tr("Memory"))):
            tabs.addTab(widget, words)
        return tabs

    # ------------------------------------------------------------ details

    def _clear_notes(self) -> None:
        self.problem.show_report(None)
        self.access.say("")
        self.again.hide()
        self.token.hide()

    def _show_access(self, page: HubPage) -> None:
        if page.access == "ask":
            self.access.say(
                self.tr("This model is gated: sign in on its page, accept its terms there, then check again."),
                self.tr("Open its page"),
            )
            self.again.setText(self.tr("Check again"))
            self.again.show()
            self.token.show()

    def _show_actions(self) -> None:
        """The button for what can be done now, and what it would fetch."""
        page, variant = self.page, self.choice.chosen
        may = page is not None and page.access != "ask" and not page.problem
        needed = variant.bytes if variant else page.needed_bytes if page else 0
        is_here = bool(page and (variant.here if variant else self._all_here(page)))
        self.download.setText(self.tr("Download {0}").format(text.size(needed)) if needed else self.tr("Download"))
        self.download.setEnabled(may)
        self.download.setVisible(not (may and is_here))
        self.local.setVisible(may and is_here)
        self.more.setVisible(may)
        if page is not None:
            self._amount.setText(hub_words.amount(page, is_here))

    def _all_here(self, page: HubPage) -> bool:
        needed = [file for file in page.files if not file.skipped]
        return bool(needed) and all(file.here for file in needed)

    def _show_verdict(self) -> None:
        """In no room where nothing is known, and not where access is to be asked for: that says why."""
        words = hub_words.verdict(self._badge)
        self.verdict.setText(words)
        self.verdict.setVisible(bool(words) and not (self.page and self.page.access == "ask"))

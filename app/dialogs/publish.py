"""The form to publish a model with: where, for whom, and before anything is sent the card and the files as they go."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app import job_kinds, text
from app.context import AppContext
from app.models.columns import RowsFilter
from app.models.upload import UploadFiles
from app.models.window_words import in_window
from app.widgets.column_widths import Columns
from app.widgets.error_words import sentences
from app.widgets.filter_table import TableView, monospace
from app.widgets.note_line import NoteLine
from core.errors import ErrorReport
from core.hub.cache import is_repo
from core.jobs import AccountJob, AccountResult, UploadJob, UploadResult, Value

SIZE = (720, 620)
# After the last key in the name, before the card is written for it anew.
PAUSE_MS = 400


class PublishDialog(QDialog):
    """Not modal: the window goes on beside it. job_requested: (UploadJob). token_requested: one is to be entered.

    For tests: objectNames `publish_owner`, `publish_name`, `publish_private`, `publish_public`, `publish_card`,
    `publish_files`, `publish_button`.
    """

    job_requested = Signal(object)
    token_requested = Signal()

    def __init__(self, context: AppContext, source: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.source = source
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Publish {0}").format(job_kinds.short(source)))
        self.resize(*SIZE)
        self.preview: UploadResult | None = None
        self._account: AccountResult | None = None
        self._written = ""
        self._asks_account = QObject(self)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._ask_preview)
        self._compose()
        self._connect()
        self._ask_preview()
        context.hub.ask(AccountJob(), self._take_account, self._refuse_account, owner=self._asks_account)

    # ------------------------------------------------------------ what is asked for

    def repo(self) -> str:
        """The repository's id as it is entered."""
        return f"{self.owner.currentText().strip()}/{self.name.text().strip()}"

    def job(self) -> UploadJob:
        """The upload as it is entered; the card goes with it only where it was changed by hand."""
        card = self.card.toPlainText()
        return UploadJob(
            source=self.source,
            repo=self.repo(),
            private=self.private.isChecked(),
            card=card if card != self._written else "",
            base=self.base.text().strip() if is_repo(self.base.text().strip()) else "",
        )

    # ------------------------------------------------------------ composition

    def _compose(self) -> None:
        self.problem = NoteLine(self.context.theme, "error", "bad")
        self.note = NoteLine(self.context.theme, "info", "muted")
        self.note.clicked.connect(self.token_requested)
        self.warning = NoteLine(self.context.theme, "warning", "warn")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 16, 24, 16)
        layout.setSpacing(12)
        layout.addLayout(self._make_form())
        for line in (self.note, self.warning, self.problem):
            layout.addWidget(line)
        layout.addWidget(self._make_tabs(), 1)
        layout.addLayout(self._make_buttons())

    def _make_form(self) -> QGridLayout:
        self.owner = QComboBox()
        self.owner.setObjectName("publish_owner")
        self.owner.setEditable(True)
        self.owner.setMinimumWidth(160)
        self.name = QLineEdit(_proposed_name(self.source))
        self.name.setObjectName("publish_name")
        self.private = QRadioButton(self.tr("&Private: only you and those you invite see it"))
        self.private.setObjectName("publish_private")
        self.private.setChecked(True)
        self.public = QRadioButton(self.tr("P&ublic: everybody sees it"))
        self.public.setObjectName("publish_public")
        group = QButtonGroup(self)
        group.addButton(self.private)
        group.addButton(self.public)
        repository, base = QLabel(self.tr("&Repository")), QLabel(self.tr("&Made from"))
        repository.setBuddy(self.owner)
        self.owner.setAccessibleName(self.tr("Owner of the repository"))
        self.owner.lineEdit().setPlaceholderText(self.tr("owner"))
        self.name.setAccessibleName(self.tr("Name of the repository"))
        self.base = QLineEdit()
        self.base.setObjectName("publish_base")
        self.base.setPlaceholderText(self.tr("owner/name of the original on the Hub, where it is not known"))
        base.setBuddy(self.base)
        visible = QLabel(self.tr("Visibility"))
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.owner)
        row.addWidget(QLabel("/"))
        row.addWidget(self.name, 1)
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        grid.addWidget(repository, 0, 0)
        grid.addLayout(row, 0, 1)
        grid.addWidget(base, 1, 0)
        grid.addWidget(self.base, 1, 1)
        grid.addWidget(visible, 2, 0)
        grid.addWidget(self.private, 2, 1)
        grid.addWidget(self.public, 3, 1)
        return grid

    def _make_tabs(self) -> QTabWidget:
        self.card = QPlainTextEdit()
        self.card.setObjectName("publish_card")
        self.card.setFont(monospace())
        self.card.setAccessibleName(self.tr("Model card, as Markdown"))
        self.card.setPlaceholderText(self.tr("The card is being written…"))
        self.files = UploadFiles(self)
        view = TableView("publish_files")
        view.setModel(RowsFilter(self.files, self))
        view.setAccessibleName(self.tr("Files to publish"))
        view.set_columns(Columns((200, 80, 140), rest=self.files.column_of("fate")))
        self.files.modelReset.connect(view.fit)
        tabs = QTabWidget()
        tabs.setDocumentMode(True)
        tabs.tabBar().setDrawBase(False)
        tabs.addTab(self.card, self.tr("Card"))
        tabs.addTab(view, self.tr("Files"))
        return tabs

    def _make_buttons(self) -> QHBoxLayout:
        self.amount = QLabel()
        self.amount.setProperty("role", "caption")
        close = QPushButton(self.tr("Close"))
        close.clicked.connect(self.close)
        self.button = QPushButton(self.tr("Publish"))
        self.button.setObjectName("publish_button")
        self.button.setProperty("primary", True)
        self.button.setEnabled(False)
        self.context.theme.decorate(self.button, "publish", "on_accent")
        self.button.clicked.connect(self._publish)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.amount, 1)
        row.addWidget(close)
        row.addWidget(self.button)
        return row

    def _connect(self) -> None:
        self.owner.currentTextChanged.connect(self._on_edited)
        self.name.textChanged.connect(self._on_edited)
        self.base.textChanged.connect(self._on_edited)

    # ------------------------------------------------------------ reactions

    def _on_edited(self) -> None:
        self._show_button()
        self._pause.start()

    def _ask_preview(self) -> None:
        """What would be published, written for the id as far as there is one; nothing is sent."""
        repo = self.repo() if is_repo(self.repo()) else f"owner/{_proposed_name(self.source)}"
        job = self.job().model_copy(update={"repo": repo, "dry_run": True})
        self.context.hub.ask(job, self._take_preview, self._refuse, owner=self)

    def _take_preview(self, answer: Value) -> None:
        assert isinstance(answer, UploadResult)
        self.preview = answer
        if self.card.toPlainText() == self._written:
            self._written = answer.card
            self.card.setPlainText(answer.card)
            self._written = self.card.toPlainText()  # as the editor keeps it
        self.files.show_preview(answer)
        self.amount.setText(self.tr("{0} files, {1}").format(len(answer.files), text.size(answer.bytes)))
        self.warning.say("\n".join(map(in_window, answer.warnings)))
        self.problem.say("")
        self._show_button()

    def _refuse(self, report: ErrorReport) -> None:
        self.preview = None
        self.problem.say(" ".join(sentences(report)))
        self._show_button()

    def _take_account(self, answer: Value) -> None:
        assert isinstance(answer, AccountResult)
        self._account = answer
        typed = self.owner.currentText()
        self.owner.addItems(answer.owners)
        if typed:
            self.owner.setCurrentText(typed)
        if not answer.source:
            self.note.say(self.tr("To publish, the Hub has to know whose repository it is."), self.tr("Enter a token"))
        elif answer.may_write is False:
            self.note.say(self.tr("The token in use may only read."), self.tr("Enter another one"))
        self._show_button()

    def _refuse_account(self, report: ErrorReport) -> None:
        self.note.say(" ".join(sentences(report)))

    def _show_button(self) -> None:
        may = self._account is not None and bool(self._account.source) and self._account.may_write is not False
        self.button.setEnabled(may and self.preview is not None and is_repo(self.repo()))

    def _publish(self) -> None:
        self.job_requested.emit(self.job())
        self.close()


def _proposed_name(source: str) -> str:
    """A name for the repository of a model, from that of its file or folder."""
    name = job_kinds.short(source)
    return f"{name}-GGUF" if Path(source).suffix == ".gguf" else name

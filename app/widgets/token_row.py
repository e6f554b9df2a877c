"""Where the Hub's token is entered: a field that hides it, what is in use now and from where, and how to remove it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from app.theme import Theme
from app.widgets.error_words import sentences
from core.errors import ErrorReport
from core.jobs import AccountResult

FIELD_WIDTH = 200


class TokenRow(QWidget):
    """entered: the token, which is forgotten here at once. removed: out of the keyring. page_asked: where to get one.

    check_asked: whose it is. For tests: objectNames `token_field`, `token_keep`, `token_check`, `token_remove`,
    `token_state`.
    """

    entered = Signal(str)
    removed = Signal()
    check_asked = Signal()
    page_asked = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.field = QLineEdit()
        self.field.setObjectName("token_field")
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setPlaceholderText("hf_…")
        self.field.setFixedWidth(FIELD_WIDTH)
        self.field.setAccessibleName(self.tr("Access token"))
        self.field.setAccessibleDescription(self.tr("Kept in the keyring of this system and nowhere else"))
        self.keep = QPushButton(self.tr("Keep"))
        self.keep.setObjectName("token_keep")
        self.keep.setToolTip(self.tr("Keep it in the keyring of this system"))
        self.keep.setEnabled(False)
        self.check = QPushButton(self.tr("Check"))
        self.check.setObjectName("token_check")
        self.check.setToolTip(self.tr("Ask the Hub whose token it is, and what it may do"))
        self.check.clicked.connect(self.check_asked)
        self.remove = QPushButton(self.tr("Remove"))
        self.remove.setObjectName("token_remove")
        self.remove.setToolTip(self.tr("Take it out of the keyring"))
        self.page = QPushButton(self.tr("Get a token"))
        self.page.setProperty("link", True)
        self.state = QLabel()
        self.state.setObjectName("token_state")
        self.state.setWordWrap(True)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.setSpacing(8)
        for widget in (self.field, self.keep, self.check, self.remove, self.page):
            row.addWidget(widget)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.state)
        self.field.textChanged.connect(lambda words: self.keep.setEnabled(bool(words.strip())))
        self.field.returnPressed.connect(self._enter)
        self.keep.clicked.connect(self._enter)
        self.remove.clicked.connect(self.removed)
        self.page.clicked.connect(self.page_asked)

    def focus(self) -> None:
        """Into the field."""
        self.field.setFocus()

    def show_state(self, account: AccountResult | None, error: ErrorReport | None, keyring_problem: str) -> None:
        """What is known: whose token is in use, why nobody can tell, why none can be kept."""
        source = account.source if account else ""
        self.remove.setVisible(source == "keyring" or (error is not None and not keyring_problem))
        self.check.setVisible(bool(source))
        self.field.setEnabled(not keyring_problem)
        lines = [" ".join(sentences(error)) if error else self._words(account)]
        if keyring_problem:
            lines.append(
                self.tr(
                    "No token can be kept here: {0}. Set HF_TOKEN, or run `hf auth login`; both are used as well."
                ).format(keyring_problem.rstrip("."))
            )
        self.state.setText("\n".join(lines))

    def say(self, words: str) -> None:
        """Says something else in the place of the state."""
        self.state.setText(words)

    def _words(self, account: AccountResult | None) -> str:
        if account is None:
            return ""
        if not account.source:
            return self.tr("No token is in use. Public models need none.")
        places = {
            "environment": self.tr("from the variable HF_TOKEN"),
            "login": self.tr("of `hf auth login`"),
            "keyring": self.tr("from the keyring"),
        }
        of = self.tr(", of the account {0}").format(account.name) if account.name else ""
        words = self.tr("In use: the token {0}{1}.").format(places[account.source], of)
        if account.may_write is False:
            words += " " + self.tr("It may read only: publishing needs one that may write.")
        if account.source == "environment":
            words += " " + self.tr("It comes before one that is kept here.")
        return words

    def _enter(self) -> None:
        token = self.field.text().strip()
        self.field.clear()
        if token:
            self.entered.emit(token)

"""The Settings page, made from the table of settings: one section per heading, one row per setting."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, QSignalBlocker, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QGridLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.context import AppContext
from app.settings import HUB, ROWS, Setting
from app.token_keeper import TokenKeeper
from app.widgets.page_header import MARGIN, PageHeader
from app.widgets.setting_editors import EDITORS, Editor
from app.widgets.token_row import TokenRow
from core.hub.address import endpoint

READING_WIDTH = 720
LABEL_WIDTH = 160


class SettingsPage(QWidget):
    """Every change is applied and saved at once. token_accepted: the Hub is asked with another token from now on."""

    token_accepted = Signal()

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.editors: dict[str, Editor] = {}
        self.token = TokenRow(context.theme)
        self.keeper = TokenKeeper(context.hub, self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 16, 0, 0)
        layout.setSpacing(16)
        layout.addWidget(self._make_header())
        layout.addWidget(self._make_body(), 1)
        context.settings.changed.connect(self._on_changed)
        context.computing.changed.connect(self._show_devices)
        self._show_devices()

    def activated(self) -> None:
        """Looks which token is in use; the Hub is not asked."""
        self.keeper.look()

    def show_token(self) -> None:
        """Where the token is entered."""
        self._area.ensureWidgetVisible(self.token, 0, MARGIN)
        self.token.focus()

    def _make_header(self) -> PageHeader:
        header = PageHeader(self.tr("Settings"))
        reset = QPushButton(self.tr("Reset settings…"))
        reset.setToolTip(self.tr("Every setting gets its default; your list of models is kept"))
        reset.clicked.connect(self._reset)
        self.context.theme.decorate(reset, "reset")
        header.add(reset)
        header.setMaximumWidth(READING_WIDTH - MARGIN)
        return header

    def _make_body(self) -> QScrollArea:
        inside = QWidget()
        inside.setProperty("transparent", True)
        inside.setMaximumWidth(READING_WIDTH)
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(0, 0, MARGIN, MARGIN)
        layout.setSpacing(8)
        for section in dict.fromkeys(row.section for row in ROWS if row.section):
            heading = QLabel(_words(section))
            heading.setProperty("role", "section")
            layout.addWidget(heading)
            layout.addLayout(self._make_section(section))
            if section == HUB:
                layout.addLayout(self._make_token())
            layout.addSpacing(16)
        saved = QLabel(self.tr("Kept in {0}").format(self.context.settings.path))
        saved.setProperty("role", "caption")
        saved.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(saved)
        layout.addStretch(1)
        self._area = area = QScrollArea()
        area.setWidgetResizable(True)
        area.setAlignment(Qt.AlignmentFlag.AlignLeft)
        area.setWidget(inside)
        return area

    def _make_token(self) -> QGridLayout:
        """The row of the Hub's token, which is no setting: it goes to the keyring."""
        self.token.entered.connect(self.keeper.keep)
        self.token.removed.connect(self.keeper.forget)
        self.token.check_asked.connect(self.keeper.check)
        self.token.page_asked.connect(lambda: QDesktopServices.openUrl(QUrl(f"{endpoint()}/settings/tokens")))
        self.keeper.changed.connect(self._show_token)
        self.keeper.accepted.connect(self.token_accepted)
        label = QLabel(self.tr("Access token"))
        label.setFixedWidth(LABEL_WIDTH)
        label.setContentsMargins(0, 6, 0, 0)
        label.setBuddy(self.token.field)
        explanation = QLabel(
            self.tr("For gated and private models, and to publish. Kept in the keyring of this system, nowhere else.")
        )
        explanation.setProperty("role", "caption")
        explanation.setWordWrap(True)
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setColumnMinimumWidth(0, LABEL_WIDTH)
        grid.setColumnStretch(1, 1)
        grid.addWidget(label, 0, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.token, 0, 1)
        grid.addWidget(explanation, 1, 1)
        return grid

    def _show_token(self) -> None:
        if self.keeper.is_busy:
            self.token.say(self.tr("Asking…"))
        else:
            self.token.show_state(self.keeper.account, self.keeper.error, self.keeper.keyring_problem)

    def _make_section(self, section: str) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(4)
        grid.setColumnMinimumWidth(0, LABEL_WIDTH)
        grid.setColumnStretch(1, 1)
        for row in (row for row in ROWS if row.section == section):
            self._add_row(grid, row)
        return grid

    def _add_row(self, grid: QGridLayout, row: Setting) -> None:
        editor = EDITORS[row.kind](row, self.context.theme)
        editor.show_value(self.context.settings.value(row.key))
        editor.edited.connect(lambda value: self.context.settings.set(row.key, value))
        editor.setAccessibleName(_words(row.label))
        editor.setAccessibleDescription(_words(row.help))
        self.editors[row.key] = editor
        label = QLabel(_words(row.label))
        label.setFixedWidth(LABEL_WIDTH)
        label.setWordWrap(True)
        label.setContentsMargins(0, 6, 0, 0)
        label.setBuddy(editor.focus_target())
        explanation = QLabel(_words(row.help))
        explanation.setProperty("role", "caption")
        explanation.setWordWrap(True)
        explanation.setContentsMargins(0, 0, 0, 8)
        at = grid.rowCount()
        grid.addWidget(label, at, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(editor, at, 1)
        grid.addWidget(explanation, at + 1, 1)

    def _show_devices(self) -> None:
        """Where there is no GPU, there is nothing to choose."""
        self.editors["device"].setEnabled(self.context.computing.has_cuda)

    def _on_changed(self, key: str) -> None:
        if key in self.editors:
            with QSignalBlocker(self.editors[key]):
                self.editors[key].show_value(self.context.settings.value(key))

    def _reset(self) -> None:
        from app.dialogs.confirm import confirm_reset

        if confirm_reset(self):
            self.context.settings.reset()


def _words(marked: str) -> str:
    return QCoreApplication.translate("Settings", marked)

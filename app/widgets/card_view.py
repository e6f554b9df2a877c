"""A model card on the screen: text and links alone; nothing is loaded for it, from the network or from the disk."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, Qt, QUrl, Signal
from PySide6.QtGui import QTextBlockFormat, QTextCursor, QTextDocument, QTextOption
from PySide6.QtWidgets import QFrame, QLabel, QTextBrowser, QVBoxLayout, QWidget

from app.card_text import safe_card, safe_link
from app.theme import Theme
from app.widgets.chat_style import style

FEATURES = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML


class _Text(QTextBrowser):
    def loadResource(self, kind: int, name: QUrl) -> object:
        """Nothing is loaded, wherever it is."""
        return QByteArray()


class CardView(QWidget):
    """link_followed: the address of a link, on the web, that the user clicked."""

    link_followed = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._page = ""
        self._source = ""
        self._text = _Text()
        self._text.setObjectName("hub_card")
        self._text.setAccessibleName(self.tr("Model card"))
        self._text.setFrameShape(QFrame.Shape.NoFrame)
        self._text.setOpenLinks(False)
        self._text.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self._text.anchorClicked.connect(self._follow)
        self._text.highlighted.connect(self._show_target)
        self._note = QLabel()
        self._note.setProperty("role", "caption")
        self._note.setWordWrap(True)
        self._note.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._text, 1)
        layout.addWidget(self._note)
        theme.follow(self, self._render)

    def show_card(self, source: str, page: str) -> None:
        """Shows a card's Markdown. page: the model's address, to which its links are relative."""
        self._source, self._page = source, page
        self._render()

    def clear(self) -> None:
        """Nothing is shown."""
        self.show_card("", "")

    def words(self) -> str:
        """The text as it is seen, and what is said below it."""
        return f"{self._text.toPlainText()}\n{self._note.text()}"

    def _render(self) -> None:
        card = safe_card(self._source)
        # Read and styled out of sight: in a view every block would be laid out anew for each change.
        document = QTextDocument(self._text)  # the view takes the old one away
        document.setDefaultFont(self._text.font())
        document.setMarkdown(card.markdown, FEATURES)
        cursor = QTextCursor(document)
        cursor.beginEditBlock()
        style(document, self._theme)
        _wrap_code(document)
        cursor.endEditBlock()
        self._text.setDocument(document)
        notes = []
        if card.is_cut:
            notes.append(self.tr("The card is longer; the rest is on its page."))
        if card.pictures:
            many = self.tr("{0} pictures are not loaded; they are on its page.").format(card.pictures)
            notes.append(self.tr("A picture is not loaded; it is on its page.") if card.pictures == 1 else many)
        self._note.setText(" ".join(notes))
        self._note.setVisible(bool(notes))

    def _follow(self, link: QUrl) -> None:
        if place := safe_link(link.toString(), self._page):
            self.link_followed.emit(place)

    def _show_target(self, link: QUrl) -> None:
        self._text.setToolTip(safe_link(link.toString(), self._page))


def _wrap_code(document: QTextDocument) -> None:
    """Long lines of code go on in the next line: in a narrow place nobody scrolls to the right."""
    shape = QTextBlockFormat()
    shape.setNonBreakableLines(False)
    block = document.begin()
    while block.isValid():
        if block.blockFormat().nonBreakableLines():
            QTextCursor(block).mergeBlockFormat(shape)
        block = block.next()

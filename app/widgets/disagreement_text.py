"""The tokens where a model disagrees most with its original, in their text, coloured by how much."""

from __future__ import annotations

from html import escape
from typing import Any

from PySide6.QtCore import QCoreApplication, QUrl, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QHBoxLayout, QTextBrowser, QVBoxLayout, QWidget

from app.models.comparisons import Measured, Token, one_line
from app.widgets.elided_label import ElidedLabel

translate = QCoreApplication.translate
# A divergence of so many nats and more has the full colour.
DEEPEST_KLD = 4.0
FAINTEST = 0.15


class DisagreementText(QWidget):
    """Shows a Measured. Signals: chosen(str), the number of a token, when it is clicked."""

    chosen = Signal(str)

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._model: Measured | None = None
        self._tokens: tuple[Token, ...] = ()
        self._selected = ""
        self.setObjectName("disagreements")
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self.controls = QHBoxLayout()
        self.controls.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addLayout(self.controls)
        self.browser = QTextBrowser()
        self.browser.setOpenLinks(False)
        self.browser.setAccessibleName(translate("DisagreementText", "Tokens in their context"))
        self.browser.anchorClicked.connect(self._clicked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(head)
        layout.addWidget(self.browser, 1)
        theme.follow(self, self._redraw)

    def set_model(self, model: Measured) -> None:
        """Shows where this model disagrees."""
        self._model, self._selected = model, ""
        found = model.evaluation.disagreements
        self._tokens = tuple(Token(number, each) for number, each in enumerate(found, start=1))
        self._title.setText(
            translate("DisagreementText", "Where {0} and its original disagree most").format(model.title)
        )
        self.setAccessibleName(self._title.text())
        self._redraw()

    def tokens(self) -> tuple[Token, ...]:
        """What is shown."""
        return self._tokens

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the text for CSV."""
        keys = list(type(self._tokens[0].found).model_fields) if self._tokens else []
        return ["rank", *keys], [[t.number, *(getattr(t.found, key) for key in keys)] for t in self._tokens]

    def select(self, number: str) -> None:
        """Brings this token into view and marks it."""
        if number != self._selected:
            self._selected = number
            self._redraw()
        if number:
            self.browser.scrollToAnchor(f"token{number}")

    def _clicked(self, link: QUrl) -> None:
        self.select(link.fragment().removeprefix("token"))
        self.chosen.emit(self._selected)

    def _redraw(self) -> None:
        place = self.browser.verticalScrollBar().value()
        if self._tokens:
            self.browser.setHtml("".join(map(self._paragraph, self._tokens)))
        else:
            words = translate("DisagreementText", "They do not disagree anywhere in this text.")
            self.browser.setHtml(escape(words) if self._model else "")
        self.browser.verticalScrollBar().setValue(place)

    def _paragraph(self, token: Token) -> str:
        found, color = token.found, self._theme.color
        ground = self._ground(found.kld)
        mark = f' style="background-color: {color("selection").name()}"' if token.name == self._selected else ""
        words = translate(
            "DisagreementText", "{0}. {1} nats, {2} · came with {3} % instead of {4} % · likeliest {5} instead of {6}"
        ).format(
            token.number,
            f"{found.kld:.3f}",
            found.category,
            f"{100 * found.p:.2f}",
            f"{100 * found.p_base:.2f}",
            f"“{one_line(found.top)}”",
            f"“{one_line(found.top_base)}”",
        )
        link = f'<a name="token{token.number}" href="#token{token.number}" style="color: {color("text").name()}; '
        link += f'text-decoration: none; background-color: {ground.name()}"><b>{_shown(found.token)}</b></a>'
        muted = color("muted").name()
        return (
            f'<p{mark}>…{_shown(found.before)}{link}<span style="color: {muted}">{_shown(found.after)}…</span><br/>'
            f'<span style="color: {muted}; font-size: 11px">{escape(words)}</span></p>'
        )

    def _ground(self, kld: float) -> QColor:
        """The ground of a token: from nearly that of the page to the colour of what is bad."""
        share = FAINTEST + (0.6 - FAINTEST) * min(kld / DEEPEST_KLD, 1.0)
        bad, base = self._theme.color("bad"), self._theme.color("base")
        mixed = (round(share * b + (1 - share) * a) for a, b in zip(_rgb(base), _rgb(bad), strict=True))
        return QColor(*mixed)


def _rgb(color: QColor) -> tuple[int, int, int]:
    return color.red(), color.green(), color.blue()


def _shown(words: str) -> str:
    return escape(one_line(words)).replace(" ", "&nbsp;") if words.isspace() else escape(one_line(words))

"""What is said in a chat: the user's words, a model's answer with its figures, and an error in three parts."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from app import text
from app.models.window_words import report_in_window
from app.theme import Theme
from app.widgets.chat_label import Caption
from app.widgets.chat_markdown import MarkdownView
from core.errors import ErrorReport
from core.jobs import ChatTurn

ICON = 16
PAD_X, PAD_Y = 12, 8


class Prompt(QFrame):
    """What the user said, exactly as it was typed."""

    def __init__(self, theme: Theme, words: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setObjectName("prompt")
        self._label = QLabel(words)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._label.setWordWrap(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(PAD_X, PAD_Y, PAD_X, PAD_Y)
        layout.addWidget(self._label)
        theme.follow(self, self._recolor)
        self._recolor()

    def fit(self, widest: int) -> None:
        """Takes the width of its longest line, at most `widest` pixels, and the height that follows."""
        metrics = self._label.fontMetrics()
        longest = max(metrics.horizontalAdvance(line) for line in self._label.text().splitlines() or [""])
        width = min(longest + 2, widest - 2 * PAD_X)
        self.setFixedSize(width + 2 * PAD_X, self._label.heightForWidth(width) + 2 * PAD_Y)

    def _recolor(self) -> None:
        self.setStyleSheet(
            f"#prompt {{ background: {self._theme.color('selection').name()}; border: none; border-radius: 8px; }}"
        )


class Answer(QFrame):
    """One model's answer to one prompt. It begins with a word about what is being waited for."""

    def __init__(self, theme: Theme, who: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setProperty("card", True)
        self._who = Caption(who, Qt.TextElideMode.ElideMiddle)
        self._view = MarkdownView(theme)
        self._view.hide()
        self._status = QLabel()
        self._status.setProperty("role", "muted")
        self._status.setWordWrap(True)
        self._figures = QLabel()
        self._figures.setProperty("role", "caption")
        self._figures.setWordWrap(True)
        self._copy = self._make_copy_button()
        self._set_footer_room(True)
        self._error: ErrorNote | None = None
        footer = QHBoxLayout()
        footer.addWidget(self._figures, 1)
        footer.addWidget(self._copy, alignment=Qt.AlignmentFlag.AlignTop)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(12, 8, 8, 8)
        self._layout.setSpacing(8)
        for item in (self._who, self._view, self._status):
            self._layout.addWidget(item)
        self._layout.addLayout(footer)
        self._layout.addStretch(1)

    def wait_for(self, what: str) -> None:
        """Says what is being waited for, until the first token comes."""
        if not self._view.source and self._error is None:
            self._status.setText(what)
            self._status.setVisible(bool(what))

    def add(self, words: str) -> None:
        """Adds words as they are written."""
        self._status.hide()
        self._view.show()
        self._view.append_source(words)

    def finish(self, turn: ChatTurn) -> None:
        """Shows the whole answer and what it took."""
        self._view.set_source(turn.text)
        self._view.setVisible(bool(turn.text))
        self._status.setVisible(not turn.text)
        self._status.setText("" if turn.text else self._silence(turn))
        self._figures.setText(" · ".join(self._facts(turn)))
        self._copy.setVisible(bool(turn.text))

    def fail(self, report: ErrorReport) -> None:
        """Shows an error in place of the answer, or below what there is of it."""
        self._status.hide()
        self._set_footer_room(False)
        self._figures.setVisible(bool(self._figures.text()))
        self._error = ErrorNote(self._theme, report)
        self._layout.insertWidget(3, self._error)

    def drop(self, why: str) -> None:
        """Says why there is no answer."""
        self._status.setText(why)
        self._status.setVisible(not self._view.source)

    def text(self) -> str:
        """The answer as the model wrote it."""
        return self._view.source

    def figures(self) -> str:
        """Speed, tokens and memory in words, '' before the end."""
        return self._figures.text()

    def status(self) -> str:
        """What is said in place of an answer."""
        return self._status.text() if not self._status.isHidden() else ""

    def error(self) -> ErrorReport | None:
        """The error shown."""
        return self._error.report if self._error else None

    def copy(self) -> None:
        """Puts the answer on the clipboard, as the model wrote it."""
        QGuiApplication.clipboard().setText(self._view.source)

    def _silence(self, turn: ChatTurn) -> str:
        if turn.finish == "stopped":
            return self.tr("Stopped before the first word.")
        return self.tr("The model ended its answer without a word.")

    def _facts(self, turn: ChatTurn) -> list[str]:
        facts = [
            self.tr("{0} tokens").format(text.count(turn.tokens)),
            self.tr("{0} in memory").format(text.size(turn.memory_bytes)),
        ]
        if turn.tokens_per_second:
            facts.insert(0, self.tr("{0} tokens/s").format(f"{turn.tokens_per_second:.1f}"))
        if turn.finish == "stopped":
            facts.append(self.tr("stopped"))
        elif turn.finish == "length" and not turn.note:
            facts.append(self.tr("longest answer reached"))
        return [*facts, turn.note] if turn.note else facts

    def _make_copy_button(self) -> QToolButton:
        button = QToolButton()
        button.setAccessibleName(self.tr("Copy answer"))
        button.setToolTip(self.tr("Copy answer"))
        button.setIconSize(QSize(ICON, ICON))
        self._theme.decorate(button, "copy", "muted")
        button.clicked.connect(self.copy)
        button.hide()
        return button

    def _set_footer_room(self, kept: bool) -> None:
        """Whether there is room for figures that are still to come: an answer must not jump when they do."""
        policy = self._copy.sizePolicy()
        policy.setRetainSizeWhenHidden(kept)
        self._copy.setSizePolicy(policy)


class ErrorNote(QWidget):
    """What happened, why, and what to do."""

    def __init__(self, theme: Theme, report: ErrorReport, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.report = report
        self._theme = theme
        self._icon = QLabel()
        self._icon.setFixedWidth(ICON)
        words = QVBoxLayout()
        words.setSpacing(4)
        report = report_in_window(report)
        for part, role in ((report.what, "section"), (report.why, ""), (report.remedy, "muted")):
            if part:
                words.addWidget(_sentence(part, role))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._icon, alignment=Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)
        theme.follow(self, self._recolor)
        self._recolor()

    def _recolor(self) -> None:
        self._icon.setPixmap(self._theme.icon("error", "bad").pixmap(QSize(ICON, ICON)))


def _sentence(words: str, role: str) -> QLabel:
    """One part of an error, with a capital letter and a full stop; paths in it may be broken anywhere."""
    label = QLabel(f"{words[:1].upper()}{words[1:].rstrip('.')}.")
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setProperty("role", role)
    label.setWordWrap(True)
    return label

"""The Chat page: one model, or two side by side, on the same prompt."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QSize, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import text
from app.context import AppContext
from app.conversation import Conversation, Setup, Side, State, file_bytes
from app.widgets.chat_answer import Answer
from app.widgets.chat_composer import Composer
from app.widgets.chat_options import ChatOptions
from app.widgets.chat_picker import Choice
from app.widgets.chat_side import SideHead
from app.widgets.chat_transcript import MARGIN, Transcript
from app.widgets.chat_welcome import Welcome
from app.widgets.page_header import MARGIN as PAGE_MARGIN
from app.widgets.split import InspectorSplit
from core.errors import ErrorReport
from core.jobs import ChatTurn, InspectJob, ModelSummary, QuantizeResult, Sampling, Value, results_of

MAX_RECENT = 8
OPTIONS_WIDTH = 260


class ChatPage(QWidget):
    """Wires a Conversation to the widgets; every side has a head above and a column of answers."""

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self._context = context
        self.conversation = Conversation(self)
        self.heads = (
            SideHead(self.tr("&Model")),
            SideHead(self.tr("&Compare with"), self.tr("No second model")),
        )
        self.transcript = Transcript(context.theme)
        self.welcome = Welcome(context.theme, self._prompts())
        self.composer = Composer()
        self.options = ChatOptions(context.settings, context.theme)
        self._note = QLabel()
        self._note.setProperty("role", "caption")
        self._note.setWordWrap(True)
        self._opened: dict[str, Choice] = {}
        self._open_answers: dict[Side, Answer] = {}
        self._askers = {side: QObject(self) for side in self.conversation.sides}
        self._compose()
        self._connect()
        self._refresh_choices()

    # ------------------------------------------------------------ what others ask for

    def open_models(self, model: str, against: str | None) -> None:
        """Chooses a model, and another one beside it or none, and begins a new conversation."""
        self._begin_anew()
        self._refresh_choices()
        for side, path in zip(self.conversation.sides, (model, against), strict=True):
            self._open(side, path)
        self.composer.setFocus()

    def activated(self) -> None:
        """Lists what has been added or made since, and lets the user write at once."""
        self._refresh_choices()
        self.composer.setFocus()

    def toggle_inspector(self) -> None:
        """Folds the settings away, or shows them again."""
        self._fold.toggle()

    def send(self, words: str) -> None:
        """Asks every model that is chosen."""
        self.options.flush()
        sides = self.conversation.chosen
        exchange = self.transcript.add(words, [self._who(side) for side in sides])
        self._open_answers = dict(zip(sides, exchange.answers, strict=True))
        self._show_conversation()
        self.conversation.ask(words, self._setup())
        self._refresh_all()

    # ------------------------------------------------------------ composition

    def _compose(self) -> None:
        body = InspectorSplit("chat", self._make_middle(), self.options, OPTIONS_WIDTH)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(PAGE_MARGIN, 16, PAGE_MARGIN, 16)
        layout.setSpacing(16)
        layout.addLayout(self._make_title())
        layout.addWidget(body, 1)

    def _make_title(self) -> QHBoxLayout:
        title = QLabel(self.tr("Chat"))
        title.setProperty("role", "title")
        self._new = QPushButton(self.tr("New conversation"))
        self._new.setToolTip(self.tr("Ctrl+N"))
        self._new.clicked.connect(self._begin_anew)
        self._fold = QToolButton()
        self._fold.setCheckable(True)
        self._fold.setChecked(True)
        self._fold.setAccessibleName(self.tr("Show the chat settings"))
        self._fold.setToolTip(self.tr("Show or hide the chat settings (Ctrl+I)"))
        self._fold.setIconSize(QSize(18, 18))
        self._fold.toggled.connect(self.options.setVisible)
        self._context.theme.decorate(self._fold, "settings", "muted")
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(title)
        line.addStretch(1)
        line.addWidget(self._new)
        line.addWidget(self._fold)
        return line

    def _make_middle(self) -> QWidget:
        heads = QHBoxLayout()
        heads.setSpacing(16)
        heads.setContentsMargins(0, 0, MARGIN, 0)
        for head in self.heads:
            heads.addWidget(head, 1)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.welcome)
        self._stack.addWidget(self.transcript)
        middle = QWidget()
        layout = QVBoxLayout(middle)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(heads)
        layout.addWidget(self._stack, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(0, 0, MARGIN, 0)
        foot.addWidget(self._note)
        foot.addWidget(self.composer)
        layout.addLayout(foot)
        return middle

    def _connect(self) -> None:
        self.composer.sent.connect(self.send)
        self.composer.stopped.connect(self.conversation.stop)
        self.welcome.suggested.connect(self._try)
        self.conversation.changed.connect(self._refresh_all)
        self._context.library.changed.connect(self._refresh_choices)
        for keys, function in (("Esc", self.conversation.stop), ("Ctrl+N", self._begin_anew)):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(function)
        for side, head in zip(self.conversation.sides, self.heads, strict=True):
            self._connect_side(side, head)

    def _connect_side(self, side: Side, head: SideHead) -> None:
        head.picker.chosen.connect(lambda path: self._pick(side, path))
        head.picker.browse.connect(lambda: self._browse(side))
        head.load_wanted.connect(lambda: self.conversation.load(side, self._setup()))
        head.unload_wanted.connect(side.unload)
        side.changed.connect(self._refresh_all)
        side.token.connect(lambda words: self._answer(side).add(words))
        side.answered.connect(lambda turn: self._finish(side, turn))
        side.failed.connect(lambda report: self._fail(side, report))
        side.dropped.connect(lambda: self._drop(side))

    def _prompts(self) -> list[str]:
        return [
            self.tr("The capital of France is"),
            self.tr("Explain in two sentences what a neural network is."),
            self.tr("Write a short poem about a river."),
            self.tr("Write a Python function that reverses a string."),
        ]

    # ------------------------------------------------------------ models

    def _refresh_choices(self) -> None:
        known = [Choice.of(model) for model in self._context.library.models() if model.format == "gguf"]
        # A file that was opened and has since been made here goes by its newer name.
        recent = [*self._opened.values(), *self._made()]
        for side, head in zip(self.conversation.sides, self.heads, strict=True):
            head.picker.set_choices(known, recent)
            head.picker.choose(side.path or "")
        first = self.conversation.sides[0]
        if first.path is None and (offered := [*known, *recent]):
            self._choose(first, offered[0].path)
        self._refresh_all()

    def _made(self) -> list[Choice]:
        """The outputs of the latest jobs that are still there."""
        results = self._results()[-MAX_RECENT:][::-1]
        return [
            Choice(result.output, Path(result.output).stem, result.target, result.bytes)
            for result in results
            if file_bytes(result.output)
        ]

    def _results(self) -> list[QuantizeResult]:
        records = self._context.store.jobs("done")
        return [result for record in records for result in results_of(record.result)]

    def _pick(self, side: Side, path: str) -> None:
        """The user took a model: a conversation with other models is another conversation."""
        self._begin_anew()
        self._open(side, path or None)

    def _browse(self, side: Side) -> None:
        current = side.path or str(Path.home())
        path, _ = QFileDialog.getOpenFileName(
            self, self.tr("Open a model"), str(Path(current).parent), self.tr("GGUF models (*.gguf)")
        )
        if path:
            self._pick(side, path)

    def _open(self, side: Side, path: str | None) -> None:
        """Chooses the model at that path, whether it is listed or not, and loads it."""
        head = self._head(side)
        if path and path not in head.picker.paths():
            self._opened[path] = Choice(path, Path(path).stem, "", file_bytes(path))
            self._ask_about(side, path)
            self._refresh_choices()
        self._choose(side, path)
        if path:
            self.conversation.load(side, self._setup())

    def _ask_about(self, side: Side, path: str) -> None:
        """Learns name and type of a file that is not listed; a fault in it is shown by the loading."""

        def complete(summary: Value) -> None:
            assert isinstance(summary, ModelSummary)
            self._opened[path] = Choice.of(summary)
            self._refresh_choices()

        self._context.questions.ask(InspectJob(source=path), complete, lambda report: None, owner=self._askers[side])

    def _choose(self, side: Side, path: str | None) -> None:
        self._head(side).picker.choose(path or "")
        if path != side.path:
            side.choose(path)
        self._refresh_all()

    def _roles(self) -> tuple[str, str]:
        """What the two models are to each other: known where one was made from the other here."""
        first, second = (side.path for side in self.conversation.sides)
        made = {(result.output, result.source) for result in self._results()}
        roles = self.tr("Quantized"), self.tr("Original")
        if (first, second) in made:
            return roles
        return roles[::-1] if (second, first) in made else ("", "")

    def _head(self, side: Side) -> SideHead:
        return self.heads[self.conversation.sides.index(side)]

    def _who(self, side: Side) -> str:
        choice = self._head(side).picker.current()
        role = self._roles()[self.conversation.sides.index(side)]
        return " · ".join(filter(None, (role, choice.line if choice else "")))

    def _setup(self) -> Setup:
        value = self._context.settings.value
        return Setup(
            context=value("chat_context"),
            threads=value("threads"),
            system=value("chat_system_prompt"),
            sampling=Sampling(
                temperature=value("chat_temperature"),
                top_p=value("chat_top_p"),
                top_k=value("chat_top_k"),
                max_tokens=value("chat_max_tokens"),
                seed=value("chat_seed"),
            ),
        )

    # ------------------------------------------------------------ the conversation

    def _try(self, prompt: str) -> None:
        if not self.conversation.is_busy:
            self.send(prompt)

    def _begin_anew(self) -> None:
        self._open_answers.clear()
        self.conversation.clear()
        self.transcript.clear()
        self._stack.setCurrentWidget(self.welcome)
        self._refresh_all()

    def _show_conversation(self) -> None:
        self._stack.setCurrentWidget(self.transcript)

    def _answer(self, side: Side) -> Answer:
        """The answer that side is at; one without a prompt where it has something to report unasked."""
        if side not in self._open_answers:
            exchange = self.transcript.add("", [self._who(side)])
            self._open_answers[side] = exchange.answers[0]
            self._show_conversation()
        return self._open_answers[side]

    def _finish(self, side: Side, turn: ChatTurn) -> None:
        self._answer(side).finish(turn)
        self._close_answer(side)

    def _fail(self, side: Side, report: ErrorReport) -> None:
        self._answer(side).fail(report)
        self._close_answer(side)

    def _drop(self, side: Side) -> None:
        if side in self._open_answers:
            self._answer(side).drop(self.tr("Stopped before the first word."))
            self._close_answer(side)

    def _close_answer(self, side: Side) -> None:
        self._open_answers.pop(side, None)
        self._refresh_all()

    # ------------------------------------------------------------ states in words

    def _refresh_all(self) -> None:
        busy = self.conversation.is_busy
        self.composer.set_busy(busy)
        self.composer.set_enabled(bool(self.conversation.chosen))
        self._new.setEnabled(bool(self.transcript.exchanges))
        self._note.setText(self._note_words())
        self._note.setVisible(bool(self._note.text()))
        self.welcome.set_sentence(*self._welcome_words())
        for side, head, role in zip(self.conversation.sides, self.heads, self._roles(), strict=True):
            head.set_role(role)
            head.set_state(*self._state_words(side))
            if side in self._open_answers:
                self._open_answers[side].wait_for(self._waiting_words(side))

    def _welcome_words(self) -> tuple[str, bool]:
        if not self.conversation.chosen:
            add = self.tr("Add a .gguf file on the Models page, or choose “Open file…” above.")
            return f"{add} {self.tr('Folders and checkpoints for transformers and vLLM cannot answer here.')}", False
        if len(self.conversation.chosen) == 2:
            return self.tr("Both models get the same prompt and answer side by side. Try one of these:"), True
        return self.tr("It answers on this computer; nothing leaves it. Try one of these:"), True

    def _note_words(self) -> str:
        if self.conversation.takes_turns and len(self.conversation.chosen) == 2:
            return self.tr("There is not enough free memory for both models at once: they answer one after the other.")
        return next((side.loaded.note for side in self.conversation.sides if side.loaded and side.loaded.note), "")

    def _state_words(self, side: Side) -> tuple[str, bool | None]:
        if side.path is None:
            return "", None
        if side.state is State.LOADING:
            return self.tr("Loading…"), True
        if side.state is State.FREED:
            return self.tr("Unloaded to free memory"), False
        if side.loaded is None:
            return self.tr("Not loaded"), False
        word = self.tr("Answering…") if side.state is State.ANSWERING else self.tr("Ready")
        memory = self.tr("{0} in memory").format(text.size(side.loaded.memory_bytes))
        if side.loaded.predicted_bytes:
            memory += self.tr(" ({0} predicted)").format(text.size(side.loaded.predicted_bytes))
        context = self.tr("{0} tokens of context").format(side.loaded.context)
        return f"{word} · {memory} · {context}", True

    def _waiting_words(self, side: Side) -> str:
        if self.conversation.is_waiting(side):
            return self.tr("Waits until the other model has answered")
        if side.state is State.LOADING:
            return self.tr("Loading the model…")
        return self.tr("Reading the prompt…") if side.is_asked else ""

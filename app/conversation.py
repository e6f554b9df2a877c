"""A conversation with one model or two: who is loaded, who answers now, and what each of them has been told.

No widget is known here; app/pages/chat.py shows what these objects say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import psutil
from PySide6.QtCore import QObject, Signal

from app.chat_worker import ChatWorker
from core.errors import ErrorReport
from core.jobs import ChatLoaded, ChatTurn, Message, Sampling

# Room for the context, the computation and the rest of the system, beside the models' files.
MEMORY_MARGIN = 1 << 30


class State(Enum):
    """Where one side stands. FREED: unloaded by the program to make room for the other side."""

    UNLOADED = auto()
    FREED = auto()
    LOADING = auto()
    READY = auto()
    ANSWERING = auto()


@dataclass(frozen=True, slots=True)
class Setup:
    """With what a model is loaded (context in tokens, threads with 0 for all) and asked."""

    context: int
    threads: int
    system: str
    sampling: Sampling

    @property
    def loading(self) -> tuple[int, int]:
        """The part that cannot be changed while a model is loaded."""
        return self.context, self.threads


class Side(QObject):
    """One model: its worker process, its state, and its own history of the conversation.

    changed: another state. token: text of the answer being written. Each question asked is followed by exactly one of
    answered (ChatTurn), failed (ErrorReport) or dropped (stopped before the model was loaded); failed also comes
    when loading without a question fails.
    """

    changed = Signal()
    token = Signal(str)
    answered = Signal(object)
    failed = Signal(object)
    dropped = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path: str | None = None
        self.loaded: ChatLoaded | None = None
        self._state = State.UNLOADED
        self._history: list[Message] = []
        self._setup: Setup | None = None
        self._is_asked = False
        self._is_stale = False
        self._worker = ChatWorker(self)
        self._worker.loaded.connect(self._on_loaded)
        self._worker.token.connect(self._on_token)
        self._worker.turn.connect(self._on_turn)
        self._worker.failed.connect(self._on_failed)
        self._worker.ended.connect(self._on_ended)

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def is_asked(self) -> bool:
        """Whether a question waits for its answer or is being answered."""
        return self._is_asked

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory, or on its way there."""
        return self._state in (State.LOADING, State.READY, State.ANSWERING)

    def choose(self, path: str | None) -> None:
        """Takes another model, or none, and forgets the conversation."""
        self.unload()
        self.path = path
        self._history.clear()
        self.changed.emit()

    def forget(self) -> None:
        """Begins a new conversation with the same model; what is still being written belongs to the old one."""
        self._is_stale = self._state is State.ANSWERING
        if self._is_stale:
            self._worker.stop()
            self._drop()
        else:
            self.stop()
        self._history.clear()

    def load(self, setup: Setup) -> None:
        """Loads the model if it is not, or anew if it was loaded with other numbers."""
        if self.path is None or (self.is_loaded and self._setup and self._setup.loading == setup.loading):
            return
        self._setup = setup
        self._close(State.LOADING)
        self._worker.open(self.path, setup.context, setup.threads)
        self._become(State.LOADING)

    def unload(self, state: State = State.UNLOADED) -> None:
        """Gives the memory back; a question that waits is dropped."""
        self._close(state)
        self._become(state)
        self._drop()

    def ask(self, prompt: str, setup: Setup) -> None:
        """Asks the next question; the model is loaded first where it is not."""
        self._history.append(Message(role="user", content=prompt))
        self._is_asked = True
        self.load(setup)
        self._setup = setup
        if self._state is State.READY:
            self._say()

    def stop(self) -> None:
        """Ends the answer being written, or the loading for it; the answer or `dropped` follows."""
        if self._state is State.ANSWERING:
            self._worker.stop()
        elif self._is_asked:
            self.unload()

    def _say(self) -> None:
        assert self._setup is not None
        system = (Message(role="system", content=self._setup.system),) if self._setup.system else ()
        self._become(State.ANSWERING)
        self._worker.say((*system, *self._history), self._setup.sampling)

    def _on_loaded(self, info: ChatLoaded) -> None:
        self.loaded = info
        self._become(State.READY)
        if self._is_asked:
            self._say()

    def _on_token(self, text: str) -> None:
        if not self._is_stale:
            self.token.emit(text)

    def _on_turn(self, turn: ChatTurn) -> None:
        if self._is_stale:
            self._go_on()
            return
        if turn.text:
            self._history.append(Message(role="assistant", content=turn.text))
        else:
            self._history.pop()
        self._is_asked = False
        self._become(State.READY)
        self.answered.emit(turn)

    def _go_on(self) -> None:
        """The old conversation's answer has ended; a question of the new one may wait already."""
        self._is_stale = False
        self._become(State.READY)
        if self._is_asked:
            self._say()

    def _on_failed(self, report: ErrorReport) -> None:
        survives = self._state is State.ANSWERING and self._worker.is_open
        if survives and self._is_stale:
            self._go_on()
            return
        if not survives:
            self._close(State.UNLOADED)
        if self._is_asked:
            self._history.pop()
        self._is_asked = False
        self._become(State.READY if survives else State.UNLOADED)
        self.failed.emit(report)

    def _on_ended(self) -> None:
        """The process is gone though nobody closed it and it reported no failure."""
        if self.is_loaded:
            self._become(State.UNLOADED)
            self._drop()

    def _drop(self) -> None:
        if self._is_asked:
            self._is_asked = False
            self._history.pop()
            self.dropped.emit()

    def _close(self, state: State) -> None:
        # The state first: `ended` comes at once and must find that the end was wanted.
        self._state = State.UNLOADED if state is State.LOADING else state
        self._is_stale = False
        self.loaded = None
        self._worker.close()

    def _become(self, state: State) -> None:
        self._state = state
        self.changed.emit()


class Conversation(QObject):
    """One or two sides asked the same questions, one after the other: each answers with all cores.

    Two answers at once would share the cores badly, a tenth of the words per second, and say nothing of either
    model's speed. takes_turns: memory is short, so only the side that answers is loaded. changed: whether somebody is
    answering, or whether turns are taken.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.sides = (Side(self), Side(self))
        self.takes_turns = False
        self._waiting: list[Side] = []
        self._question: tuple[str, Setup] | None = None
        for side in self.sides:
            for signal in (side.answered, side.failed, side.dropped):
                signal.connect(self._go_on)

    @property
    def chosen(self) -> list[Side]:
        """The sides that have a model."""
        return [side for side in self.sides if side.path is not None]

    @property
    def is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._waiting) or any(side.is_asked for side in self.sides)

    def is_waiting(self, side: Side) -> bool:
        """Whether that side will be asked when the other one has answered."""
        return side in self._waiting

    def load(self, side: Side, setup: Setup) -> None:
        """Loads one side, unloading the other where there is no room for both."""
        if self._must_take_turns():
            for other in self.sides:
                if other is not side and other.is_loaded and not other.is_asked:
                    other.unload(State.FREED)
        side.load(setup)

    def ask(self, prompt: str, setup: Setup) -> None:
        """Asks every side that has a model."""
        self.takes_turns = self._must_take_turns()
        self._question = prompt, setup
        # Who is loaded answers first, so that every question costs one loading and not two.
        self._waiting = sorted(self.chosen, key=lambda side: not side.is_loaded) if self.takes_turns else self.chosen
        for side in () if self.takes_turns else self.chosen:
            side.load(setup)
        if self._waiting:
            self._next()
        self.changed.emit()

    def stop(self) -> None:
        """Stops all answers, those that have not begun too."""
        waiting, self._waiting = self._waiting, []
        for side in self.sides:
            side.stop()
        for side in waiting:
            side.dropped.emit()
        self.changed.emit()

    def clear(self) -> None:
        """Begins a new conversation with the same models."""
        self.stop()
        for side in self.sides:
            side.forget()

    def _next(self) -> None:
        assert self._question is not None
        side = self._waiting.pop(0)
        for other in self.chosen if self.takes_turns else ():
            if other is not side and other.is_loaded:
                other.unload(State.FREED)
        side.ask(*self._question)

    def _go_on(self) -> None:
        if self._waiting and not any(side.is_asked for side in self.sides):
            self._next()
        self.changed.emit()

    def _must_take_turns(self) -> bool:
        sides = self.chosen
        missing = sum(file_bytes(side.path) for side in sides if not side.is_loaded)
        return len(sides) > 1 and missing > 0 and missing + MEMORY_MARGIN > available_bytes()


def available_bytes() -> int:
    """Memory that can be used without pushing others out."""
    return int(psutil.virtual_memory().available)


def file_bytes(path: str | None) -> int:
    """A file's size, 0 where there is none."""
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0

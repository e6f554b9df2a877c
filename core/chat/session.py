"""A conversation with one model held loaded: commands come in from a queue, events go out as dicts.

In: `{"say": {"messages": [...], "sampling": {...}}}`, `{"stop": true}`, and None, which ends the session.
Out: `loaded` once, then for each `say` some `token` events and one `turn`, or an `error`, after which the session
goes on. core.worker puts both on the pipe to the window.
"""

from __future__ import annotations

import queue
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from core.chat.engine import Engine, resident_bytes
from core.chat.generation import Generation
from core.chat.loads import compare_load
from core.chat.model_file import read_model_file
from core.chat.native_output import captured
from core.errors import BitwrightError, ErrorReport
from core.jobs import ChatLoaded, ChatSessionJob, Message, Sampling, Value

TICK_S = 1 / 30
# A stopped answer is reported after this time even if the native code is still busy with a long prompt.
LET_GO_S = 0.05
END_S = 5.0

Command = dict[str, Any]
Emit = Callable[[dict[str, Any]], None]


class Say(Value):
    """The content of a `say` command: the whole conversation, the user's latest message last."""

    messages: tuple[Message, ...] = Field(min_length=1)
    sampling: Sampling


def run_session(job: ChatSessionJob, commands: queue.Queue[Command | None], emit: Emit) -> None:
    """Loads the model and answers until None comes. Raises what loading raises; a failed answer is only reported."""
    model = read_model_file(Path(job.model))
    with captured() as native:
        try:
            engine = Engine(model, job.context, job.threads, native, job.cache_type)
        finally:
            sys.stderr.writelines(f"{line}\n" for line in native.lines())
            sys.stderr.flush()
    emit({"event": "loaded", "info": _loaded(engine).model_dump()})
    try:
        _Session(engine, commands, emit).run()
    finally:
        engine.close()


def _loaded(engine: Engine) -> ChatLoaded:
    measured = resident_bytes()
    return ChatLoaded(
        model=str(engine.model.path),
        load_seconds=engine.load_seconds,
        memory_bytes=measured,
        predicted_bytes=compare_load(engine, measured),
        context=engine.context,
        note=engine.note,
    )


class _Session:
    """Takes commands one by one; while an answer is written, only those that end it."""

    def __init__(self, engine: Engine, commands: queue.Queue[Command | None], emit: Emit) -> None:
        self._engine = engine
        self._commands = commands
        self._emit = emit
        self._generation: Generation | None = None
        self._next: Command | None = None
        self._ended = False

    def run(self) -> None:
        """Serves until the session ends, then gives an answer that was let go a little time to end too."""
        while not self._ended:
            command, self._next = self._next or self._commands.get(), None
            if command is None:
                break
            if "say" in command:
                self._answer_or_report(command["say"])
        if self._generation is not None:
            self._generation.wait(END_S)

    def _answer_or_report(self, said: dict[str, Any]) -> None:
        try:
            self._answer(Say.model_validate(said))
        except Exception as error:
            details = "" if isinstance(error, BitwrightError) else traceback.format_exc()
            self._emit({"event": "error", "error": asdict(ErrorReport.of(error, details))})

    def _answer(self, say: Say) -> None:
        if self._generation is not None:
            self._generation.wait()
        self._generation = generation = Generation(self._engine, say.messages, say.sampling)
        while not generation.finished:
            if text := generation.take(0):
                self._emit({"event": "token", "text": text})
            if self._is_interrupted(within_s=TICK_S):
                generation.stop()
                generation.wait(LET_GO_S)
                break
        if text := generation.take(0):
            self._emit({"event": "token", "text": text})
        self._emit({"event": "turn", "turn": generation.turn().model_dump()})

    def _is_interrupted(self, within_s: float) -> bool:
        """Whether a command comes in that time; a `say` interrupts too, and is answered next."""
        try:
            command = self._commands.get(timeout=within_s)
        except queue.Empty:
            return False
        self._ended = command is None
        self._next = command if command and "say" in command else None
        return True

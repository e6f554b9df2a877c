"""One answer in the making: generated in a thread of its own, so that it can be watched and let go at any moment."""

from __future__ import annotations

import threading
from typing import Any

from core.chat.engine import Chunk, Engine, resident_bytes
from core.errors import ChatUnavailable, ContextOverflow
from core.jobs import ChatTurn, Message, Sampling

OVERFLOW = "exceed_context_size_error"


class Generation:
    """Starts at once. `take` hands out the text as it comes; `turn` is the answer, whole or as far as it got.

    Where the conversation has outgrown the context, its oldest exchange is left out until the rest fits.
    """

    def __init__(self, engine: Engine, messages: tuple[Message, ...], sampling: Sampling) -> None:
        self._engine = engine
        self._messages = messages
        self._sampling = sampling
        self._changed = threading.Condition()
        self._text: list[str] = []
        self._taken = 0
        self._timings: dict[str, Any] = {}
        self._reason = ""
        self._problem: dict[str, Any] | None = None
        self._failure: Exception | None = None
        self._left_out = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether no more text can come."""
        return not self._thread.is_alive() and self._taken == len(self._text)

    @property
    def tokens(self) -> int:
        """How many tokens the answer has so far."""
        return int(self._timings.get("predicted_n", 0)) if self._text else 0

    def take(self, timeout_s: float) -> str:
        """The text that is new; where there is none yet, waits for it at most so long, then answers ''."""
        with self._changed:
            if self._taken == len(self._text) and self._thread.is_alive():
                self._changed.wait(timeout_s)
            new, self._taken = self._text[self._taken :], len(self._text)
        return "".join(new)

    def stop(self) -> None:
        """Ends the answer at the next token; does not wait for it."""
        self._stopping = True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until the native code has let go; False if it has not in that time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def turn(self) -> ChatTurn:
        """The answer so far. Raises ContextOverflow, ChatUnavailable, or whatever else went wrong."""
        if self._failure is not None:
            raise self._failure
        text = "".join(self._text)
        return ChatTurn(
            model=str(self._engine.model.path),
            text=text,
            tokens=self.tokens,
            tokens_per_second=self._rate(),
            load_seconds=self._engine.load_seconds,
            memory_bytes=resident_bytes(),
            finish="stopped" if self._stopping else "length" if self._reason == "length" else "end",
            note=self._note(),
        )

    # ---- in the thread

    def _run(self) -> None:
        try:
            self._generate()
        except Exception as error:
            self._failure = error
        with self._changed:
            self._changed.notify_all()

    def _generate(self) -> None:
        messages = self._messages
        while True:
            self._problem = None
            self._engine.stream(messages, self._sampling, self._receive)
            if self._problem is None:
                return
            shorter = without_oldest(messages)
            if self._problem.get("type") != OVERFLOW:
                raise ChatUnavailable(str(self._engine.model.path), str(self._problem.get("message", self._problem)))
            if shorter == messages:
                raise ContextOverflow(self._problem["n_prompt_tokens"], self._problem["n_ctx"])
            self._left_out += len(messages) - len(shorter)
            messages = shorter

    def _receive(self, chunk: Chunk) -> bool:
        """Takes one chunk; True asks the native code to stop."""
        if "error" in chunk:
            self._problem = chunk["error"]
            return True
        self._timings = chunk.get("timings", self._timings)
        for choice in chunk.get("choices", ()):
            text = choice.get("text") or choice.get("delta", {}).get("content")
            self._reason = choice.get("finish_reason") or self._reason
            if text:
                with self._changed:
                    self._text.append(text)
                    self._changed.notify_all()
        return self._stopping

    # ---- figures and words

    def _rate(self) -> float:
        """Tokens per second; the first token belongs to the reading of the prompt, so it takes two to measure."""
        return float(self._timings.get("predicted_per_second", 0.0)) if self.tokens > 1 else 0.0

    def _note(self) -> str:
        notes = [self._engine.note]
        if self._left_out:
            notes.append(f"The {self._left_out} oldest messages were left out to fit the context.")
        if self._reason == "length" and self.tokens < self._sampling.max_tokens:
            notes.append(f"The context of {self._engine.context} tokens is full.")
        return " ".join(filter(None, notes))


def without_oldest(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation without its oldest exchange; the system message and the latest question always stay."""
    system = tuple(message for message in messages[:1] if message.role == "system")
    rest = messages[len(system) :]
    later_questions = [index for index, message in enumerate(rest) if message.role == "user" and index > 0]
    return system + rest[later_questions[0] :] if later_questions else messages

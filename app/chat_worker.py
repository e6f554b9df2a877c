"""A model held loaded for a conversation, in a worker process of its own."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from app.worker_link import WorkerLink, exit_words, log_worker
from core.errors import ErrorReport, WorkerDied
from core.jobs import ChatLoaded, ChatSessionJob, ChatTurn, Message, Sampling


class ChatWorker(QObject):
    """One model held loaded for a conversation in a worker process of its own.

    loaded: ChatLoaded. token: a piece of the answer. turn: ChatTurn, the answer is complete (or was stopped).
    failed: ErrorReport. ended: the process is gone, for whatever reason.
    """

    loaded = Signal(object)
    token = Signal(str)
    turn = Signal(object)
    failed = Signal(object)
    ended = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link: WorkerLink | None = None
        self._failed = False

    @property
    def is_open(self) -> bool:
        """Whether a model is loaded or being loaded."""
        return self._link is not None

    def open(self, model: str, context: int, threads: int) -> None:
        """Starts a worker and loads the model there; a conversation that is open is closed first."""
        self.close()
        self._failed = False
        self._link = link = WorkerLink()
        link.event.connect(self._receive)
        link.said.connect(log_worker)
        link.ended.connect(self._end)
        job = ChatSessionJob(model=model, context=context, threads=threads)
        link.send({"job": job.model_dump(mode="json"), "id": "chat"})
        link.start()

    def say(self, messages: tuple[Message, ...], sampling: Sampling) -> None:
        """Asks for the next turn of a conversation; all its messages are sent each time."""
        if self._link:
            turns = [message.model_dump(mode="json") for message in messages]
            self._link.send({"say": {"messages": turns, "sampling": sampling.model_dump(mode="json")}})

    def stop(self) -> None:
        """Stops the answer being written; `turn` brings what there is."""
        if self._link:
            self._link.send({"stop": True})

    def close(self) -> None:
        """Unloads the model; `ended` is emitted at once, the process goes in its own time."""
        if self._link:
            link, self._link = self._link, None
            link.disconnect(self)
            link.close_input()
            self.ended.emit()

    def _receive(self, event: dict) -> None:
        match event.get("event"):
            case "loaded":
                self.loaded.emit(ChatLoaded.model_validate(event["info"]))
            case "token":
                self.token.emit(event["text"])
            case "turn":
                self.turn.emit(ChatTurn.model_validate(event["turn"]))
            case "error":
                self._failed = True
                self.failed.emit(ErrorReport(**event["error"]))

    def _end(self, exit_code: int) -> None:
        self._link = None
        if exit_code and not self._failed:
            self.failed.emit(ErrorReport.of(WorkerDied(exit_words(exit_code))))
        self.ended.emit()

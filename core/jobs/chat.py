"""Chatting with models, at once or over a worker's pipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.estimate.values import CacheType
from core.values import Value


class Sampling(Value):
    """Sampling settings of one answer. seed -1 = a new one each time."""

    temperature: float = Field(default=0.7, ge=0, le=5)
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=40, ge=0)
    max_tokens: int = Field(default=512, ge=1)
    seed: int = -1


class Message(Value):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatJob(Value):
    """One prompt to one model, and to `against` too where given. Answer: ChatResult.

    By default the likeliest token is always taken, so that two models are compared and not two draws.
    """

    kind: Literal["chat"] = "chat"
    model: str
    against: str | None = None
    prompt: str
    system: str = ""
    sampling: Sampling = Sampling(temperature=0)
    context: int = Field(default=2048, ge=64)
    threads: int = Field(default=0, ge=0)
    cache_type: CacheType = "f16"


class ChatSessionJob(Value):
    """A model held loaded for a conversation; driven over the worker's pipe (see core.worker)."""

    kind: Literal["chat_session"] = "chat_session"
    model: str
    context: int = Field(default=2048, ge=64)
    threads: int = Field(default=0, ge=0)
    cache_type: CacheType = "f16"


class ChatTurn(Value):
    """One model's answer and what it took. memory_bytes is the chat process' resident memory.

    predicted_bytes: what the estimate said of it before the model was loaded, 0 = nothing.

    tokens_per_second counts the answer alone, not the reading of the prompt; 0 where there was too little to measure.
    finish: the model ended its answer, or it reached the longest length allowed, or the user stopped it.
    note: what the user should know about this answer, or "".
    """

    model: str
    text: str
    tokens: int
    tokens_per_second: float
    load_seconds: float
    memory_bytes: int
    predicted_bytes: int = 0
    finish: Literal["end", "length", "stopped"] = "end"
    note: str = ""


class ChatResult(Value):
    """The answers in the order of the models asked: the model, then `against`."""

    prompt: str
    turns: tuple[ChatTurn, ...]


class ChatLoaded(Value):
    """A chat session is ready. context: tokens, at most what the model was trained for. note: as in ChatTurn.

    memory_bytes: resident memory after loading; predicted_bytes: what the estimate said of it before, 0 = nothing.
    """

    model: str
    load_seconds: float
    memory_bytes: int
    predicted_bytes: int = 0
    context: int
    note: str = ""

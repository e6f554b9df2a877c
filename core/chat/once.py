"""One prompt to one model, and to a second one after the first has been unloaded."""

from __future__ import annotations

import logging
from pathlib import Path

from core.chat.engine import Engine, resident_bytes
from core.chat.generation import Generation
from core.chat.loads import compare_load
from core.chat.model_file import ModelFile, read_model_file
from core.chat.native_output import NativeLog, captured
from core.jobs import ChatJob, ChatResult, ChatTurn, Message
from core.progress import Progress

POLL_S = 0.05

log = logging.getLogger(__name__)


def chat(job: ChatJob, progress: Progress) -> ChatResult:
    """Asks the models one after the other; both files are checked before the first is loaded.

    Raises ChatNeedsGguf, ChatUnavailable, ContextOverflow, OutOfMemory, what read_header raises, and Cancelled.
    """
    models = [read_model_file(Path(path)) for path in (job.model, job.against) if path is not None]
    with captured() as native:
        try:
            turns = tuple(_ask(model, job, progress, native) for model in models)
        finally:
            for line in native.lines():
                log.info(line)
    return ChatResult(prompt=job.prompt, turns=turns)


def _ask(model: ModelFile, job: ChatJob, progress: Progress, native: NativeLog) -> ChatTurn:
    progress.stage(f"Loading {model.path.name}")
    engine = Engine(model, job.context, job.threads, native, job.cache_type)
    # Only a first load tells what a model takes: a second one finds memory that the first has left.
    predicted = compare_load(engine, resident_bytes()) if model.path == Path(job.model) else 0
    # How long the answer will be is not known, so no share of it and no time left is reported.
    progress.stage(f"{model.path.name} answers", unit="tokens")
    generation = Generation(engine, _conversation(job), job.sampling)
    try:
        while not generation.finished:
            generation.take(POLL_S)
            progress.update(generation.tokens)
        return generation.turn().model_copy(update={"predicted_bytes": predicted})
    finally:
        generation.stop()
        generation.wait()
        engine.close()


def _conversation(job: ChatJob) -> tuple[Message, ...]:
    system = (Message(role="system", content=job.system),) if job.system else ()
    return (*system, Message(role="user", content=job.prompt))

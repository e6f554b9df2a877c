"""One model loaded by llama.cpp, through xllamacpp's in-process server, on the CPU.

The library always opens an HTTP endpoint. Here it is a socket file in a private folder that is deleted as soon as the
model is loaded, so that no port is opened and nothing else can connect; requests are made in this process.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import xllamacpp

from core.chat.model_file import ModelFile
from core.chat.native_output import NativeLog
from core.errors import BitwrightError, ChatUnavailable, OutOfMemory
from core.estimate.values import CacheType
from core.jobs import Message, Sampling

Chunk = dict[str, Any]
LOG_INFORMATION = 3
# Prompts are read in steps of this many tokens; between two steps the reading can be stopped.
PROMPT_STEP = 128
# A socket's path may have at most 104 to 108 bytes.
LONGEST_SOCKET_FOLDER = 90
# In this order: top_k, top_p, temperature. Nothing else (min_p, penalties) acts on the answer unseen.
SAMPLERS = ["top_k", "top_p", "temperature"]

NO_TEMPLATE_NOTE = "This model has no chat template, so it continues the text as it stands."
_NO_MEMORY = re.compile(r"failed to allocate|unable to allocate|insufficient memory|bad_alloc", re.IGNORECASE)
# What to do, by what llama.cpp says; the first row that is found counts.
_REMEDIES = (
    (re.compile("unknown model architecture"), "The built-in llama.cpp does not run it yet; choose another model"),
    (re.compile("not found|wrong|corrupted|not within|missing"), "The file is damaged or incomplete: make it again"),
)
_ASKED_MIB = re.compile(r"attempted to allocate ([\d.]+) MB")


class Engine:
    """A loaded model. Its weights are mapped from the file; `close` gives the memory back.

    Raises ChatUnavailable with llama.cpp's own reason, or OutOfMemory.
    """

    def __init__(
        self, model: ModelFile, context: int, threads: int, log: NativeLog, cache_type: CacheType = "f16"
    ) -> None:
        started = time.perf_counter()
        self.model = model
        self.cache_type = cache_type
        self.context = min(context, model.trained_context or context)
        parameters = _parameters(model.path, self.context, threads)
        stored_as = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{cache_type.upper()}")
        parameters.cache_type_k = parameters.cache_type_v = stored_as
        self._server: Any = _load(parameters, model.path, log)
        self.load_seconds = time.perf_counter() - started

    @property
    def note(self) -> str:
        """What the user should know about every answer of this model, or ''."""
        return "" if self.model.template else NO_TEMPLATE_NOTE

    def stream(self, messages: tuple[Message, ...], sampling: Sampling, receive: Callable[[Chunk], bool]) -> None:
        """Generates one answer, calling `receive` with each chunk until it returns True or the answer ends.

        Chunks are those of the OpenAI API with llama.cpp's additions: `timings`, `prompt_progress`, `error`.
        """
        options = _request_options(sampling)
        if self.model.template:
            turns = [message.model_dump() for message in self._with_system(messages)]
            self._server.handle_chat_completions({"messages": turns, **options}, receive)
        else:
            text = "\n\n".join(message.content for message in messages)
            self._server.handle_completions({"prompt": text, **options}, receive)

    def close(self) -> None:
        """Unloads the model."""
        self._server = None

    def _with_system(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if messages[0].role == "system" or not self.model.wants_empty_system:
            return messages
        return (Message(role="system", content=""), *messages)


def resident_bytes() -> int:
    """Memory of this process that is in RAM, the mapped part of the model included."""
    return int(psutil.Process().memory_info().rss)


def _parameters(path: Path, context: int, threads: int) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = context
    parameters.n_batch = parameters.n_ubatch = PROMPT_STEP
    parameters.n_gpu_layers = 0
    if threads:
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = LOG_INFORMATION
    # One conversation at a time keeps its state in the context; a second copy of old ones could take gigabytes.
    parameters.cache_ram_mib = 0
    parameters.fit_params = False
    parameters.ui = parameters.endpoint_slots = False
    # The text arrives as the model writes it, thoughts included, instead of being searched for tool calls.
    parameters.force_pure_content_parser = True
    parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    return parameters


def _load(parameters: xllamacpp.CommonParams, path: Path, log: NativeLog) -> xllamacpp.Server:
    with socket_folder() as folder, kept_signal_handlers():
        parameters.hostnames = [str(folder / "chat.sock")]
        try:
            return xllamacpp.Server(parameters)
        except (RuntimeError, MemoryError) as error:
            raise _load_failure(path, log) from error


def _load_failure(path: Path, log: NativeLog) -> BitwrightError:
    text = "\n".join(log.lines())
    if not _NO_MEMORY.search(text):
        reason = log.reason() or "llama.cpp gave no reason"
        remedy = next((remedy for pattern, remedy in _REMEDIES if pattern.search(reason)), "")
        return ChatUnavailable(str(path), reason, remedy)
    asked = _ASKED_MIB.search(text)
    needed = int(float(asked[1]) * 2**20) if asked else None
    return OutOfMemory(needed, "Choose a shorter context or a smaller model, or close other programs")


def _request_options(sampling: Sampling) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "samplers": SAMPLERS,
        # A prompt read anew gives bit-equal numbers; one continued from the cache may not.
        "cache_prompt": sampling.seed < 0,
        "stream": True,
        "timings_per_token": True,
        "return_progress": True,
    }


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A folder that only this user can enter, gone again when left."""
    folder = tempfile.mkdtemp(prefix="bitwright-")
    if len(folder) > LONGEST_SOCKET_FOLDER:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="bitwright-", dir="/tmp")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kept_signal_handlers() -> Iterator[None]:
    """Undoes the library's taking over of Ctrl+C and SIGTERM, which are the program's business."""
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.argtypes, get.restype = [ctypes.c_int], ctypes.c_void_p
    put.argtypes, put.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    before = {number: get(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            put(number, handler)

"""A model's tokenizer and chat template as llama.cpp has them.

The tokenizer's metadata is written as a GGUF file with next to no weights, which llama.cpp loads in an instant; so
every splitting rule and every template is read by the program that will use the result. The library's endpoint is a
socket file in a private folder: no port is opened.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.chat.engine import kept_signal_handlers
from core.chat.native_output import captured
from core.errors import CannotRun
from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from core.jobs import Message
from core.sources import Source

# The smallest Llama that llama.cpp loads: one layer, and rows of one block.
WIDTH = 32
_KEYS: tuple[tuple[str, str, Any], ...] = (
    ("general.architecture", "STRING", "llama"),
    ("llama.block_count", "UINT32", 1),
    ("llama.context_length", "UINT32", 64),
    ("llama.embedding_length", "UINT32", WIDTH),
    ("llama.feed_forward_length", "UINT32", WIDTH),
    ("llama.attention.head_count", "UINT32", 1),
    ("llama.attention.head_count_kv", "UINT32", 1),
    ("llama.attention.layer_norm_rms_epsilon", "FLOAT32", 1e-5),
)
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


class Tokenizer:
    """Token numbers of texts and chats. bos: the token that begins a text, None where texts begin without one.

    Raises CannotRun with llama.cpp's reason where it does not accept the vocabulary.
    """

    def __init__(self, source: Source) -> None:
        self._path = str(source.path)
        self._folder = Path(tempfile.mkdtemp(prefix="bitwright-vocabulary-"))
        self._server: Any = None
        try:
            self._server, self._socket = self._started(source)
        except BaseException:
            self.close()
            raise
        self.has_template = source.has_chat_template
        bare, whole = self._post("/tokenize", content="a"), self._post("/tokenize", content="a", add_special=True)
        begins = len(whole["tokens"]) > len(bare["tokens"]) and whole["tokens"][0] != bare["tokens"][0]
        self.bos: int | None = whole["tokens"][0] if begins else None

    def encode(self, text: str, *, special: bool = False) -> NDArray[np.int64]:
        """Token numbers of `text` without a beginning token. special: names of special tokens in it mean those."""
        answer = self._post("/tokenize", content=text, add_special=False, parse_special=special)
        return np.asarray(answer["tokens"], np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token numbers."""
        return str(self._post("/detokenize", tokens=[int(number) for number in ids])["content"])

    def chat(self, messages: Sequence[Message], *, answer: bool = False) -> str:
        """A conversation through the model's own template; answer: with the opening of the next answer at its end.

        Raises CannotRun where the template refuses it (some know no system turn).
        """
        turns = [message.model_dump() for message in messages]
        reply = self._post("/apply-template", messages=turns, add_generation_prompt=answer)
        return str(reply["prompt"])

    def close(self) -> None:
        """Ends llama.cpp's server and removes the file."""
        with captured():  # it says good-bye
            self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _started(self, source: Source) -> tuple[Any, str]:
        import xllamacpp  # a native library of many megabytes

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(_write_vocabulary(source, self._folder / "vocabulary.gguf"))
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 64
        parameters.n_gpu_layers = 0
        parameters.warmup = parameters.fit_params = parameters.ui = parameters.endpoint_slots = False
        place = str(self._folder / "s")
        parameters.hostnames = [place + ".sock"]
        with captured() as log, kept_signal_handlers():
            try:
                return xllamacpp.Server(parameters), place + ".sock"
            except (RuntimeError, MemoryError) as error:
                reason = log.reason() or "llama.cpp gave no reason"
                raise CannotRun(self._path, f"llama.cpp does not accept its tokenizer: {reason}") from error

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        connection = _SocketConnection(self._socket)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            answer: dict[str, Any] = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != http.client.OK:
            problem = answer.get("error", {}).get("message", reply.reason)
            raise CannotRun(self._path, f"its tokenizer or chat template failed: {problem}")
        return answer


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def _write_vocabulary(source: Source, path: Path) -> Path:
    """A model of zeros with the source's vocabulary."""
    own = [entry for entry in source.metadata if entry.key.startswith("tokenizer.")]
    tokens = next((len(entry.value) for entry in own if entry.key == "tokenizer.ggml.tokens"), 0)
    if not tokens:
        raise CannotRun(str(source.path), "it has no vocabulary")
    keys = [*(KeyValue(*key) for key in _KEYS), *own]
    slots = [
        TensorSlot("token_embd.weight", (tokens, WIDTH), "Q4_0"),
        TensorSlot("output_norm.weight", (WIDTH,), "F32"),
        *(TensorSlot(f"blk.0.{name}.weight", (WIDTH,), "F32") for name in ("attn_norm", "ffn_norm")),
        *(TensorSlot(f"blk.0.{name}.weight", (WIDTH, WIDTH), "F32") for name in _MATRICES),
    ]
    with path.open("wb") as file:
        writer = GGUFWriter(file, keys, layout(keys, slots))
        for slot in slots:
            writer.append(slot.name, bytes(slot.bytes))
        writer.finish()
    return path

"""What every kind of model file looks like to the engine: metadata, tensors, and rows of weights read on demand.

A source knows no policy. It shows the tensors under their GGUF names and the metadata as a GGUF file would carry it,
whatever the files on disk are, so that plan and pipeline need not know where the weights come from.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from core.errors import UnknownTensor, UnsupportedType
from core.formats.gguf_layout import KeyValue
from kernels.blocks import FORMATS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.sources.input_rounding import InputRounding


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """One tensor under its GGUF name. shape: numpy order, row length last. bytes: as `raw` delivers it.

    type is a name of kernels.blocks, or of another ggml type, whose values cannot be read here. packed: where another
    program quantized it and `raw` delivers it dequantized, in what form it is stored ('GPTQ4'), and packed_bytes: what
    it takes there.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int
    packed: str = ""
    packed_bytes: int | None = None

    @property
    def row_length(self) -> int:
        """Elements of one row (1 for a scalar)."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """How many rows there are, experts and other leading dimensions included."""
        return math.prod(self.shape[:-1])

    @property
    def elements(self) -> int:
        """How many weights."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the tensor's own type."""
        return self.bytes // self.rows

    @property
    def stored_type(self) -> str:
        """The form in which the files have it."""
        return self.packed or self.type

    @property
    def stored_bytes(self) -> int:
        """What it takes in the files."""
        return self.bytes if self.packed_bytes is None else self.packed_bytes

    @property
    def readable(self) -> bool:
        """Whether the values can be decoded by this version."""
        return self.type in FORMATS


@dataclass(frozen=True, slots=True)
class Hyper:
    """Sizes of the network that the type policy and the summary ask for; None where the file does not say.

    heads and kv_heads are those of the first layer that has any.
    """

    layers: int | None = None
    embedding_length: int | None = None
    feed_forward_length: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    context_length: int | None = None
    vocabulary: int | None = None
    experts: int | None = None
    experts_used: int | None = None


_HYPER_KEYS: tuple[tuple[str, str], ...] = (
    ("layers", "block_count"),
    ("embedding_length", "embedding_length"),
    ("feed_forward_length", "feed_forward_length"),
    ("heads", "attention.head_count"),
    ("kv_heads", "attention.head_count_kv"),
    ("context_length", "context_length"),
    ("vocabulary", "vocab_size"),
    ("experts", "expert_count"),
    ("experts_used", "expert_used_count"),
)


def hyper_of(architecture: str, metadata: Sequence[KeyValue]) -> Hyper:
    """The sizes that a model's `<architecture>.*` keys give; the vocabulary falls back to the token list's length."""
    by_key = {entry.key: entry.value for entry in metadata}
    sizes = {field: _number(by_key.get(f"{architecture}.{key}")) for field, key in _HYPER_KEYS}
    tokens = by_key.get("tokenizer.ggml.tokens")
    if sizes["vocabulary"] is None and isinstance(tokens, Sequence):
        sizes["vocabulary"] = len(tokens)
    if sizes["kv_heads"] is None:
        sizes["kv_heads"] = sizes["heads"]
    return Hyper(**sizes)


def _number(value: Any) -> int | None:
    """An integer key's value; of a per-layer array, the first that is not zero."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        return next((item for item in value if isinstance(item, int) and item), None)
    return None


class Source(ABC):
    """An opened model. Use it as a context manager; reading is safe from several threads.

    path: the file or folder. files: all files the weights are in. file_bytes: their total size. architecture: GGUF's
    name. tensors: in the order in which a GGUF file should hold them. quantization: how another program quantized its
    weights, in words ('GPTQ 4-bit, group 128'), '' where none did. input_roundings: how what meets a tensor is rounded
    by programs that run the model, for tensors where it is.
    """

    path: Path
    format: Literal["gguf", "safetensors"]
    name: str
    architecture: str
    files: tuple[Path, ...]
    file_bytes: int
    tensors: tuple[SourceTensor, ...]
    hyper: Hyper
    quantization: str = ""
    input_roundings: Mapping[str, InputRounding] = MappingProxyType({})

    @property
    @abstractmethod
    def metadata(self) -> tuple[KeyValue, ...]:
        """All keys for an output GGUF. For a Hugging Face folder they are made here, which reads the tokenizer.

        Raises what core.families raises for a tokenizer or configuration that cannot be converted.
        """

    @property
    @abstractmethod
    def header_rows(self) -> tuple[KeyValue, ...]:
        """What the files themselves say, for inspection: GGUF keys, or config.json's with the type 'json'."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about how the source was understood, one sentence each."""
        return ()

    @property
    def origin(self) -> tuple[Path, ...]:
        """The files that make the source what it is: while they are the same, so is it."""
        return self.files

    @property
    @abstractmethod
    def license(self) -> str:
        """The licence's short name, or ''."""

    @property
    @abstractmethod
    def has_chat_template(self) -> bool:
        """Whether the model brings its chat template."""

    @abstractmethod
    def raw(self, tensor: SourceTensor, first_row: int = 0, n_rows: int | None = None) -> NDArray[np.uint8]:
        """Rows as stored: (n_rows, row_bytes). Raises ReadFailed, TruncatedFile."""

    def part_of(self, tensor: SourceTensor) -> int:
        """In which of a split model's files the tensor is, counted from 0; 0 where the model is one file."""
        return 0

    @abstractmethod
    def release(self, tensor: SourceTensor) -> None:
        """Says that `tensor` will not be read again soon, so that its cached pages may go."""

    @abstractmethod
    def close(self) -> None:
        """Closes all files; the source cannot be read afterwards."""

    def read(
        self, tensor: SourceTensor, first_row: int = 0, n_rows: int | None = None, *, threads: int = 0
    ) -> NDArray[np.float32]:
        """Rows as numbers: (n_rows, row_length). Raises UnsupportedType, ReadFailed, TruncatedFile."""
        if not tensor.readable:
            raise UnsupportedType(str(self.path), tensor.name, tensor.type)
        from kernels import dispatch  # numerical backends: not needed where only headers are read

        return dispatch.decode(tensor.type, self.raw(tensor, first_row, n_rows), tensor.row_length, threads=threads)

    def tensor(self, name: str) -> SourceTensor:
        """The tensor of that name. Raises UnknownTensor."""
        found = next((tensor for tensor in self.tensors if tensor.name == name), None)
        if found is None:
            raise UnknownTensor(str(self.path), name, [tensor.name for tensor in self.tensors])
        return found

    def value(self, key: str, default: Any = None) -> Any:
        """One metadata value by its key."""
        return next((entry.value for entry in self.metadata if entry.key == key), default)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

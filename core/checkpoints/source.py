"""A Hugging Face folder under its own names: its tensors one at a time, and which of them are linear layers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import AlreadyQuantized, CheckpointNeedsFolder, SourceNotFound
from core.families import family_of
from core.families.conversion import Config, Placement, checked_config, placements, renamed
from core.families.model_card import license_of, model_name
from core.formats.file_rows import RangeReader
from core.formats.json_file import read_json_object
from core.formats.safetensors_reader import DTYPE_BYTES, SafetensorsFile, StoredTensor, read_checkpoint
from core.formats.torch_reader import has_torch_checkpoint, read_torch_checkpoint
from kernels import dispatch

LAYER_WEIGHT = re.compile(r"blk\.\d+\.(attn|ffn)_\w+\.weight")
NOT_LINEAR = re.compile(r"_norm|ffn_gate_inp")


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored tensor. file: which of the folder's files it is in. gguf: its name in a GGUF, '' where it has none.

    is_linear: the weights (rows, columns) of a linear layer of a decoder layer. is_expert: one of several that take
    turns, expert: which. shift: what the model adds to the weights of a norm.
    """

    stored: StoredTensor
    file: int
    gguf: str = ""
    is_linear: bool = False
    is_expert: bool = False
    expert: int = 0
    shift: float = 0.0

    @property
    def name(self) -> str:
        """Its name in the folder."""
        return self.stored.name

    @property
    def module(self) -> str:
        """The layer it belongs to."""
        return self.name.removesuffix(".weight")


class CheckpointSource:
    """Reads config.json and the headers of the weights when opened, tensors when asked; close it after use.

    Raises SourceNotFound, CheckpointNeedsFolder, AlreadyQuantized, and what HFSource raises of a folder's headers.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            raise SourceNotFound(str(folder))
        if not folder.is_dir():
            raise CheckpointNeedsFolder(str(folder))
        self.path = folder
        self.name = model_name(folder)
        self.license = license_of(folder)
        self.config = read_json_object(folder / "config.json")
        if self.config.get("quantization_config"):
            raise AlreadyQuantized(str(folder), [str(self.config["quantization_config"].get("quant_method", "?"))])
        family = family_of(str(folder), self.config)
        self.architecture = family.name
        self.label = family.label
        checkpoint = _read(folder)
        self.files = tuple(file.path for file in checkpoint)
        self.file_bytes = sum(file.file_bytes for file in checkpoint)
        stored = {
            renamed(family, entry.name): (number, entry)
            for number, file in enumerate(checkpoint)
            for entry in file.tensors
        }
        kinds = {name: (entry.dtype, entry.shape) for name, (_, entry) in stored.items()}
        checked = checked_config(str(folder), family, self.config)
        self.dimensions = checked.dimensions
        found = placements(checked, kinds)
        places = {source: place for place in found for source in place.sources if not _is_fused(place)}
        apart: dict[str, list[Entry]] = {}
        for place in filter(_is_fused, found):
            apart.setdefault(place.sources[0], []).extend(_taken_apart(place, *stored[place.sources[0]], checked))
        entries: list[Entry] = []
        for name, (file, tensor) in stored.items():
            entries += apart.get(name) or [_entry(name, file, tensor, places.get(name))]
        self.entries = tuple(entries)
        self.is_biased = any(f"{entry.module}.bias" in stored for entry in entries if entry.is_linear)
        self._readers = [RangeReader(file) for file in self.files]

    def bytes_of(self, entry: Entry) -> NDArray[np.uint8]:
        """A tensor's data as stored. Raises ReadFailed, TruncatedFile."""
        return self._readers[entry.file].read(entry.stored.offset, entry.stored.bytes)

    def runs_of(self, entry: Entry, most: int) -> Iterator[NDArray[np.uint8]]:
        """A tensor's data as stored in runs of whole rows of at most `most` bytes. Raises ReadFailed, TruncatedFile."""
        row = max(1, self.row_bytes(entry))
        step = max(1, most // row) * row
        for first in range(0, entry.stored.bytes, step):
            size = min(step, entry.stored.bytes - first)
            yield self._readers[entry.file].read(entry.stored.offset + first, size).reshape(-1, row)

    def row_bytes(self, entry: Entry) -> int:
        """Of a row of a tensor as stored."""
        return (entry.stored.shape[-1] if entry.stored.shape else 1) * DTYPE_BYTES[entry.stored.dtype]

    def numbers(self, entry: Entry) -> NDArray[np.float32]:
        """A tensor of floats, in its own shape. Raises ReadFailed, TruncatedFile."""
        shape = entry.stored.shape
        row = shape[-1] if shape else 1
        data = self.bytes_of(entry).reshape(-1, row * DTYPE_BYTES[entry.stored.dtype])
        return dispatch.decode(entry.stored.dtype, data, row).reshape(shape)

    def close(self) -> None:
        """Closes all files."""
        for reader in self._readers:
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def dtype(self) -> str:
        """What the model computes in, as torch names it."""
        value: Any = self.config.get("dtype") or self.config.get("torch_dtype")
        text = str(value).removeprefix("torch.")
        return text if text in ("bfloat16", "float16", "float32") else "bfloat16"


def _read(folder: Path) -> tuple[SafetensorsFile, ...]:
    if not any(folder.glob("*.safetensors*")) and has_torch_checkpoint(folder):
        return read_torch_checkpoint(folder)
    return read_checkpoint(folder)


def _entry(name: str, file: int, stored: StoredTensor, place: Placement | None) -> Entry:
    if place is None:
        return Entry(stored, file)
    is_linear = (
        len(stored.shape) == 2
        and LAYER_WEIGHT.fullmatch(place.target) is not None
        and not NOT_LINEAR.search(place.target)
        and not place.rule.transposed
        and stored.name.endswith(".weight")
    )
    number = place.sources.index(name)
    return Entry(stored, file, place.target, is_linear, place.rule.per_expert, number, place.rule.shift)


def _is_fused(place: Placement) -> bool:
    """Whether all experts lie in one stored tensor, which is taken apart here."""
    return len(place.shape) == 3 and not place.rule.per_expert


def _taken_apart(place: Placement, file: int, stored: StoredTensor, checked: Config) -> list[Entry]:
    """The experts of a fused tensor under the names that checkpoints on the Hub have for them one by one.

    Such are what programs load a quantized mixture from; their rows lie one after another in the fused tensor.
    """
    rule = next(rule for rule in checked.family.tensors if rule.per_expert and rule.target == place.rule.target)
    layer = int(place.target.split(".")[1])
    experts, rows, columns = place.shape
    part, parts = place.rule.part
    row_bytes = columns * DTYPE_BYTES[stored.dtype]
    return [
        Entry(
            StoredTensor(
                rule.source.format(layer, expert),
                stored.dtype,
                (rows, columns),
                stored.offset + (expert * parts + part) * rows * row_bytes,
                rows * row_bytes,
            ),
            file,
            place.target,
            is_linear=True,
            is_expert=True,
            expert=expert,
        )
        for expert in range(experts)
    ]


# Small files that belong to a model besides its weights and its config.json.
CARRIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE*",
    "NOTICE*",
)
MOST_CARRIED_BYTES = 128 << 20


def carried_files(folder: Path) -> Iterator[Path]:
    """The tokenizer, chat templates, generation settings and licence of a model folder: paths within it."""
    seen = set()
    for pattern in CARRIED:
        for path in sorted(folder.glob(pattern)):
            with contextlib.suppress(OSError):
                own = path.relative_to(folder)
                if path.is_file() and path.stat().st_size <= MOST_CARRIED_BYTES and own not in seen:
                    seen.add(own)
                    yield own

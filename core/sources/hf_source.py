"""A Hugging Face folder (config.json, safetensors, tokenizer) as a Source: a GGUF model, converted while it is read.

Rows of query and key projections come in llama.cpp's order, one-dimensional tensors come as F32, everything else in
the type it is stored in. No intermediate file is written and no more than the rows asked for is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import InvalidHeader
from core.families import family_of
from core.families.conversion import (
    checked_config,
    hyper_key_values,
    interleaved_rows,
    placements,
    rope_frequency_factors,
)
from core.families.model_card import general_key_values, license_of, model_name
from core.families.token_table import has_chat_template
from core.families.tokenizer import convert_tokenizer
from core.formats.file_rows import RangeReader
from core.formats.gguf_layout import KeyValue
from core.formats.json_file import read_json_object
from core.formats.safetensors_reader import StoredTensor, read_checkpoint
from core.sources.base import Source, SourceTensor, hyper_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a tensor's rows are: stored in a file, in their order or that of row_map; or computed."""

    file: int = 0
    stored: StoredTensor | None = None
    row_map: NDArray[np.int64] | None = None
    computed: NDArray[np.float32] | None = None


class HFSource(Source):
    """Reads config.json and the safetensors headers when opened, the tokenizer only when `metadata` is asked for.

    Raises NotAModel, MissingParts, UnknownArchitecture, CannotConvert, UnsupportedType, InvalidHeader, TruncatedFile.
    """

    format = "safetensors"

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._json = read_json_object(folder / "config.json")
        self._config = checked_config(str(folder), family_of(str(folder), self._json), self._json)
        checkpoint = read_checkpoint(folder)
        self.name = model_name(folder)
        self.architecture = self._config.family.name
        self.files = tuple(file.path for file in checkpoint)
        self.file_bytes = sum(file.file_bytes for file in checkpoint)
        stored = {entry.name: (part, entry) for part, file in enumerate(checkpoint) for entry in file.tensors}
        if len(stored) < sum(len(file.tensors) for file in checkpoint):
            raise InvalidHeader(str(folder), "two of its files hold a tensor of the same name")
        self._places: dict[str, _Place] = {}
        self.tensors = tuple(self._placed(stored))
        self._hyper_keys = hyper_key_values(self._config)
        self.hyper = hyper_of(self.architecture, self._hyper_keys)
        self._readers = [RangeReader(file) for file in self.files]

    def _placed(self, stored: dict[str, tuple[int, StoredTensor]]) -> list[SourceTensor]:
        """All tensors under their GGUF names; fills in where each one's rows are."""
        tensors = []
        types = {name: (entry.dtype, entry.shape) for name, (_, entry) in stored.items()}
        for placement in placements(self._config, types):
            part, entry = stored[placement.source]
            row_map = interleaved_rows(placement.shape[0], placement.heads) if placement.heads else None
            self._places[placement.target] = _Place(part, entry, row_map)
            n_bytes = entry.bytes if len(entry.shape) > 1 else 4 * entry.shape[0]
            kind = entry.dtype if len(entry.shape) > 1 else "F32"
            tensors.append(SourceTensor(placement.target, entry.shape, kind, n_bytes))
        factors = rope_frequency_factors(self._config)
        if factors is not None:
            self._places["rope_freqs.weight"] = _Place(computed=factors)
            tensors.insert(1, SourceTensor("rope_freqs.weight", factors.shape, "F32", factors.nbytes))
        return tensors

    @cached_property
    def _converted(self) -> tuple[tuple[KeyValue, ...], tuple[str, ...]]:
        """All metadata and all warnings; reads the tokenizer."""
        family, values = self._config.family, self._config.values
        tokenizer = convert_tokenizer(self.path, values, family.default_pre)
        elements = sum(tensor.elements for tensor in self.tensors)
        general = general_key_values(self.path, family.name, self.name, elements)
        about_config = tuple(text for text in (warn(values) for warn in family.warnings) if text)
        return (*general, *self._hyper_keys, *tokenizer.metadata), about_config + tokenizer.warnings

    @property
    def metadata(self) -> tuple[KeyValue, ...]:
        """The keys of a GGUF of this model, made from config.json, the tokenizer and the model card."""
        return self._converted[0]

    @property
    def header_rows(self) -> tuple[KeyValue, ...]:
        """config.json's entries, with the type 'json'."""
        return tuple(KeyValue(key, "json", value) for key, value in self._json.items())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the conversion assumes or cannot keep. Raises what `metadata` raises."""
        return self._converted[1]

    @property
    def license(self) -> str:
        """The licence the model card names."""
        return license_of(self.path)

    @property
    def has_chat_template(self) -> bool:
        """Whether tokenizer_config.json or chat_template.jinja has one."""
        return has_chat_template(self.path)

    def raw(self, tensor: SourceTensor, first_row: int = 0, n_rows: int | None = None) -> NDArray[np.uint8]:
        """Rows in the tensor's type: (n_rows, row_bytes). Raises ReadFailed, TruncatedFile."""
        place = self._places[tensor.name]
        count = tensor.rows - first_row if n_rows is None else n_rows
        if place.computed is not None:
            return place.computed.view(np.uint8).reshape(1, -1)
        if len(tensor.shape) == 1:
            return self._vector(place).view(np.uint8).reshape(1, -1)
        if place.row_map is None:
            return self._stored_rows(place, tensor, first_row, first_row + count)
        # The rows of one head come from one stretch of the file, so what is read is little more than what is used.
        wanted = place.row_map[first_row : first_row + count]
        first = int(wanted.min())
        return self._stored_rows(place, tensor, first, int(wanted.max()) + 1)[wanted - first]

    def _stored_rows(self, place: _Place, tensor: SourceTensor, first: int, end: int) -> NDArray[np.uint8]:
        assert place.stored is not None
        offset = place.stored.offset + first * tensor.row_bytes
        data = self._readers[place.file].read(offset, (end - first) * tensor.row_bytes)
        return data.reshape(end - first, tensor.row_bytes)

    def _vector(self, place: _Place) -> NDArray[np.float32]:
        """A one-dimensional tensor as F32."""
        from kernels import dispatch

        assert place.stored is not None
        data = self._readers[place.file].read(place.stored.offset, place.stored.bytes)
        values = dispatch.decode(place.stored.dtype, data.reshape(1, -1), place.stored.shape[0], backend="reference")[0]
        return values if place.row_map is None else np.ascontiguousarray(values[place.row_map])

    def release(self, tensor: SourceTensor) -> None:
        """Says that `tensor` will not be read again soon."""
        place = self._places[tensor.name]
        if place.stored is not None:
            self._readers[place.file].release(place.stored.offset, place.stored.bytes)

    def close(self) -> None:
        """Closes all files."""
        for reader in self._readers:
            reader.close()

"""A Hugging Face folder (config.json, weights, tokenizer) as a Source: a GGUF model, converted while it is read.

Rows of query and key projections come in llama.cpp's order, experts stacked, one-dimensional tensors and routers as
F32, weights that are packed (GPTQ, FP8, …) dequantized to F32, everything else in the type it is stored in. No
intermediate file is written and no more than the rows asked for is held, of a transposed matrix (GPT-2's) the whole.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import CannotConvert, InvalidHeader
from core.families import family_of
from core.families.conversion import (
    Placement,
    checked_config,
    hyper_key_values,
    interleaved_rows,
    placements,
    renamed,
)
from core.families.model_card import general_key_values, license_of, model_name
from core.families.rope import rope_tensors
from core.families.token_table import has_chat_template
from core.families.tokenizer import convert_tokenizer
from core.formats.file_rows import RangeReader
from core.formats.gguf_layout import KeyValue
from core.formats.json_file import read_json_object
from core.formats.safetensors_reader import DTYPE_BYTES, SafetensorsFile, read_checkpoint
from core.formats.torch_reader import has_torch_checkpoint, read_torch_checkpoint
from core.sources.base import Source, SourceTensor, hyper_of
from core.sources.input_rounding import InputRounding, input_roundings
from core.sources.quantization import main_label, unpacked
from core.sources.stored_rows import Part, StoredRows, TernaryRows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class _Segment:
    """A run of a tensor's rows: first_row counts in the tensor, begin in what is stored."""

    stored: StoredRows
    begin: int
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a tensor's rows are: in segments of what is stored, in their order or that of row_map; or computed.

    dtype: as stored. For a transposed tensor the segment's rows are the tensor's columns.
    """

    segments: tuple[_Segment, ...] = ()
    dtype: str = "F32"
    row_map: NDArray[np.int64] | None = None
    transposed: bool = False
    shift: float = 0.0
    computed: NDArray[np.float32] | None = None


class HFSource(Source):
    """Reads config.json and the headers of the weights when opened, the tokenizer only when `metadata` is asked for.

    Raises NotAModel, MissingParts, UnknownArchitecture, UnknownQuantization, CannotConvert, UnsupportedType,
    InvalidHeader, TruncatedFile.
    """

    format = "safetensors"

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._json = read_json_object(folder / "config.json")
        self._config = checked_config(str(folder), family_of(str(folder), self._json), self._json)
        checkpoint = _read_checkpoint(folder)
        self.name = model_name(folder)
        self.architecture = self._config.family.name
        self.files = tuple(file.path for file in checkpoint)
        self.file_bytes = sum(file.file_bytes for file in checkpoint)
        with ExitStack() as stack:
            self._readers = [RangeReader(file) for file in self.files]
            for reader in self._readers:
                stack.callback(reader.close)
            stored = self._stored(checkpoint)
            self.quantization = main_label(stored)
            self._places: dict[str, _Place] = {}
            self.tensors = tuple(self._placed(stored))
            self._hyper_keys = hyper_key_values(self._config)
            self.hyper = hyper_of(self.architecture, self._hyper_keys)
            stack.pop_all()

    def _stored(self, checkpoint: Sequence[SafetensorsFile]) -> dict[str, StoredRows]:
        """All tensors of the files by the names that the family's rules have, the packed ones as what they hold."""
        parts = {
            entry.name: Part(reader, entry)
            for reader, file in zip(self._readers, checkpoint, strict=True)
            for entry in file.tensors
        }
        rows = unpacked(str(self.path), self._json, parts)
        family = self._config.family
        found = input_roundings(self._json, parts)
        self._roundings = {renamed(family, name): rounding for name, rounding in found.items()}
        named = {renamed(family, name): row for name, row in rows.items()}
        if len(parts) < sum(len(file.tensors) for file in checkpoint) or len(named) < len(rows):
            raise InvalidHeader(str(self.path), "two of its files hold a tensor of the same name")
        return named

    def _placed(self, stored: dict[str, StoredRows]) -> list[SourceTensor]:
        """All tensors under their GGUF names; fills in where each one's rows are."""
        tensors = []
        self.input_roundings: dict[str, InputRounding] = {}
        types = {name: (row.dtype, row.shape) for name, row in stored.items()}
        for placement in placements(self._config, types):
            place = _place_of(str(self.path), placement, stored)
            if placement.sources[0] in self._roundings:
                self.input_roundings[placement.target] = self._roundings[placement.sources[0]]
            self._places[placement.target] = place
            is_vector = len(placement.shape) == 1
            kind = "F32" if is_vector or placement.rule.float32 else place.dtype
            n_bytes = math.prod(placement.shape) * DTYPE_BYTES[kind]
            packed, stored_bytes = _packing(placement, stored)
            tensors.append(SourceTensor(placement.target, placement.shape, kind, n_bytes, packed, stored_bytes))
        for name, factors in reversed(rope_tensors(self._config).items()):
            self._places[name] = _Place(computed=factors)
            tensors.insert(1, SourceTensor(name, factors.shape, "F32", factors.nbytes))
        return tensors

    @cached_property
    def _converted(self) -> tuple[tuple[KeyValue, ...], tuple[str, ...]]:
        """All metadata and all warnings; reads the tokenizer."""
        family, values = self._config.family, self._config.values
        tokenizer = convert_tokenizer(self.path, values, family)
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
        data = self._ordered_rows(place, tensor, first_row, count)
        if tensor.type == place.dtype and not place.shift:
            return data
        return self._as_numbers(place, tensor, data).view(np.uint8)

    def _ordered_rows(self, place: _Place, tensor: SourceTensor, first: int, count: int) -> NDArray[np.uint8]:
        """Rows in the tensor's order and the stored type; a vector is one row, whatever its order."""
        if place.transposed:
            return self._transposed(place, tensor)[first : first + count]
        if place.row_map is None or len(tensor.shape) == 1:
            return self._stored_rows(place, first, first + count)
        # The rows of one head come from one stretch of the file, so what is read is little more than what is used.
        wanted = place.row_map[first : first + count]
        start = int(wanted.min())
        return self._stored_rows(place, start, int(wanted.max()) + 1)[wanted - start]

    def _stored_rows(self, place: _Place, first: int, end: int) -> NDArray[np.uint8]:
        """Rows [first, end) in the order of the segments: (end - first, bytes of a row)."""
        parts = []
        begin = bisect_right(place.segments, first, key=lambda segment: segment.first_row) - 1
        for segment in place.segments[begin:]:
            low, high = max(first, segment.first_row), min(end, segment.first_row + segment.rows)
            if low >= high:
                break
            parts.append(segment.stored.read(segment.begin + low - segment.first_row, high - low))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _transposed(self, place: _Place, tensor: SourceTensor) -> NDArray[np.uint8]:
        """A whole matrix whose columns are stored as rows: (rows, row_bytes)."""
        stored = self._stored_rows(place, 0, tensor.row_length)
        width = DTYPE_BYTES[place.dtype]
        turned = stored.reshape(tensor.row_length, tensor.rows, width).swapaxes(0, 1)
        return np.ascontiguousarray(turned).reshape(tensor.rows, tensor.row_length * width)

    def _as_numbers(self, place: _Place, tensor: SourceTensor, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Rows as F32, a vector in the order of its row_map."""
        from kernels import dispatch

        values = dispatch.decode(place.dtype, data, tensor.row_length, backend="reference")
        if place.row_map is not None and len(tensor.shape) == 1:
            values = np.ascontiguousarray(values[:, place.row_map])
        return values + np.float32(place.shift) if place.shift else values

    def release(self, tensor: SourceTensor) -> None:
        """Says that `tensor` will not be read again soon."""
        for segment in self._places[tensor.name].segments:
            segment.stored.release()

    def close(self) -> None:
        """Closes all files."""
        for reader in self._readers:
            reader.close()


def _read_checkpoint(folder: Path) -> tuple[SafetensorsFile, ...]:
    """The headers of a folder's weights: safetensors, or PyTorch's own form where there are none."""
    if not any(folder.glob("*.safetensors*")) and has_torch_checkpoint(folder):
        return read_torch_checkpoint(folder)
    return read_checkpoint(folder)


def _place_of(path: str, placement: Placement, stored: Mapping[str, StoredRows]) -> _Place:
    """Where the rows of one tensor are; of a tensor that holds several, or that is one of an expert's, its parts."""
    rule = placement.rule
    if rule.transposed and any(stored[source].packed for source in placement.sources):
        raise CannotConvert(path, f"{placement.sources[0]} is quantized, and its family stores its columns as rows")
    # Rows that follow each other in the file: a stored tensor's, or where it holds several, those of one expert's part.
    number, parts = rule.part
    run = math.prod(placement.stored[:-1]) if parts == 1 else placement.stored[-2] // parts
    groups = math.prod(placement.stored[:-1]) // (run * parts)
    segments: list[_Segment] = []
    for source in placement.sources:
        rows = stored[source]
        # A weight that is packed is ternary already, and by its own scale.
        rows = TernaryRows(rows) if rule.ternary and not rows.packed else rows
        for group in range(groups):
            segments.append(_Segment(rows, (group * parts + number) * run, len(segments) * run, run))
    row_map = interleaved_rows(placement.shape[0], placement.heads) if placement.heads else None
    return _Place(tuple(segments), segments[0].stored.dtype, row_map, rule.transposed, rule.shift)


def _packing(placement: Placement, stored: Mapping[str, StoredRows]) -> tuple[str, int | None]:
    """In what form a tensor is packed and the bytes it takes there; ('', None) for plain numbers."""
    rows = [stored[source] for source in placement.sources]
    if not rows[0].packed:
        return "", None
    return rows[0].packed, sum(row.stored_bytes for row in rows) // placement.rule.part[1]

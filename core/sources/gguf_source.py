"""A GGUF file, or all the parts of a split one, as a Source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InvalidHeader, MissingParts
from core.formats.file_rows import RangeReader
from core.formats.gguf_layout import KeyValue
from core.formats.gguf_reader import Header, TensorEntry, read_header
from core.sources.base import Source, SourceTensor, hyper_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PART_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
_SPLIT_KEYS = frozenset({"split.no", "split.count", "split.tensors.count"})


class GGUFSource(Source):
    """Reads the headers of all parts when opened. Raises what read_header raises, and MissingParts."""

    format = "gguf"

    def __init__(self, path: Path) -> None:
        headers = _all_parts(path)
        first = headers[0]
        self.path = first.path
        self.files = tuple(header.path for header in headers)
        self.file_bytes = sum(header.file_bytes for header in headers)
        self._metadata = tuple(entry for entry in first.metadata if entry.key not in _SPLIT_KEYS)
        self._values = {entry.key: entry.value for entry in self._metadata}
        self.architecture = str(self._values.get("general.architecture", ""))
        self.name = str(self._values.get("general.name") or _PART_NAME.sub(r"\g<stem>", first.path.name))
        self.hyper = hyper_of(self.architecture, self._metadata)
        entries = [(part, entry) for part, header in enumerate(headers) for entry in header.tensors]
        self.tensors = tuple(SourceTensor(entry.name, entry.shape, entry.type, entry.bytes) for _, entry in entries)
        self._places: dict[str, tuple[int, TensorEntry]] = {entry.name: (part, entry) for part, entry in entries}
        if len(self._places) < len(entries):
            raise InvalidHeader(str(self.path), "two of its parts hold a tensor of the same name")
        self._readers = [RangeReader(file) for file in self.files]

    @property
    def metadata(self) -> tuple[KeyValue, ...]:
        """The file's own keys, those about splitting left out."""
        return self._metadata

    @property
    def header_rows(self) -> tuple[KeyValue, ...]:
        """The same as `metadata`."""
        return self._metadata

    @property
    def license(self) -> str:
        """The value of general.license."""
        return str(self._values.get("general.license", ""))

    @property
    def has_chat_template(self) -> bool:
        """Whether tokenizer.chat_template is there."""
        return bool(self._values.get("tokenizer.chat_template"))

    def raw(self, tensor: SourceTensor, first_row: int = 0, n_rows: int | None = None) -> NDArray[np.uint8]:
        """Rows as stored: (n_rows, row_bytes). Raises ReadFailed, TruncatedFile."""
        part, entry = self._places[tensor.name]
        count = tensor.rows - first_row if n_rows is None else n_rows
        data = self._readers[part].read(entry.offset + first_row * tensor.row_bytes, count * tensor.row_bytes)
        return data.reshape(count, tensor.row_bytes)

    def part_of(self, tensor: SourceTensor) -> int:
        """In which of a split model's files the tensor is, counted from 0."""
        return self._places[tensor.name][0]

    def release(self, tensor: SourceTensor) -> None:
        """Says that `tensor` will not be read again soon."""
        part, entry = self._places[tensor.name]
        self._readers[part].release(entry.offset, entry.bytes)

    def close(self) -> None:
        """Closes all parts."""
        for reader in self._readers:
            reader.close()


def _all_parts(path: Path) -> list[Header]:
    """The headers of all parts in order; of one file where it is not split."""
    header = read_header(path)
    count = _split_count(header)
    if count <= 1:
        return [header]
    match = _PART_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise MissingParts(
            str(path), [f"it is part of {count}, and its name does not end in -00001-of-{count:05}.gguf"]
        )
    parts = [path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise MissingParts(str(path), missing)
    return [header if part == path else read_header(part) for part in parts]


def _split_count(header: Header) -> int:
    value = next((entry.value for entry in header.metadata if entry.key == "split.count"), 0)
    return value if isinstance(value, int) else 0

"""Importance matrices: for every weight matrix, how much each of its input columns matters.

The numbers are mean squares of the activations that meet a column, one row of them per expert. llama.cpp's
llama-imatrix writes them as GGUF (`imatrix.*` keys; tensors NAME.in_sum2 with the sums of squares and NAME.counts with
how many were summed) and used to write a plain list (.dat): both are read, GGUF is written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import NotAnImatrix, ReadFailed, SourceNotFound, TruncatedFile
from core.formats.atomic import AtomicFile
from core.formats.gguf_layout import MAGIC, KeyValue
from core.formats.gguf_reader import Header, TensorEntry, read_header
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout

Floats = NDArray[np.float32]

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
MAX_NAME_BYTES = 1 << 10
# An expert that met fewer tokens than this is not judged by them alone.
FEW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """One weight matrix: sums float32 (matrices, columns) of squared activations, counts float32 (matrices, 1).

    The older form does not tell experts apart: there matrices is 1 and columns those of all experts together.
    """

    sums: Floats
    counts: Floats

    @property
    def values(self) -> int:
        """How many numbers there are."""
        return int(self.sums.size)

    def means(self, matrices: int) -> Floats:
        """Importance, float32 (matrices, columns); 1 for a matrix that no activation ever met.

        matrices: experts of the tensor, which must divide `values`. The arithmetic is llama-quantize's, except for
        experts that met few tokens: an expert of n < FEW_TOKENS counts n / FEW_TOKENS with what it met, and the rest
        with the mean over all experts' tokens, where llama-quantize takes noise, or 1 for all columns.
        """
        used = self.counts > 0
        scale = np.where(used, self.counts, np.float32(1))
        means = np.where(used, self.sums / scale, np.float32(1))
        if len(self.counts) > 1 and used.any():
            pooled = self.sums.sum(axis=0, dtype=np.float64) / self.counts.sum(dtype=np.float64)
            own = np.minimum(self.counts / np.float32(FEW_TOKENS), np.float32(1))
            means = np.where(own < 1, own * means + (1 - own) * pooled, means)
        return np.ascontiguousarray(means, dtype=np.float32).reshape(matrices, -1)


@dataclass(frozen=True, slots=True)
class ImportanceMatrix:
    """A whole file. chunks and chunk_size (tokens) say how much text was read; 0 where the file does not."""

    entries: Mapping[str, Entry]
    datasets: tuple[str, ...] = ()
    chunks: int = 0
    chunk_size: int = 0
    path: Path = field(default=Path(), compare=False)

    def selected(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> ImportanceMatrix:
        """Only the entries whose name holds a part in `include`, if there is any, and none in `exclude`."""
        kept = {
            name: entry
            for name, entry in self.entries.items()
            if (not include or any(part in name for part in include)) and not any(part in name for part in exclude)
        }
        return ImportanceMatrix(kept, self.datasets, self.chunks, self.chunk_size, self.path)


def read_imatrix(path: Path) -> ImportanceMatrix:
    """Reads either form; the numbers stay on disk until they are used.

    Raises SourceNotFound, NotAnImatrix, ReadFailed, and for a damaged GGUF what read_header raises.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        data = np.memmap(path, np.uint8, "r") if magic else np.empty(0, np.uint8)
    except FileNotFoundError as error:
        raise SourceNotFound(str(path)) from error
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    matrix = _from_gguf(read_header(path), data) if magic == MAGIC else _from_list(path, data)
    if not matrix.entries:
        raise NotAnImatrix(str(path), "it has no entries")
    for name, entry in matrix.entries.items():
        if not (np.isfinite(entry.sums).all() and np.isfinite(entry.counts).all() and (entry.sums >= 0).all()):
            raise NotAnImatrix(str(path), f"the entry {name} holds numbers that are negative, infinite or NaN")
    return matrix


def write_imatrix(path: Path, matrix: ImportanceMatrix) -> None:
    """Writes the GGUF form. Raises OutputNotWritable, DiskFull."""
    metadata = (
        KeyValue("general.type", "STRING", "imatrix"),
        KeyValue(DATASETS, "ARRAY[STRING]", list(matrix.datasets)),
        KeyValue(CHUNK_COUNT, "UINT32", matrix.chunks),
        KeyValue(CHUNK_SIZE, "UINT32", matrix.chunk_size),
    )
    tensors = [
        (f"{name}{suffix}", array)
        for name, entry in sorted(matrix.entries.items())
        for suffix, array in ((SUMS, entry.sums), (COUNTS, entry.counts))
    ]
    places = layout(metadata, [TensorSlot(name, array.shape, "F32") for name, array in tensors])
    with AtomicFile(path, places.bytes) as out:
        writer = GGUFWriter(out, metadata, places)
        for name, array in tensors:
            writer.append(name, np.ascontiguousarray(array, dtype="<f4"))
        writer.finish()
        out.commit()


# ---------------------------------------------------------------- the GGUF form


def _from_gguf(header: Header, data: NDArray[np.uint8]) -> ImportanceMatrix:
    said = {entry.key: entry.value for entry in header.metadata}
    missing = [key for key in (DATASETS, CHUNK_COUNT, CHUNK_SIZE) if key not in said]
    if missing:
        kind = said.get("general.architecture")
        problem = f"it is a model ({kind})" if kind else f"it lacks the metadata {missing[0]}"
        raise NotAnImatrix(str(header.path), problem)
    arrays = {tensor.name: _array(header.path, tensor, data) for tensor in header.tensors}
    return ImportanceMatrix(
        dict(_entries(header.path, arrays)),
        tuple(said[DATASETS]),
        int(said[CHUNK_COUNT]),
        int(said[CHUNK_SIZE]),
        header.path,
    )


def _array(path: Path, tensor: TensorEntry, data: NDArray[np.uint8]) -> Floats:
    if tensor.type != "F32":
        raise NotAnImatrix(str(path), f"{tensor.name} is stored as {tensor.type} instead of F32")
    columns = tensor.shape[-1] if tensor.shape else 1
    array: Floats = data[tensor.offset : tensor.offset + tensor.bytes].view("<f4").reshape(-1, columns)
    return array


def _entries(path: Path, arrays: Mapping[str, Floats]) -> Iterable[tuple[str, Entry]]:
    names = sorted({name.removesuffix(SUMS).removesuffix(COUNTS) for name in arrays if name.endswith((SUMS, COUNTS))})
    for name in names:
        sums, counts = arrays.get(name + SUMS), arrays.get(name + COUNTS)
        if sums is None or counts is None or len(counts) != len(sums) or counts.shape[1] != 1:
            raise NotAnImatrix(str(path), f"sums and counts of the entry {name} do not belong together")
        # Counts are whole numbers of tokens in llama.cpp, whatever a file says.
        yield name, Entry(sums, np.round(counts))


# ---------------------------------------------------------------- the older form


class _List:
    """A position in the older form: little-endian int32 numbers, texts with their length before them, floats."""

    def __init__(self, path: Path, data: NDArray[np.uint8]) -> None:
        self.path = path
        self.data = data
        self.position = 0

    @property
    def ended(self) -> bool:
        return self.position >= len(self.data)

    def take(self, n_bytes: int) -> NDArray[np.uint8]:
        if self.position + n_bytes > len(self.data):
            raise TruncatedFile(str(self.path), self.position + n_bytes, len(self.data))
        self.position += n_bytes
        return self.data[self.position - n_bytes : self.position]

    def number(self, what: str, least: int, most: int) -> int:
        (value,) = struct.unpack("<i", self.take(4).tobytes())
        if not least <= value <= most:
            raise NotAnImatrix(str(self.path), f"at byte {self.position - 4} it has {value} as {what}")
        return int(value)

    def text(self, what: str) -> str:
        return self.take(self.number(f"the length of {what}", 0, MAX_NAME_BYTES)).tobytes().decode("utf-8", "replace")


def _from_list(path: Path, data: NDArray[np.uint8]) -> ImportanceMatrix:
    """All entries (name, calls, n values, values), then perhaps the number of chunks and the dataset's name."""
    reader = _List(path, data)
    entries = {}
    for _ in range(reader.number("the number of entries", 1, 1 << 20)):
        name = reader.text("a name")
        calls = reader.number("a number of calls", -(1 << 31), (1 << 31) - 1)
        count = reader.number("a number of values", 1, (1 << 31) - 1)
        sums: Floats = reader.take(4 * count).copy().view("<f4").reshape(1, count)
        # Without calls the values are taken as they are.
        entries[name] = Entry(sums, np.full((1, 1), max(calls, 1), np.float32))
    chunks = 0 if reader.ended else max(reader.number("the number of chunks", -(1 << 31), (1 << 31) - 1), 0)
    dataset = "" if reader.ended else reader.text("the dataset's name")
    return ImportanceMatrix(entries, (dataset,) if dataset else (), chunks, 0, path)

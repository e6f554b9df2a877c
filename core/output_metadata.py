"""The metadata of an output: the source's, what the user sets, what says how the file was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from core.catalog import ALIASES, COPY, MIX, Mix
from core.errors import InvalidMetadata
from core.formats.gguf_layout import ALIGNMENT_KEY, MAX_ALIGNMENT, KeyValue
from core.formats.gguf_writer import encode_key_value
from core.imatrix import ImportanceMatrix
from core.jobs import KeyOverride, QuantizeOptions
from core.sources import Source

QUANTIZATION_VERSION = 2
INTEGERS = ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64")
FLOATS = ("FLOAT32", "FLOAT64")
BOOLEANS = {"true": True, "false": False}
# The type a new key gets; a key that is there keeps its own where that is of the same kind.
NEW_TYPE = {"int": "UINT32", "float": "FLOAT32", "bool": "BOOL", "str": "STRING"}
KINDS: dict[str, tuple[str, ...]] = {"int": INTEGERS, "float": FLOATS, "bool": ("BOOL",), "str": ("STRING",)}


def output_metadata(
    source: Source, mix: Mix, options: QuantizeOptions, matrix: ImportanceMatrix | None
) -> tuple[KeyValue, ...]:
    """The source's metadata with the keys that are said anew, in the same places where they were there.

    Raises InvalidMetadata.
    """
    before = {entry.key: entry.type for entry in source.metadata}
    said = {entry.key: entry for entry in _made(source, mix, options, matrix)}
    said |= {override.key: as_entry(override, before.get(override.key)) for override in options.override_kv}
    kept = tuple(said.pop(entry.key, entry) for entry in source.metadata)
    return (*kept, *said.values())


def _made(source: Source, mix: Mix, options: QuantizeOptions, matrix: ImportanceMatrix | None) -> Iterable[KeyValue]:
    file_type = _kept_file_type(source) if mix is COPY else mix.file_type
    if file_type is not None:
        yield KeyValue("general.file_type", "UINT32", file_type)
    yield KeyValue("general.quantization_version", "UINT32", QUANTIZATION_VERSION)
    if options.fit != "fast" and mix is not COPY:
        yield KeyValue("quantize.fit", "STRING", options.fit)
    if matrix is None:
        return
    yield KeyValue("quantize.imatrix.file", "STRING", matrix.path.name)
    if matrix.datasets:
        yield KeyValue("quantize.imatrix.dataset", "STRING", matrix.datasets[0])
    yield KeyValue("quantize.imatrix.entries_count", "UINT32", len(matrix.entries))
    if matrix.chunks:
        yield KeyValue("quantize.imatrix.chunks_count", "UINT32", matrix.chunks)


def _kept_file_type(source: Source) -> int | None:
    """What the source says of itself; where it does not, the mix of the type that most of its matrices have."""
    own = source.value("general.file_type")
    if isinstance(own, int):
        return own
    types = Counter(tensor.type for tensor in source.tensors if len(tensor.shape) > 1)
    most = max(types, key=lambda name: types[name], default="")
    mix = MIX.get(ALIASES.get(most, most))
    return mix.file_type if mix else None


def as_entry(override: KeyOverride, before: str | None = None) -> KeyValue:
    """A user's entry, ready to be written. before: the type the key has in the source. Raises InvalidMetadata."""
    kind = before if before in KINDS[override.type] else NEW_TYPE[override.type]
    try:
        entry = KeyValue(override.key, kind, _value(override))
        encode_key_value(entry)
    except ValueError as error:
        raise InvalidMetadata(
            override.key, f"{override.value} is no {override.type} that can be stored there"
        ) from error
    if override.key == ALIGNMENT_KEY and not _is_alignment(entry.value):
        raise InvalidMetadata(override.key, f"it must be a power of two of at most {MAX_ALIGNMENT}")
    return entry


def _value(override: KeyOverride) -> int | float | bool | str:
    if override.type == "int":
        return int(override.value)
    if override.type == "float":
        return float(override.value)
    if override.type == "bool":
        if override.value not in BOOLEANS:
            raise ValueError(override.value)
        return BOOLEANS[override.value]
    return override.value


def _is_alignment(value: object) -> bool:
    # GGUF readers accept multiples of 8 only.
    return isinstance(value, int) and 8 <= value <= MAX_ALIGNMENT and value & (value - 1) == 0

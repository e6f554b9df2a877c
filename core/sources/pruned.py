"""A source without some of its layers: the others move up, under new numbers, in tensors and metadata alike.

Plan and pipeline see an ordinary source. What the numbers become is what llama-quantize makes of them (`remap_layer` in
llama.cpp's `src/llama-quant.cpp`, October 2026). It sets the number of layers only; here the arrays with a value for
every layer and the counts of first and last layers follow too, without which llama.cpp does not load the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from core.errors import NoLayersLeft, NoSuchLayer
from core.formats.gguf_layout import KeyValue
from core.imatrix import ImportanceMatrix
from core.sources.base import Source, SourceTensor
from core.sources.view import ViewSource

LAYER = re.compile(r"(?<![^.])blk\.(\d+)\.")
# Keys behind the architecture's name. How many layers there are, or how many of the first are of a kind.
FIRST = ("block_count", "decoder_block_count", "leading_dense_block_count")
# How many of the last layers are of a kind.
LAST = ("nextn_predict_layers",)
# May be arrays with a value for every layer (llama.cpp's get_key_or_arr and get_arr calls).
EVERY = (
    "attention.head_count",
    "attention.head_count_kv",
    "attention.sliding_window_pattern",
    "attention.rope_pattern",
    "attention.recurrent_layers",
    "attention.indexer.types",
    "attention.compress_ratios",
    "feed_forward_length",
    "expert_feed_forward_length",
    "expert_used_count",
    "deepstack_mapping",
    "swiglu_clamp_exp",
    "swiglu_clamp_shexp",
)
# The same, without an architecture before them.
EVERY_PLAIN = ("xielu.alpha_n", "xielu.alpha_p", "xielu.beta", "xielu.eps")


def renumbered(name: str, dropped: frozenset[int]) -> str | None:
    """The name a tensor gets when these layers are dropped; None where its own is one of them."""
    found = LAYER.search(name)
    if found is None:
        return name
    layer = int(found[1])
    if layer in dropped:
        return None
    return f"{name[: found.start(1)]}{layer - _below(layer, dropped)}{name[found.end(1) :]}"


def matrix_renumbered(matrix: ImportanceMatrix, layers: Sequence[int]) -> ImportanceMatrix:
    """An importance matrix of the whole model, under the names that tensors have once these layers are dropped."""
    dropped = frozenset(layers)
    entries = {name: entry for old, entry in matrix.entries.items() if (name := renumbered(old, dropped)) is not None}
    return ImportanceMatrix(entries, matrix.datasets, matrix.chunks, matrix.chunk_size, matrix.path)


def without_layers(source: Source, layers: Sequence[int]) -> Source:
    """The source without these layers, itself where there are none. Raises NoSuchLayer, NoLayersLeft."""
    if not layers:
        return source
    count = source.hyper.layers or 0
    unknown = next((layer for layer in sorted(layers) if layer >= count), None)
    if unknown is not None:
        raise NoSuchLayer(str(source.path), unknown, count)
    if len(set(layers)) == count:
        raise NoLayersLeft(str(source.path), count)
    return PrunedSource(source, frozenset(layers))


class PrunedSource(ViewSource):
    """A view of `whole`, which it does not close before it is closed itself.

    hyper stays that of the whole model: llama-quantize, too, chooses types by the number of layers there were.
    """

    def __init__(self, whole: Source, dropped: frozenset[int]) -> None:
        super().__init__(whole)
        self._dropped = dropped
        kept = [(name, tensor) for tensor in whole.tensors if (name := renumbered(tensor.name, dropped)) is not None]
        self.tensors = tuple(replace(tensor, name=name) for name, tensor in kept)
        self._original = dict(kept)
        parts = sorted({whole.part_of(tensor) for _, tensor in kept})
        self._parts = {part: number for number, part in enumerate(parts)}

    @property
    def metadata(self) -> tuple[KeyValue, ...]:
        """The whole model's keys; what counts layers, or has a value for each, fits those that are left."""
        return tuple(self._following(entry) for entry in self._whole.metadata)

    def original(self, tensor: SourceTensor) -> SourceTensor:
        """The tensor under the number that its layer had."""
        return self._original[tensor.name]

    def part_of(self, tensor: SourceTensor) -> int:
        """In which of a split model's files the tensor is, those left out that hold nothing but dropped layers."""
        return self._parts[self._whole.part_of(self._original[tensor.name])]

    def _following(self, entry: KeyValue) -> KeyValue:
        """A metadata entry as it is for the layers that are left."""
        key, value = entry.key.removeprefix(f"{self.architecture}."), entry.value
        if key in EVERY + EVERY_PLAIN and entry.type.startswith("ARRAY") and len(value) == self.hyper.layers:
            return KeyValue(entry.key, entry.type, [v for at, v in enumerate(value) if at not in self._dropped])
        if entry.key == key or not isinstance(value, int):
            return entry
        if key in FIRST:
            return KeyValue(entry.key, entry.type, value - _below(value, self._dropped))
        if key in LAST:
            first = (self.hyper.layers or 0) - value
            return KeyValue(entry.key, entry.type, value - sum(layer >= first for layer in self._dropped))
        return entry


def _below(number: int, layers: frozenset[int]) -> int:
    return sum(layer < number for layer in layers)

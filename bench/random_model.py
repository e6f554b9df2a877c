"""Writes GGUF files of any family with random weights and the sample's tokenizer, which llama.cpp loads and runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

from core.catalog import sample_path

SEED = 21
# As large as weights of such widths usually are.
SCALE = 0.02
TOKENIZER = "tokenizer."


@dataclass(frozen=True, slots=True)
class RandomModel:
    """The numbers that fix a decoder's tensors; the vocabulary is the sample's.

    extra: further `<architecture>.*` keys, whole numbers. norms: further vectors of a layer, by name and length.
    """

    architecture: str
    width: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    extra: dict[str, int] = field(default_factory=dict)
    norms: dict[str, int] = field(default_factory=dict)
    biases: bool = False

    def tensors(self, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape, numpy order; the output layer is the token embedding."""
        yield "token_embd.weight", (vocabulary, self.width)
        yield "output_norm.weight", (self.width,)
        for layer in range(self.layers):
            for name, shape in self.layer_tensors().items():
                yield f"blk.{layer}.{name}", shape

    def layer_tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of one layer's tensors."""
        query, key = self.heads * self.head, self.kv_heads * self.head
        vectors = {"attn_norm": self.width, "ffn_norm": self.width} | self.norms
        biases = {"attn_q": query, "attn_k": key, "attn_v": key} if self.biases else {}
        return {
            "attn_q.weight": (query, self.width),
            "attn_k.weight": (key, self.width),
            "attn_v.weight": (key, self.width),
            "attn_output.weight": (self.width, query),
            "ffn_gate.weight": (self.feed_forward, self.width),
            "ffn_up.weight": (self.feed_forward, self.width),
            "ffn_down.weight": (self.width, self.feed_forward),
            **{f"{name}.weight": (length,) for name, length in vectors.items()},
            **{f"{name}.bias": (length,) for name, length in biases.items()},
        }


def write_random(path: Path, model: RandomModel) -> None:
    """Writes the model with its matrices in F16."""
    writer = gguf.GGUFWriter(path, model.architecture)
    writer.add_context_length(1 << 17)
    writer.add_block_count(model.layers)
    writer.add_embedding_length(model.width)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head)
    writer.add_value_length(model.head)
    writer.add_rope_dimension_count(model.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for key, value in model.extra.items():
        writer.add_uint32(f"{model.architecture}.{key}", value)
    vocabulary = _copy_tokenizer(writer)
    generator = np.random.default_rng(SEED)
    for name, shape in model.tensors(vocabulary):
        writer.add_tensor(name, _weights(generator, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _weights(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    return (generator.standard_normal(shape, np.float32) * np.float32(SCALE)).astype(np.float16)


def _copy_tokenizer(writer: gguf.GGUFWriter) -> int:
    """Copies the sample's tokenizer and returns its vocabulary. Raises FileNotFoundError without the sample."""
    sample = sample_path()
    if sample is None:
        raise FileNotFoundError("the bundled sample is not installed: run `make test`")
    fields = gguf.GGUFReader(sample).fields
    for name, entry in fields.items():
        if name.startswith(TOKENIZER):
            kinds = entry.types
            sub_type = kinds[1] if len(kinds) > 1 else None
            writer.add_key_value(name, entry.contents(), kinds[0], sub_type)
    return len(fields["tokenizer.ggml.tokens"].data)

"""Small GGUF files made for a test: a few tensors of any type, in any shape, with the metadata of a Llama."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from kernels import dispatch

WIDTH = 256


def metadata(layers: int = 2, architecture: str = "llama") -> list[KeyValue]:
    """The keys that the policy and the summary read."""
    return [
        KeyValue("general.architecture", "STRING", architecture),
        KeyValue("general.name", "STRING", "Small"),
        KeyValue(f"{architecture}.block_count", "UINT32", layers),
        KeyValue(f"{architecture}.attention.head_count", "UINT32", 4),
        KeyValue(f"{architecture}.attention.head_count_kv", "UINT32", 2),
        KeyValue("tokenizer.ggml.tokens", "ARRAY[STRING]", ["a", "b", "c"]),
    ]


def weights(layers: int = 2, width: int = WIDTH, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 tensors of a small Llama, by GGUF name."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * 0.05).astype(np.float32)

    tensors = {"token_embd.weight": matrix(64, width), "output_norm.weight": np.ones(width, np.float32)}
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_gate", "ffn_down"):
            tensors[f"blk.{layer}.{name}.weight"] = matrix(32, width)
        tensors[f"blk.{layer}.attn_norm.weight"] = np.ones(width, np.float32)
    tensors["output.weight"] = matrix(64, width)
    return tensors


def write(
    path: Path, tensors: dict[str, np.ndarray], type_name: str = "F32", keys: list[KeyValue] | None = None
) -> Path:
    """Writes matrices in the given type and vectors in F32."""
    keys = metadata() if keys is None else keys
    slots = [TensorSlot(name, x.shape, type_name if x.ndim > 1 else "F32") for name, x in tensors.items()]
    with path.open("wb") as file:
        writer = GGUFWriter(file, keys, layout(keys, slots))
        for slot in slots:
            x = tensors[slot.name]
            writer.append(slot.name, dispatch.encode(slot.type, x.reshape(-1, x.shape[-1]), backend="reference"))
        writer.finish()
    return path


def small_model(path: Path, type_name: str = "F32", **options: int) -> Path:
    """A small Llama of random weights."""
    return write(path, weights(**options), type_name, metadata(options.get("layers", 2)))

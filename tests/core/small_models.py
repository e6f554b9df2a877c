"""Small GGUF files made for a test: a few tensors of any type, in any shape, with the metadata of a Llama."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.catalog import MIX
from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from core.imatrix import Entry, ImportanceMatrix, write_imatrix
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


def moe_metadata(layers: int = 2, experts: int = 4) -> list[KeyValue]:
    """The keys of a small mixture of experts."""
    return [*metadata(layers, "qwen3moe"), KeyValue("qwen3moe.expert_count", "UINT32", experts)]


def moe_weights(layers: int = 2, width: int = WIDTH, experts: int = 4) -> dict[str, np.ndarray]:
    """Random float32 tensors of a small mixture of experts, by GGUF name."""
    rng = np.random.default_rng(1)
    tensors = {name: x for name, x in weights(layers, width).items() if "ffn_" not in name}
    for layer in range(layers):
        tensors[f"blk.{layer}.ffn_gate_inp.weight"] = rng.standard_normal((experts, width)).astype(np.float32)
        for name in ("ffn_up_exps", "ffn_gate_exps", "ffn_down_exps"):
            tensors[f"blk.{layer}.{name}.weight"] = rng.standard_normal((experts, 16, width)).astype(np.float32)
    return tensors


def importance_of(tensors: dict[str, np.ndarray], seed: int = 2) -> ImportanceMatrix:
    """A matrix with an entry for every weight matrix in a layer; the last expert was never asked."""
    rng = np.random.default_rng(seed)
    entries = {}
    for name, x in tensors.items():
        if not name.startswith("blk.") or x.ndim < 2:
            continue
        matrices = x.shape[0] if x.ndim == 3 else 1
        counts = np.full((matrices, 1), 64, np.float32)
        counts[-1] = 0 if matrices > 1 else 64
        sums = rng.gamma(0.5, 10, (matrices, x.shape[-1])).astype(np.float32) * (counts > 0)
        entries[name] = Entry(sums.astype(np.float32), counts)
    return ImportanceMatrix(entries, ("prose.txt",), 7, 512)


def imatrix_for(mix: str, folder: Path, tensors: dict[str, np.ndarray]) -> str:
    """The path of an importance matrix where a mix cannot be made without one, else ''."""
    if not MIX[mix].importance:
        return ""
    path = folder / "small.imatrix.gguf"
    write_imatrix(path, importance_of(tensors))
    return str(path)


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

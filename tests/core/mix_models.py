"""Small random models that llama.cpp loads, wide enough (rows of 256) for every type: a Llama and a Qwen3-MoE.

They show what `small_models` cannot: the rules of the mixes layer by layer, and that finished files run.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from core.imatrix import Entry, ImportanceMatrix, write_imatrix

WIDTH = 256
HEAD = 64
SPECIAL = "<|end|>"
N_PRINTABLE = 94


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model's shape. experts 0: dense. tied: no output layer of its own."""

    architecture: str
    layers: int
    kv_heads: int
    experts: int = 0
    tied: bool = False

    @property
    def heads(self) -> int:
        """Attention heads."""
        return WIDTH // HEAD


# One value projection for four heads or as many as heads; eight experts, for which there are rules, or another number.
MODELS: dict[str, Blueprint] = {
    "llama-grouped": Blueprint("llama", layers=16, kv_heads=1),
    "llama-tied": Blueprint("llama", layers=16, kv_heads=4, tied=True),
    "qwen3moe-8": Blueprint("qwen3moe", layers=8, kv_heads=2, experts=8),
    "qwen3moe-4": Blueprint("qwen3moe", layers=8, kv_heads=1, experts=4),
}


def shapes(model: Blueprint) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape by its GGUF name."""
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(vocabulary()), WIDTH),
        "output_norm.weight": (WIDTH,),
    }
    for layer in range(model.layers):
        found |= {f"blk.{layer}.{name}.weight": shape for name, shape in _layer(model).items()}
    if not model.tied:
        found["output.weight"] = (len(vocabulary()), WIDTH)
    return found


def _layer(model: Blueprint) -> dict[str, tuple[int, ...]]:
    values = (model.kv_heads * HEAD, WIDTH)
    found: dict[str, tuple[int, ...]] = {
        "attn_norm": (WIDTH,),
        "attn_q": (WIDTH, WIDTH),
        "attn_k": values,
        "attn_v": values,
        "attn_output": (WIDTH, WIDTH),
        "ffn_norm": (WIDTH,),
    }
    if not model.experts:
        return found | dict.fromkeys(("ffn_gate", "ffn_up", "ffn_down"), (WIDTH, WIDTH))
    stack = (model.experts, WIDTH, WIDTH)
    own: dict[str, tuple[int, ...]] = {
        "attn_q_norm": (HEAD,),
        "attn_k_norm": (HEAD,),
        "ffn_gate_inp": (model.experts, WIDTH),
    }
    return found | own | dict.fromkeys(("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"), stack)


def vocabulary() -> list[str]:
    """The 256 signs of a byte-level tokenizer, one merge, and the end of the text."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    signs = [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]
    return [*signs, "th", SPECIAL]


def metadata(model: Blueprint) -> list[KeyValue]:
    """The keys without which llama.cpp does not load the model."""
    numbers = {
        "block_count": model.layers,
        "context_length": 128,
        "embedding_length": WIDTH,
        "feed_forward_length": WIDTH,
        "attention.head_count": model.heads,
        "attention.head_count_kv": model.kv_heads,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
    }
    if model.experts:
        numbers |= {"expert_count": model.experts, "expert_used_count": 2, "expert_feed_forward_length": WIDTH}
    tokens = vocabulary()
    own = [KeyValue(f"{model.architecture}.{key}", "UINT32", value) for key, value in numbers.items()]
    return [
        KeyValue("general.architecture", "STRING", model.architecture),
        KeyValue("general.name", "STRING", "Random"),
        *own,
        KeyValue(f"{model.architecture}.attention.layer_norm_rms_epsilon", "FLOAT32", 1e-5),
        KeyValue("tokenizer.ggml.model", "STRING", "gpt2"),
        KeyValue("tokenizer.ggml.pre", "STRING", "default"),
        KeyValue("tokenizer.ggml.tokens", "ARRAY[STRING]", tokens),
        KeyValue("tokenizer.ggml.token_type", "ARRAY[INT32]", [1] * (len(tokens) - 1) + [3]),
        KeyValue("tokenizer.ggml.merges", "ARRAY[STRING]", ["t h"]),
        KeyValue("tokenizer.ggml.bos_token_id", "UINT32", len(tokens) - 1),
        KeyValue("tokenizer.ggml.eos_token_id", "UINT32", len(tokens) - 1),
    ]


def write_model(path: Path, model: Blueprint) -> Path:
    """Writes a model of random weights: matrices in F16, vectors and routers in F32."""
    rng = np.random.default_rng(0)
    slots = [
        TensorSlot(name, shape, "F32" if len(shape) == 1 or "gate_inp" in name else "F16")
        for name, shape in shapes(model).items()
    ]
    keys = metadata(model)
    with path.open("wb") as file:
        writer = GGUFWriter(file, keys, layout(keys, slots))
        for slot in slots:
            writer.append(slot.name, _weights(rng, slot).astype(np.float32 if slot.type == "F32" else np.float16))
        writer.finish()
    return path


def _weights(rng: np.random.Generator, slot: TensorSlot) -> np.ndarray:
    if len(slot.shape) == 1:
        return np.ones(slot.shape)
    values = rng.standard_normal(slot.shape) * 0.06
    if slot.name in ("token_embd.weight", "output.weight"):
        values[N_PRINTABLE:] = 0  # then the likeliest token is never the end, nor a part of a sign
    return values


def write_importance(path: Path, matrices: dict[str, tuple[int, ...]]) -> str:
    """An importance matrix for every weight matrix of the layers, by name and shape; returns the path as text."""
    rng = np.random.default_rng(1)
    entries = {}
    for name, shape in matrices.items():
        if name.startswith("blk.") and len(shape) > 1 and "gate_inp" not in name:
            stacks = shape[0] if len(shape) > 2 else 1
            sums = rng.gamma(0.5, 10, (stacks, shape[-1])).astype(np.float32)
            entries[name] = Entry(sums, np.full((stacks, 1), 64, np.float32))
    write_imatrix(path, ImportanceMatrix(entries, ("random",), 1, 512))
    return str(path)


def compact(types: dict[str, str]) -> dict[str, str]:
    """A type for every tensor, written short: the layers of one name together, as 'Q6_K*2 Q4_K*14'."""
    layers: dict[str, dict[int, str]] = {}
    for name, type_name in types.items():
        number = re.match(r"blk\.(\d+)\.", name)
        pattern = re.sub(r"^blk\.\d+\.", "blk.*.", name)
        layers.setdefault(pattern, {})[int(number[1]) if number else 0] = type_name
    return {pattern: _runs([found[number] for number in sorted(found)]) for pattern, found in sorted(layers.items())}


def _runs(types: list[str]) -> str:
    return " ".join(f"{name}*{len(list(run))}" for name, run in itertools.groupby(types))

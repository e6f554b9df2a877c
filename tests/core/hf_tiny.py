"""A tiny random Llama folder with a byte-level BPE tokenizer, cheap enough to be built anew for every oddity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "vocab_size": 320,
    "tie_word_embeddings": True,
}
SPECIAL = ("<|begin|>", "<|end|>")
TEXT = ["the quick brown fox jumps over the lazy dog", "one two three 1 22 333", "ünïcödé 🚀 text, with 'marks'!"]


def layer_shapes(number: int, hidden: int, inner: int, query: int, key: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a layer of a Llama. query, key: numbers of all heads together."""
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key, hidden),
        "self_attn.v_proj": (key, hidden),
        "self_attn.o_proj": (hidden, query),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}


def tensors(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under Hugging Face's names, in the shapes that `config` gives."""
    chance = np.random.default_rng(seed)
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for number in range(config["num_hidden_layers"]):
        shapes |= layer_shapes(number, hidden, inner, query, key)
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return {name: chance.normal(0, 0.05, shape).astype(np.float16) for name, shape in shapes.items()}


def tokenizer(vocabulary: int = 300, digits: bool = True) -> dict[str, Any]:
    """A tokenizer.json with two special tokens, trained on a few sentences."""
    trained = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    steps = [pre_tokenizers.Digits(individual_digits=True), byte_level] if digits else [byte_level]
    trained.pre_tokenizer = pre_tokenizers.Sequence(steps)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(TEXT * 20, trainer)
    result: dict[str, Any] = json.loads(trained.to_str())
    return result


def build(
    folder: Path,
    config: dict[str, Any] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    files: dict[str, Any] | None = None,
) -> Path:
    """Writes the folder: CONFIG with `config` over it, `weights` over the random ones, and more JSON or text files.

    A value None in `config` or `files` leaves that entry out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    merged = {key: value for key, value in {**CONFIG, **(config or {})}.items() if value is not None}
    save_file(tensors(merged) if weights is None else weights, folder / "model.safetensors")
    contents = {
        "config.json": merged,
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": {"bos_token": SPECIAL[0], "eos_token": {"content": SPECIAL[1]}},
        **(files or {}),
    }
    for name, content in contents.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is not None:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder

"""Tiny random models of every family, with every feature the family can have, as Hugging Face folders.

Needs numpy and the `tokenizers` library only, so that the script which makes tests/golden/families.json can build the
very same folders where llama.cpp's converter lives. Weights are bf16 from numpy's generator, written by hand.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

# transformers adds the first one to the tokenizer of some families, whether it is there or not.
SPECIAL = ("<|endoftext|>", "<|end|>")
TEXT = ["the quick brown fox jumps over the lazy dog", "one two three 1 22 333", "ünïcödé 🚀 text, with 'marks'!"]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"

BASE: dict[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 50000.0,
    "vocab_size": 320,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
ATTENTION = """
model.layers.{l}.self_attn.q_proj.weight query hidden
model.layers.{l}.self_attn.k_proj.weight key hidden
model.layers.{l}.self_attn.v_proj.weight key hidden
model.layers.{l}.self_attn.o_proj.weight hidden query
"""
MLP = """
model.layers.{l}.mlp.gate_proj.weight inner hidden
model.layers.{l}.mlp.up_proj.weight inner hidden
model.layers.{l}.mlp.down_proj.weight hidden inner
"""
NORMS = """
model.layers.{l}.input_layernorm.weight hidden
model.layers.{l}.post_attention_layernorm.weight hidden
"""
ENDS = """
model.embed_tokens.weight vocabulary hidden
model.norm.weight hidden
"""
HEAD = "lm_head.weight vocabulary hidden\n"
HEAD_NORMS = """
model.layers.{l}.self_attn.q_norm.weight head
model.layers.{l}.self_attn.k_norm.weight head
"""
QKV_BIAS = """
model.layers.{l}.self_attn.q_proj.bias query
model.layers.{l}.self_attn.k_proj.bias key
model.layers.{l}.self_attn.v_proj.bias key
"""
ALL_BIASES = (
    QKV_BIAS
    + """
model.layers.{l}.self_attn.o_proj.bias hidden
model.layers.{l}.mlp.gate_proj.bias inner
model.layers.{l}.mlp.up_proj.bias inner
model.layers.{l}.mlp.down_proj.bias hidden
"""
)
GEMMA_NORMS = """
model.layers.{l}.pre_feedforward_layernorm.weight hidden
model.layers.{l}.post_feedforward_layernorm.weight hidden
"""
ROUTER = "model.layers.{l}.mlp.gate.weight experts hidden\n"
EXPERTS = """
model.layers.{l}.mlp.experts.{e}.gate_proj.weight expert_inner hidden
model.layers.{l}.mlp.experts.{e}.up_proj.weight expert_inner hidden
model.layers.{l}.mlp.experts.{e}.down_proj.weight hidden expert_inner
"""
FUSED_EXPERTS = """
model.layers.{l}.mlp.experts.gate_up_proj experts twice_expert_inner hidden
model.layers.{l}.mlp.experts.down_proj experts hidden expert_inner
"""
SHARED_EXPERT = """
model.layers.{l}.mlp.shared_expert.gate_proj.weight shared_inner hidden
model.layers.{l}.mlp.shared_expert.up_proj.weight shared_inner hidden
model.layers.{l}.mlp.shared_expert.down_proj.weight hidden shared_inner
model.layers.{l}.mlp.shared_expert_gate.weight one hidden
"""
MIXTRAL_EXPERTS = """
model.layers.{l}.block_sparse_moe.gate.weight experts hidden
model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight inner hidden
model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight hidden inner
model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight inner hidden
"""
PHI3 = """
model.layers.{l}.self_attn.qkv_proj.weight query_key_value hidden
model.layers.{l}.self_attn.o_proj.weight hidden query
model.layers.{l}.mlp.gate_up_proj.weight twice_inner hidden
model.layers.{l}.mlp.down_proj.weight hidden inner
"""
STARCODER2 = """
model.layers.{l}.input_layernorm.bias hidden
model.layers.{l}.post_attention_layernorm.bias hidden
model.layers.{l}.self_attn.o_proj.bias hidden
model.layers.{l}.mlp.c_fc.weight inner hidden
model.layers.{l}.mlp.c_fc.bias inner
model.layers.{l}.mlp.c_proj.weight hidden inner
model.layers.{l}.mlp.c_proj.bias hidden
model.norm.bias hidden
"""
GPT2 = """
transformer.wte.weight vocabulary hidden
transformer.wpe.weight positions hidden
transformer.h.{l}.ln_1.weight hidden
transformer.h.{l}.ln_1.bias hidden
transformer.h.{l}.attn.c_attn.weight hidden query_key_value
transformer.h.{l}.attn.c_attn.bias query_key_value
transformer.h.{l}.attn.c_proj.weight hidden hidden
transformer.h.{l}.attn.c_proj.bias hidden
transformer.h.{l}.ln_2.weight hidden
transformer.h.{l}.ln_2.bias hidden
transformer.h.{l}.mlp.c_fc.weight hidden inner
transformer.h.{l}.mlp.c_fc.bias inner
transformer.h.{l}.mlp.c_proj.weight inner hidden
transformer.h.{l}.mlp.c_proj.bias hidden
transformer.ln_f.weight hidden
transformer.ln_f.bias hidden
"""
VISION = """
vision_tower.vision_model.post_layernorm.weight one
multi_modal_projector.mm_soft_emb_norm.weight one
"""
DENSE = ENDS + NORMS + ATTENTION + MLP
OLMO2 = (
    ENDS
    + ATTENTION
    + MLP
    + """
model.layers.{l}.self_attn.q_norm.weight query
model.layers.{l}.self_attn.k_norm.weight key
model.layers.{l}.post_attention_layernorm.weight hidden
model.layers.{l}.post_feedforward_layernorm.weight hidden
"""
    + HEAD
)


@dataclass(frozen=True)
class TinyModel:
    """One model: config.json's entries over BASE (None leaves one out), its tensors, and its tokenizer.

    pre: the name of the tokenizer's splitting rule, '' for a SentencePiece tokenizer. prefixes: a prefix of tensor
    names and what stands there instead.
    """

    architecture: str
    model_type: str
    config: dict[str, Any]
    tensors: str
    pre: str = "llama-bpe"
    tokenizer_class: str = "PreTrainedTokenizerFast"
    prefixes: tuple[str, str] = ("", "")


_SENTENCEPIECE_IDS = {"bos_token_id": 1, "eos_token_id": 2}
_GEMMA: dict[str, Any] = {
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "sliding_window": 64,
    "tie_word_embeddings": True,
    **_SENTENCEPIECE_IDS,
}
_MOE: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_LONG = {
    "type": "longrope",
    "long_factor": [1.0, 1.5, 2.25, 3.0, 4.5, 6.0],
    "short_factor": [1.0, 1.05, 1.1, 1.2, 1.25, 1.3],
}

MODELS: dict[str, TinyModel] = {
    "llama-biases-llama3": TinyModel(
        "LlamaForCausalLM",
        "llama",
        {"attention_bias": True, "mlp_bias": True, "head_dim": 32, "rope_scaling": _LLAMA3_ROPE},
        DENSE + ALL_BIASES + HEAD,
    ),
    "llama-tied": TinyModel("LlamaForCausalLM", "llama", {"tie_word_embeddings": True}, DENSE, pre="smollm"),
    "mistral-sentencepiece": TinyModel(
        "MistralForCausalLM", "mistral", {"head_dim": 32, **_SENTENCEPIECE_IDS}, DENSE + HEAD, pre=""
    ),
    "mixtral": TinyModel(
        "MixtralForCausalLM",
        "mixtral",
        {"num_local_experts": 4, "num_experts_per_tok": 2, **_SENTENCEPIECE_IDS},
        ENDS + NORMS + ATTENTION + MIXTRAL_EXPERTS + HEAD,
        pre="",
    ),
    "smollm3": TinyModel(
        "SmolLM3ForCausalLM",
        "smollm3",
        {"num_hidden_layers": 4, "tie_word_embeddings": True, "no_rope_layers": [1, 1, 1, 0], "pad_token_id": 1},
        DENSE,
    ),
    "granite": TinyModel(
        "GraniteForCausalLM",
        "granite",
        {
            "attention_bias": True,
            "mlp_bias": True,
            "attention_multiplier": 0.0625,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "logits_scaling": 8.0,
            "tie_word_embeddings": True,
        },
        DENSE + ALL_BIASES,
        pre="refact",
    ),
    "qwen2": TinyModel("Qwen2ForCausalLM", "qwen2", {"rope_scaling": _YARN}, DENSE + QKV_BIAS + HEAD, pre="qwen2"),
    "qwen2-tied": TinyModel(
        "Qwen2ForCausalLM",
        "qwen2",
        {"tie_word_embeddings": True, "use_sliding_window": False, "sliding_window": 64},
        DENSE + QKV_BIAS,
        pre="qwen2",
    ),
    "qwen3": TinyModel(
        "Qwen3ForCausalLM", "qwen3", {"head_dim": 32, "rope_scaling": _YARN}, DENSE + HEAD_NORMS + HEAD, pre="qwen2"
    ),
    "qwen2moe": TinyModel(
        "Qwen2MoeForCausalLM",
        "qwen2_moe",
        {**_MOE, "shared_expert_intermediate_size": 64, "norm_topk_prob": False},
        ENDS + NORMS + ATTENTION + QKV_BIAS + ROUTER + EXPERTS + SHARED_EXPERT + HEAD,
        pre="qwen2",
    ),
    "qwen3moe": TinyModel(
        "Qwen3MoeForCausalLM",
        "qwen3_moe",
        {**_MOE, "head_dim": 32, "norm_topk_prob": True},
        ENDS + NORMS + ATTENTION + HEAD_NORMS + ROUTER + EXPERTS + HEAD,
        pre="qwen2",
    ),
    "qwen3moe-fused": TinyModel(
        "Qwen3MoeForCausalLM",
        "qwen3_moe",
        {**_MOE, "head_dim": 32, "norm_topk_prob": True, "tie_word_embeddings": True},
        ENDS + NORMS + ATTENTION + HEAD_NORMS + ROUTER + FUSED_EXPERTS,
        pre="qwen2",
    ),
    "gemma2": TinyModel(
        "Gemma2ForCausalLM",
        "gemma2",
        {**_GEMMA, "rope_theta": 10000.0, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        DENSE + GEMMA_NORMS,
        pre="",
    ),
    "gemma3": TinyModel(
        "Gemma3ForCausalLM",
        "gemma3_text",
        {
            **_GEMMA,
            "num_hidden_layers": 6,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        DENSE + GEMMA_NORMS + HEAD_NORMS,
        pre="",
    ),
    "gemma3-multimodal": TinyModel(
        "Gemma3ForConditionalGeneration",
        "gemma3",
        {
            **dict.fromkeys(BASE),
            "text_config": {
                **{key: value for key, value in {**BASE, **_GEMMA}.items() if key != "rope_theta"},
                "model_type": "gemma3_text",
                "num_hidden_layers": 6,
                "rope_theta": 1000000.0,
                "rope_local_base_freq": 10000.0,
                "final_logit_softcapping": 30.0,
            },
            "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 1},
            "tie_word_embeddings": True,
            **_SENTENCEPIECE_IDS,
        },
        DENSE + GEMMA_NORMS + HEAD_NORMS + VISION,
        pre="",
        prefixes=("model.", "language_model.model."),
    ),
    "olmo2": TinyModel(
        "Olmo2ForCausalLM",
        "olmo2",
        {},
        OLMO2,
        pre="dbrx",
    ),
    "olmo3": TinyModel(
        "Olmo3ForCausalLM",
        "olmo3",
        {
            "num_hidden_layers": 4,
            "sliding_window": 64,
            "rope_theta": 500000.0,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            "rope_scaling": {**_YARN, "attention_factor": 1.2, "beta_fast": 32.0, "beta_slow": 1.0},
        },
        OLMO2,
        pre="dbrx",
    ),
    "gemma": TinyModel(
        "GemmaForCausalLM",
        "gemma",
        {
            **{key: value for key, value in _GEMMA.items() if key not in ("query_pre_attn_scalar", "sliding_window")},
            "rope_theta": 10000.0,
        },
        DENSE,
        pre="",
    ),
    "bitnet": TinyModel(
        "BitnetForCausalLM",
        "bitnet",
        {"tie_word_embeddings": True, **_SENTENCEPIECE_IDS},
        DENSE
        + """
model.layers.{l}.self_attn.inner_attn_ln.weight hidden
model.layers.{l}.mlp.ffn_layernorm.weight inner
""",
        pre="",
    ),
    "phi3": TinyModel(
        "Phi3ForCausalLM",
        "phi3",
        {
            "original_max_position_embeddings": 64,
            "sliding_window": 96,
            "rope_scaling": _LONG,
            "partial_rotary_factor": 0.75,
            "pad_token_id": 1,
        },
        ENDS + NORMS + PHI3 + HEAD,
        pre="dbrx",
        tokenizer_class="GPT2Tokenizer",
    ),
    "phi4": TinyModel(
        "Phi3ForCausalLM",
        "phi3",
        {"original_max_position_embeddings": 128, "sliding_window": None, "pad_token_id": 1},
        ENDS + NORMS + PHI3 + HEAD,
        pre="dbrx",
        tokenizer_class="GPT2Tokenizer",
    ),
    "starcoder2": TinyModel(
        "Starcoder2ForCausalLM",
        "starcoder2",
        {
            "hidden_act": "gelu_pytorch_tanh",
            "use_bias": True,
            "norm_epsilon": 1e-5,
            "rms_norm_eps": None,
            "tie_word_embeddings": True,
            "sliding_window": 64,
        },
        ENDS + NORMS + ATTENTION + QKV_BIAS + STARCODER2,
        pre="starcoder",
    ),
    "gpt2": TinyModel(
        "GPT2LMHeadModel",
        "gpt2",
        {
            **dict.fromkeys(BASE),
            "vocab_size": 320,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_ctx": 128,
            "n_positions": 128,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        GPT2,
        pre="gpt-2",
    ),
}


def build(name: str, folder: Path) -> Path:
    """Writes the folder of the model `name`."""
    model = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    merged = {**BASE, **model.config, "architectures": [model.architecture], "model_type": model.model_type}
    config = {key: value for key, value in merged.items() if value is not None}
    _write_weights(folder / "model.safetensors", _weights(model, config))
    tokenizer_config: dict[str, Any] = {
        "tokenizer_class": model.tokenizer_class,
        "chat_template": CHAT_TEMPLATE,
        "add_bos_token": True,
        "add_eos_token": False,
    }
    if model.pre:
        (folder / "tokenizer.json").write_text(json.dumps(_byte_level_bpe(model.pre)), encoding="utf-8")
        tokenizer_config |= {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1]}
    else:
        (folder / "tokenizer.model").write_bytes(sentencepiece(PIECES))
        added = {1: "<s>", 2: "</s>", 300: "<start_of_turn>", 301: "[INST]"}
        decoder = {str(number): {"content": text, "special": number < 301} for number, text in added.items()}
        tokenizer_config |= {"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": decoder}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), encoding="utf-8")
    return folder


# ---------------------------------------------------------------- weights


def _weights(model: TinyModel, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Random float32 weights by their stored names."""
    sizes = _sizes(config.get("text_config") or config)
    chance = np.random.default_rng(20260822)
    lines = [line.split() for line in model.tensors.splitlines() if line]
    weights = {}
    for template, *dimensions in lines:
        shape = tuple(sizes[dimension] for dimension in dimensions)
        for name in _names(template, sizes):
            if name.startswith(model.prefixes[0]):
                name = model.prefixes[1] + name.removeprefix(model.prefixes[0])
            weights[name] = chance.normal(0, 0.05, shape).astype(np.float32)
    return weights


def _names(template: str, sizes: dict[str, int]) -> Iterator[str]:
    layers = range(sizes["layers"]) if "{l}" in template else range(1)
    for layer in layers:
        experts = range(sizes["experts"]) if "{e}" in template else range(1)
        for expert in experts:
            yield template.replace("{l}", str(layer)).replace("{e}", str(expert))


def _sizes(config: dict[str, Any]) -> dict[str, int]:
    hidden = config.get("hidden_size") or config["n_embd"]
    heads = config.get("num_attention_heads") or config["n_head"]
    head = config.get("head_dim") or hidden // heads
    inner = config.get("intermediate_size") or 4 * hidden
    query, key = heads * head, (config.get("num_key_value_heads") or heads) * head
    expert_inner = config.get("moe_intermediate_size") or inner
    return {
        "one": 1,
        "layers": config.get("num_hidden_layers") or config["n_layer"],
        "hidden": hidden,
        "inner": inner,
        "twice_inner": 2 * inner,
        "head": head,
        "query": query,
        "key": key,
        "query_key_value": query + 2 * key,
        "vocabulary": config["vocab_size"],
        "positions": config.get("n_positions") or 0,
        "experts": config.get("num_experts") or config.get("num_local_experts") or 0,
        "expert_inner": expert_inner,
        "twice_expert_inner": 2 * expert_inner,
        "shared_inner": config.get("shared_expert_intermediate_size") or 0,
    }


def _write_weights(path: Path, weights: dict[str, np.ndarray]) -> None:
    """A safetensors file of bf16 tensors, rounded towards zero."""
    header, data, offset = {}, [], 0
    for name, values in weights.items():
        data.append((values.view(np.uint32) >> 16).astype("<u2").tobytes())
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [offset, offset + len(data[-1])]}
        offset += len(data[-1])
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


# ---------------------------------------------------------------- tokenizers


def _byte_level_bpe(pre: str) -> dict[str, Any]:
    """A tokenizer.json with two special tokens, trained on a few sentences, that splits text as `pre` says."""
    trained = Tokenizer(models.BPE())
    split = {"llama-bpe": LLAMA3, "dbrx": LLAMA3, "qwen2": QWEN2}.get(pre)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    steps = [pre_tokenizers.Split(Regex(split), "isolated")] if split else []
    steps += [pre_tokenizers.Digits(individual_digits=True)] if pre in ("smollm", "starcoder", "refact") else []
    trained.pre_tokenizer = pre_tokenizers.Sequence([*steps, byte_level]) if steps else byte_level
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(TEXT * 20, trainer)
    return dict(json.loads(trained.to_str()))


PIECES: list[tuple[str, float, int]] = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
PIECES += [(f"<0x{number:02X}>", 0.0, 6) for number in range(256)]
PIECES += [("\u2581", -1.0, 1), ("\u2581the", -2.5, 1), ("ü", -3.0, 1), ("\n\n", -4.0, 4)]


def _proto(number: int, wire: int, value: bytes) -> bytes:
    return bytes([number << 3 | wire]) + value


def _delimited(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return _proto(number, 2, bytes([len(value)]) + value)


def sentencepiece(pieces: list[tuple[str, float, int]], adds_space: bool = True) -> bytes:
    """A tokenizer.model of the BPE kind, serialized by hand."""
    model = b""
    for text, score, kind in pieces:
        body = _delimited(1, text.encode()) + _proto(2, 5, struct.pack("<f", score))
        model += _delimited(1, body + (b"" if kind == 1 else _proto(3, 0, bytes([kind]))))
    trainer = _proto(3, 0, b"\x02") + b"\x98\x02\x01"  # model_type BPE, and field 35: byte_fallback
    return model + _delimited(2, trainer) + _delimited(3, _proto(3, 0, bytes([adds_space])))


def digest(data: bytes) -> str:
    """A short hash of a tensor's bytes."""
    import hashlib

    return hashlib.sha256(data).hexdigest()[:16]


def is_compared(key: str) -> bool:
    """Whether a metadata key says something about the model rather than about its folder's name or the writer."""
    kept = ("general.architecture", "general.type", "general.file_type")
    return key in kept or not re.match(r"general\.|GGUF\.", key)

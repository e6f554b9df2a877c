"""The Llama family and those of nearly its structure: Mistral, Mixtral, SmolLM2 and 3, dense Granite.

Facts: transformers' modeling files for the source names, gguf-py's constants for the GGUF names, llama.cpp's
converter for what goes where.
"""

from __future__ import annotations

from dataclasses import replace

from core.families.family import OPTIONAL, Family, KeyRule, Refusal, TensorRule, Values
from core.families.parts import (
    BLOCK,
    COMMON_KEYS,
    EXPERT_KEYS,
    GATED_SILU,
    HEAD_KEYS,
    IGNORED,
    LAYER,
    OWN_HEAD_KEYS,
    ROPE_DIMENSIONS,
    ROPE_TYPES,
    VOCABULARY,
    WHOLE_ROTARY,
    around,
    attention,
    fused_experts,
    gated_mlp,
    norm,
    own_head_dim,
    sliding_window,
    width_per_head,
)

_NORMS = (norm("input_layernorm", "attn_norm"), norm("post_attention_layernorm", "ffn_norm"))
_NO_SCALES = (
    Refusal("embedding_multiplier", (None, 1, 1.0)),
    Refusal("residual_multiplier", (None, 1, 1.0)),
    Refusal("logits_scaling", (None, 1, 1.0)),
)

LLAMA = Family(
    name="llama",
    label="Llama",
    architectures=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"),
    tensors=around(_NORMS[0], *attention(rotated=True), _NORMS[1], *gated_mlp()),
    keys=(*COMMON_KEYS, *HEAD_KEYS, ROPE_DIMENSIONS, VOCABULARY),
    refusals=(
        GATED_SILU,
        WHOLE_ROTARY,
        Refusal("num_local_experts", (None, 0)),
        *_NO_SCALES,
    ),
    rope_types=ROPE_TYPES,
    ignored=IGNORED,
    default_pre="llama-bpe",
    warnings=(sliding_window,),
)


def _mixtral_experts(source: str, target: str, rows: str, columns: str) -> TensorRule:
    return TensorRule(
        f"{LAYER}block_sparse_moe.experts.{{1}}.{source}.weight", f"{BLOCK}{target}.weight", ("experts", rows, columns)
    )


def _mixtral_router(module: str) -> TensorRule:
    return TensorRule(
        f"{LAYER}{module}.gate.weight", f"{BLOCK}ffn_gate_inp.weight", ("experts", "hidden"), float32=True
    )


MIXTRAL = replace(
    LLAMA,
    label="Mixtral",
    architectures=("MixtralForCausalLM",),
    tensors=around(
        _NORMS[0],
        *attention(rotated=True),
        _NORMS[1],
        _mixtral_router("block_sparse_moe"),
        _mixtral_router("mlp"),
        _mixtral_experts("w1", "ffn_gate_exps", "feed_forward", "hidden"),
        fused_experts("gate_up_proj", "ffn_gate_exps", "feed_forward", "hidden", part=(0, 2)),
        _mixtral_experts("w3", "ffn_up_exps", "feed_forward", "hidden"),
        fused_experts("gate_up_proj", "ffn_up_exps", "feed_forward", "hidden", part=(1, 2)),
        _mixtral_experts("w2", "ffn_down_exps", "hidden", "feed_forward"),
        fused_experts("down_proj", "ffn_down_exps", "hidden", "feed_forward"),
    ),
    keys=(*COMMON_KEYS, *OWN_HEAD_KEYS, ROPE_DIMENSIONS, VOCABULARY, *EXPERT_KEYS),
    derived={"own_head_dim": own_head_dim},
    refusals=(GATED_SILU, WHOLE_ROTARY),
    sizes=("num_local_experts", "num_experts_per_tok"),
)


def _every_fourth_layer(config: Values) -> str:
    """SmolLM3: llama.cpp leaves positions out of every fourth layer, wherever the original does."""
    pattern = config.get("no_rope_layers")
    layers = config["num_hidden_layers"]
    usual = [int((number + 1) % 4 != 0) for number in range(layers)]
    if isinstance(pattern, list) and pattern and [int(bool(item)) for item in pattern[:layers]] != usual:
        return "its layers without positions are not every fourth one"
    return ""


SMOLLM3 = replace(
    LLAMA,
    name="smollm3",
    label="SmolLM3",
    architectures=("SmolLM3ForCausalLM",),
    keys=(*COMMON_KEYS, *OWN_HEAD_KEYS, ROPE_DIMENSIONS, VOCABULARY),
    refusals=(
        *LLAMA.refusals,
        Refusal("no_rope_layer_interval", (None, 4)),
        Refusal("use_sliding_window", (None, False)),
    ),
    checks=(_every_fourth_layer,),
    derived={"own_head_dim": own_head_dim},
    defaults={"tie_word_embeddings": True, "rope_theta": 2000000.0},
    warnings=(),
)


GRANITE = replace(
    LLAMA,
    name="granite",
    label="Granite",
    architectures=("GraniteForCausalLM",),
    keys=(
        *COMMON_KEYS,
        ROPE_DIMENSIONS,
        VOCABULARY,
        KeyRule("attention_multiplier", "attention.scale", "FLOAT32", OPTIONAL),
        KeyRule("embedding_multiplier", "embedding_scale", "FLOAT32", OPTIONAL),
        KeyRule("residual_multiplier", "residual_scale", "FLOAT32", OPTIONAL),
        KeyRule("logits_scaling", "logit_scale", "FLOAT32", OPTIONAL),
    ),
    refusals=(GATED_SILU, WHOLE_ROTARY, Refusal("num_local_experts", (None, 0))),
    default_pre="refact",
    checks=(width_per_head,),
    warnings=(),
)

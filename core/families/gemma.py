"""The Gemma families: Gemma, Gemma 2, and Gemma 3's language model, by itself or out of the model that also sees.

Their norms multiply with 1 + weight, which GGUF stores as the sum. Facts: transformers' modeling files for the source
names, gguf-py's constants for the GGUF names, llama.cpp's converter for what goes where and its model graphs for what
is built in.
"""

from __future__ import annotations

from dataclasses import replace

from core.families.family import OPTIONAL, Family, KeyRule, Refusal, Values
from core.families.parts import (
    COMMON_KEYS,
    HEAD_KEYS,
    IGNORED,
    KV_HEADS,
    RMS_EPSILON,
    SIZE_KEYS,
    around,
    attention,
    gated_mlp,
    norm,
)

_GELU = (None, "gelu_pytorch_tanh")
_BEFORE = norm("input_layernorm", "attn_norm", shift=1.0)
_AFTER_ATTENTION = norm("post_attention_layernorm", "post_attention_norm", shift=1.0)
_AROUND_MLP = (
    norm("pre_feedforward_layernorm", "ffn_norm", shift=1.0),
    *gated_mlp(),
    norm("post_feedforward_layernorm", "post_ffw_norm", shift=1.0),
)
_HEAD_NORMS = (
    norm("self_attn.q_norm", "attn_q_norm", "head", shift=1.0),
    norm("self_attn.k_norm", "attn_k_norm", "head", shift=1.0),
)
_WINDOW = KeyRule("sliding_window", "attention.sliding_window", "UINT32")


def _query_scale(config: Values, large: int) -> str:
    """llama.cpp scales queries by the head's length, in the model of `large` layers by the width per head."""
    scale = config.get("query_pre_attn_scalar")
    by_width = config["hidden_size"] // config["num_attention_heads"]
    built_in = by_width if config["num_hidden_layers"] == large else config["head_dim"]
    return "" if scale in (None, built_in) else f"config.json has query_pre_attn_scalar = {scale!r}, not {built_in}"


def _window_pattern(config: Values, period: int) -> str:
    """llama.cpp lets the last of every `period` layers see the whole context, the others a window."""
    types = config.get("layer_types")
    usual = [
        "sliding_attention" if (number + 1) % period else "full_attention"
        for number in range(config["num_hidden_layers"])
    ]
    return "" if types is None or types == usual else f"its layers with a window do not follow in a period of {period}"


GEMMA2 = Family(
    name="gemma2",
    label="Gemma 2",
    architectures=("Gemma2ForCausalLM",),
    tensors=around(_BEFORE, *attention(), _AFTER_ATTENTION, *_AROUND_MLP, shift=1.0),
    keys=(
        *SIZE_KEYS,
        KV_HEADS,
        RMS_EPSILON,
        *HEAD_KEYS,
        KeyRule("attn_logit_softcapping", "attn_logit_softcapping", "FLOAT32"),
        KeyRule("final_logit_softcapping", "final_logit_softcapping", "FLOAT32"),
        _WINDOW,
    ),
    refusals=(
        Refusal("hidden_activation", _GELU),
        Refusal("tie_word_embeddings", (True,)),
        # llama.cpp's converter writes no base for this family, so its graph's own must be the right one.
        Refusal("rope_theta", (None, 10000, 10000.0)),
        Refusal("use_bidirectional_attention", (None, False)),
    ),
    rope_types=("default",),
    ignored=IGNORED,
    checks=(lambda config: _query_scale(config, 46), lambda config: _window_pattern(config, 2)),
    defaults={
        "head_dim": 256,
        "tie_word_embeddings": True,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 4096,
    },
    space_prefix=False,
)


GEMMA = replace(
    GEMMA2,
    name="gemma",
    label="Gemma",
    architectures=("GemmaForCausalLM",),
    tensors=around(
        _BEFORE, *attention(), norm("post_attention_layernorm", "ffn_norm", shift=1.0), *gated_mlp(), shift=1.0
    ),
    keys=(*SIZE_KEYS, KV_HEADS, RMS_EPSILON, *HEAD_KEYS),
    refusals=(
        # The first folders say "gelu" and mean its approximation, which transformers takes for them and llama.cpp has.
        Refusal("hidden_activation", _GELU),
        Refusal("hidden_act", (*_GELU, "gelu")),
        Refusal("tie_word_embeddings", (True,)),
        Refusal("rope_theta", (None, 10000, 10000.0)),
        Refusal("use_bidirectional_attention", (None, False)),
    ),
    checks=(),
    defaults={"head_dim": 256, "tie_word_embeddings": True},
    token_ids=(("tokenizer.ggml.eot_token_id", 107),),  # the end of a turn
)


def _images(config: Values) -> str:
    """Says that only the language model is converted."""
    return "Its image input is left out; the language model is converted" if config.get("vision_config") else ""


GEMMA3 = replace(
    GEMMA2,
    name="gemma3",
    label="Gemma 3",
    architectures=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    tensors=around(_BEFORE, *attention(), *_HEAD_NORMS, _AFTER_ATTENTION, *_AROUND_MLP, shift=1.0),
    keys=(
        *COMMON_KEYS,
        *HEAD_KEYS,
        KeyRule("final_logit_softcapping", "final_logit_softcapping", "FLOAT32", OPTIONAL),
        _WINDOW,
        KeyRule("rope_local_base_freq", "rope.freq_base_swa", "FLOAT32", 10000.0),
    ),
    refusals=(
        Refusal("hidden_activation", _GELU),
        Refusal("tie_word_embeddings", (True,)),
        Refusal("attn_logit_softcapping", (None,)),
        Refusal("sliding_window_pattern", (None, 6)),
        Refusal("use_bidirectional_attention", (None, False)),
    ),
    rope_types=("default", "linear"),
    ignored=(*IGNORED, r"(model\.)?(vision_tower|multi_modal_projector)\..*"),
    checks=(lambda config: _query_scale(config, 62), lambda config: _window_pattern(config, 6)),
    defaults={
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "vocab_size": 262208,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "sliding_window": 4096,
    },
    warnings=(_images,),
    nested="text_config",
    renames=(
        (r"(language_model\.model\.|model\.language_model\.)", "model."),
        (r"language_model\.lm_head\.", "lm_head."),
    ),
)

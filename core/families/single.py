"""Families that share their structure with no other: OLMo 2 and 3, BitNet, Phi-3 and 4, StarCoder2, GPT-2.

Facts: transformers' modeling files for the source names, gguf-py's constants for the GGUF names, llama.cpp's
converter for what goes where and its model graphs for what is built in.
"""

from __future__ import annotations

from dataclasses import replace

from core.families.family import Family, KeyRule, Refusal, TensorRule, Values
from core.families.numbers import short
from core.families.parts import (
    BLOCK,
    COMMON_KEYS,
    GATED_SILU,
    IGNORED,
    KV_HEADS,
    LAYER,
    OWN_HEAD_KEYS,
    ROPE_BASE,
    SIZE_KEYS,
    WHOLE_ROTARY,
    around,
    attention,
    gated_mlp,
    linear,
    norm,
    own_head_dim,
    sliding_window,
    width_per_head,
)

OLMO2 = Family(
    name="olmo2",
    label="OLMo 2",
    architectures=("Olmo2ForCausalLM",),
    tensors=around(
        *attention(),
        norm("self_attn.q_norm", "attn_q_norm", "query"),
        norm("self_attn.k_norm", "attn_k_norm", "key_value"),
        norm("post_attention_layernorm", "post_attention_norm"),
        *gated_mlp(),
        norm("post_feedforward_layernorm", "post_ffw_norm"),
    ),
    keys=(*COMMON_KEYS, *OWN_HEAD_KEYS),
    refusals=(GATED_SILU, WHOLE_ROTARY, Refusal("clip_qkv", (None,))),
    rope_types=("default", "linear", "yarn"),
    ignored=IGNORED,
    default_pre="dbrx",
    derived={"own_head_dim": own_head_dim},
)


def _windowed_layers(config: Values) -> list[bool]:
    """OLMo 3: which layers look at a window only; all but every fourth where config.json says nothing of them."""
    types = config.get("layer_types")
    if isinstance(types, list):
        return [kind == "sliding_attention" for kind in types]
    return [(number + 1) % 4 != 0 for number in range(config["num_hidden_layers"])]


def _known_layers(config: Values) -> str:
    types = config.get("layer_types")
    known = types is None or (isinstance(types, list) and len(types) == config["num_hidden_layers"])
    if known and all(kind in ("sliding_attention", "full_attention") for kind in types or ()):
        return ""
    return f"config.json has layer_types = {short(types)}"


OLMO3 = replace(
    OLMO2,
    label="OLMo 3",
    architectures=("Olmo3ForCausalLM",),
    keys=(
        *OLMO2.keys,
        KeyRule("window_rope_theta", "rope.freq_base_swa", "FLOAT32"),
        KeyRule("sliding_window", "attention.sliding_window", "UINT32"),
        KeyRule("windowed_layers", "attention.sliding_window_pattern", "ARRAY[BOOL]"),
    ),
    checks=(_known_layers,),
    defaults={"sliding_window": 4096, "rope_theta": 500000.0},
    derived={
        "own_head_dim": own_head_dim,
        "windowed_layers": _windowed_layers,
        "window_rope_theta": lambda config: config.get("rope_local_base_freq") or config["rope_theta"],
    },
)


def _ternary(*rules: TensorRule) -> tuple[TensorRule, ...]:
    """The matrices among these are rounded to three values when the model runs."""
    return tuple(replace(rule, ternary=len(rule.shape) == 2) for rule in rules)


def _silu(config: Values) -> str:
    """BitNet: llama.cpp has one activation built in."""
    activation = config.get("hidden_act")
    known = activation in (None, "silu", "swish")
    return "" if known else f"its activation is {short(activation)}, and llama.cpp's BitNet has SiLU built in"


BITNET = Family(
    name="bitnet",
    label="BitNet",
    architectures=("BitnetForCausalLM", "BitNetForCausalLM"),
    tensors=around(
        norm("input_layernorm", "attn_norm"),
        *_ternary(*attention()),
        norm("self_attn.inner_attn_ln", "attn_sub_norm"),
        norm("self_attn.attn_sub_norm", "attn_sub_norm"),
        norm("post_attention_layernorm", "ffn_norm"),
        *_ternary(*gated_mlp()),
        norm("mlp.ffn_layernorm", "ffn_sub_norm", "feed_forward"),
        norm("mlp.ffn_sub_norm", "ffn_sub_norm", "feed_forward"),
    )[:-1],  # the output layer is the embedding
    keys=(
        *COMMON_KEYS,
        KeyRule("rope_scaling_type", "rope.scaling.type", "STRING"),
        KeyRule("rope_scaling_factor", "rope.scaling.factor", "FLOAT32"),
    ),
    refusals=(WHOLE_ROTARY, Refusal("tie_word_embeddings", (True,))),
    checks=(_silu, width_per_head),
    rope_types=("default",),
    ignored=IGNORED,
    default_pre="llama-bpe",
    derived={"rope_scaling_type": lambda config: "linear", "rope_scaling_factor": lambda config: 1.0},
)


def rotary_dimensions(config: Values) -> int:
    """How many elements of a head are rotated, as llama.cpp's converter rounds it."""
    share = config.get("partial_rotary_factor") or 1.0
    return int(share * config["hidden_size"]) // int(config["num_attention_heads"])


PHI3 = Family(
    name="phi3",
    label="Phi-3 and Phi-4",
    architectures=("Phi3ForCausalLM",),
    tensors=around(
        norm("input_layernorm", "attn_norm"),
        TensorRule(f"{LAYER}self_attn.qkv_proj.weight", f"{BLOCK}attn_qkv.weight", ("query_key_value", "hidden")),
        TensorRule(f"{LAYER}self_attn.o_proj.weight", f"{BLOCK}attn_output.weight", ("hidden", "query")),
        norm("post_attention_layernorm", "ffn_norm"),
        TensorRule(f"{LAYER}mlp.gate_up_proj.weight", f"{BLOCK}ffn_up.weight", ("gate_up", "hidden")),
        TensorRule(f"{LAYER}mlp.down_proj.weight", f"{BLOCK}ffn_down.weight", ("hidden", "feed_forward")),
    ),
    keys=(
        *COMMON_KEYS,
        KeyRule("rotary_dimensions", "rope.dimension_count", "UINT32"),
        KeyRule("original_max_position_embeddings", "rope.scaling.original_context_length", "UINT32"),
        KeyRule("sliding_window", "attention.sliding_window", "UINT32", 0, zero=True),
    ),
    refusals=(GATED_SILU,),
    rope_types=("default", "longrope", "su"),
    ignored=IGNORED,
    default_pre="dbrx",
    defaults={"original_max_position_embeddings": 4096},
    derived={"rotary_dimensions": rotary_dimensions},
)


STARCODER2 = Family(
    name="starcoder2",
    label="StarCoder2",
    architectures=("Starcoder2ForCausalLM",),
    tensors=(
        TensorRule("model.embed_tokens.weight", "token_embd.weight", ("vocabulary", "hidden")),
        norm("input_layernorm", "attn_norm"),
        TensorRule(f"{LAYER}input_layernorm.bias", f"{BLOCK}attn_norm.bias", ("hidden",)),
        *attention(),
        norm("post_attention_layernorm", "ffn_norm"),
        TensorRule(f"{LAYER}post_attention_layernorm.bias", f"{BLOCK}ffn_norm.bias", ("hidden",)),
        *linear("mlp.c_fc", "ffn_up", "feed_forward", "hidden"),
        *linear("mlp.c_proj", "ffn_down", "hidden", "feed_forward"),
        TensorRule("model.norm.weight", "output_norm.weight", ("hidden",)),
        TensorRule("model.norm.bias", "output_norm.bias", ("hidden",)),
        TensorRule("lm_head.weight", "output.weight", ("vocabulary", "hidden")),
    ),
    keys=(
        *SIZE_KEYS,
        KV_HEADS,
        ROPE_BASE,
        KeyRule("norm_epsilon", "attention.layer_norm_epsilon", "FLOAT32", 1e-5),
    ),
    refusals=(
        Refusal("hidden_act", (None, "gelu_pytorch_tanh")),
        Refusal("mlp_type", (None, "default")),
        Refusal("norm_type", (None, "layer_norm")),
        WHOLE_ROTARY,
    ),
    rope_types=("default", "linear", "yarn"),
    ignored=IGNORED,
    default_pre="starcoder",
    warnings=(sliding_window,),
    defaults={"tie_word_embeddings": True},
)


def _conv(source: str, target: str, rows: str, columns: str) -> tuple[TensorRule, TensorRule]:
    """GPT-2's projections are one-dimensional convolutions, whose weights lie the other way round."""
    return (
        TensorRule(f"h.{{0}}.{source}.weight", f"{BLOCK}{target}.weight", (rows, columns), transposed=True),
        TensorRule(f"h.{{0}}.{source}.bias", f"{BLOCK}{target}.bias", (rows,)),
    )


def _layer_norm(source: str, target: str) -> tuple[TensorRule, TensorRule]:
    return (
        TensorRule(f"{source}.weight", f"{target}.weight", ("hidden",)),
        TensorRule(f"{source}.bias", f"{target}.bias", ("hidden",)),
    )


GPT2 = Family(
    name="gpt2",
    label="GPT-2",
    architectures=("GPT2LMHeadModel",),
    tensors=(
        TensorRule("wte.weight", "token_embd.weight", ("vocabulary", "hidden")),
        TensorRule("wpe.weight", "position_embd.weight", ("positions", "hidden"), float32=True),
        *_layer_norm("h.{0}.ln_1", f"{BLOCK}attn_norm"),
        *_conv("attn.c_attn", "attn_qkv", "query_key_value", "hidden"),
        *_conv("attn.c_proj", "attn_output", "hidden", "query"),
        *_layer_norm("h.{0}.ln_2", f"{BLOCK}ffn_norm"),
        *_conv("mlp.c_fc", "ffn_up", "feed_forward", "hidden"),
        *_conv("mlp.c_proj", "ffn_down", "hidden", "feed_forward"),
        *_layer_norm("ln_f", "output_norm"),
        TensorRule("lm_head.weight", "output.weight", ("vocabulary", "hidden")),
    ),
    keys=(*SIZE_KEYS, KeyRule("layer_norm_epsilon", "attention.layer_norm_epsilon", "FLOAT32", 1e-5)),
    refusals=(
        Refusal("activation_function", (None, "gelu_new", "gelu_pytorch_tanh")),
        Refusal("scale_attn_weights", (None, True)),
        Refusal("scale_attn_by_inverse_layer_idx", (None, False)),
        Refusal("add_cross_attention", (None, False)),
    ),
    rope_types=("default",),
    ignored=(r"h\.\d+\.attn\.(masked_)?bias",),
    default_pre="gpt-2",
    aliases={
        "num_hidden_layers": ("n_layer",),
        "hidden_size": ("n_embd",),
        "num_attention_heads": ("n_head",),
        "max_position_embeddings": ("n_positions", "n_ctx"),
        "intermediate_size": ("n_inner",),
    },
    defaults={"tie_word_embeddings": True},
    renames=((r"transformer\.", ""),),
    plain_forward=4,
)

"""The Llama family: Llama 1 to 3, SmolLM2, Mistral without experts, and others of the same structure.

Facts: transformers' modeling_llama and modeling_mistral for the source names, gguf-py's constants for the GGUF names,
llama.cpp's converter for what goes where.
"""

from __future__ import annotations

from typing import Any

from core.families.family import Family, KeyRule, Refusal, TensorRule

_LAYER = "model.layers.{}."


def _linear(source: str, target: str, rows: str, columns: str, heads: str = "") -> tuple[TensorRule, TensorRule]:
    """A projection and the bias that some members of the family have."""
    return (
        TensorRule(f"{_LAYER}{source}.weight", f"blk.{{}}.{target}.weight", (rows, columns), heads),
        TensorRule(f"{_LAYER}{source}.bias", f"blk.{{}}.{target}.bias", (rows,), heads, optional=True),
    )


def _sliding_window(config: dict[str, Any]) -> str:
    """Says that llama.cpp's llama architecture attends to everything where the original looks at a window."""
    window, context = config.get("sliding_window"), config.get("max_position_embeddings", 0)
    if not isinstance(window, int) or window >= context:
        return ""
    return f"The original attends to the last {window} tokens only; converted, it attends to all of the context"


LLAMA = Family(
    name="llama",
    label="Llama",
    architectures=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"),
    tensors=(
        TensorRule("model.embed_tokens.weight", "token_embd.weight", ("vocabulary", "hidden")),
        TensorRule(_LAYER + "input_layernorm.weight", "blk.{}.attn_norm.weight", ("hidden",)),
        *_linear("self_attn.q_proj", "attn_q", "query", "hidden", heads="heads"),
        *_linear("self_attn.k_proj", "attn_k", "key_value", "hidden", heads="kv_heads"),
        *_linear("self_attn.v_proj", "attn_v", "key_value", "hidden"),
        *_linear("self_attn.o_proj", "attn_output", "hidden", "query"),
        TensorRule(_LAYER + "post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", ("hidden",)),
        *_linear("mlp.gate_proj", "ffn_gate", "feed_forward", "hidden"),
        *_linear("mlp.up_proj", "ffn_up", "feed_forward", "hidden"),
        *_linear("mlp.down_proj", "ffn_down", "hidden", "feed_forward"),
        TensorRule("model.norm.weight", "output_norm.weight", ("hidden",)),
        TensorRule("lm_head.weight", "output.weight", ("vocabulary", "hidden")),
    ),
    keys=(
        KeyRule("num_hidden_layers", "block_count", "UINT32"),
        KeyRule("max_position_embeddings", "context_length", "UINT32"),
        KeyRule("hidden_size", "embedding_length", "UINT32"),
        KeyRule("intermediate_size", "feed_forward_length", "UINT32"),
        KeyRule("num_attention_heads", "attention.head_count", "UINT32"),
        KeyRule("num_key_value_heads", "attention.head_count_kv", "UINT32"),
        KeyRule("rope_theta", "rope.freq_base", "FLOAT32", 10000.0),
        KeyRule("rms_norm_eps", "attention.layer_norm_rms_epsilon", "FLOAT32", 1e-6),
        KeyRule("vocab_size", "vocab_size", "UINT32"),
    ),
    refusals=(
        Refusal("hidden_act", (None, "silu", "swish")),
        Refusal("partial_rotary_factor", (None, 1, 1.0)),
        Refusal("num_local_experts", (None, 0)),
        Refusal("quantization_config", (None,)),
        Refusal("embedding_multiplier", (None, 1, 1.0)),
        Refusal("residual_multiplier", (None, 1, 1.0)),
        Refusal("logits_scaling", (None, 1, 1.0)),
    ),
    rope_types=("default", "linear", "llama3", "yarn"),
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq"),
    default_pre="llama-bpe",
    warnings=(_sliding_window,),
)

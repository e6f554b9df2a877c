"""Building blocks that rows of several families share: projections with biases, norms, keys, refusals, warnings.

Facts: transformers' modeling files for the source names, gguf-py's constants for the GGUF names, llama.cpp's
converter for what goes where.
"""

from __future__ import annotations

from core.families.family import OPTIONAL, KeyRule, Refusal, TensorRule, Values

LAYER = "model.layers.{0}."
BLOCK = "blk.{0}."


def linear(source: str, target: str, rows: str, columns: str, heads: str = "") -> tuple[TensorRule, ...]:
    """A projection and the bias that some members of a family have."""
    return (
        TensorRule(f"{LAYER}{source}.weight", f"{BLOCK}{target}.weight", (rows, columns), heads),
        TensorRule(f"{LAYER}{source}.bias", f"{BLOCK}{target}.bias", (rows,), heads, optional=True),
    )


def norm(source: str, target: str, size: str = "hidden", shift: float = 0.0) -> TensorRule:
    """The weights of a normalisation in every layer."""
    return TensorRule(f"{LAYER}{source}.weight", f"{BLOCK}{target}.weight", (size,), shift=shift)


def attention(rotated: bool = False) -> tuple[TensorRule, ...]:
    """The four projections of attention; rotated: whether rows of query and key are interleaved for llama.cpp."""
    heads, kv_heads = ("heads", "kv_heads") if rotated else ("", "")
    return (
        *linear("self_attn.q_proj", "attn_q", "query", "hidden", heads),
        *linear("self_attn.k_proj", "attn_k", "key_value", "hidden", kv_heads),
        *linear("self_attn.v_proj", "attn_v", "key_value", "hidden"),
        *linear("self_attn.o_proj", "attn_output", "hidden", "query"),
    )


def gated_mlp() -> tuple[TensorRule, ...]:
    """The three projections of a feed-forward network with a gate."""
    return (
        *linear("mlp.gate_proj", "ffn_gate", "feed_forward", "hidden"),
        *linear("mlp.up_proj", "ffn_up", "feed_forward", "hidden"),
        *linear("mlp.down_proj", "ffn_down", "hidden", "feed_forward"),
    )


def fused_experts(name: str, target: str, rows: str, columns: str, part: tuple[int, int] = (0, 1)) -> TensorRule:
    """All experts in one tensor, gate and up projection one after the other, as transformers 5 holds them."""
    return TensorRule(f"{LAYER}mlp.experts.{name}", f"{BLOCK}{target}.weight", ("experts", rows, columns), part=part)


def around(*layers: TensorRule, shift: float = 0.0) -> tuple[TensorRule, ...]:
    """A layer's tensors with the embedding before them, the last norm and the output layer after them."""
    return (
        TensorRule("model.embed_tokens.weight", "token_embd.weight", ("vocabulary", "hidden")),
        *layers,
        TensorRule("model.norm.weight", "output_norm.weight", ("hidden",), shift=shift),
        TensorRule("lm_head.weight", "output.weight", ("vocabulary", "hidden")),
    )


SIZE_KEYS = (
    KeyRule("num_hidden_layers", "block_count", "UINT32"),
    KeyRule("max_position_embeddings", "context_length", "UINT32"),
    KeyRule("hidden_size", "embedding_length", "UINT32"),
    KeyRule("intermediate_size", "feed_forward_length", "UINT32"),
    KeyRule("num_attention_heads", "attention.head_count", "UINT32"),
)
KV_HEADS = KeyRule("num_key_value_heads", "attention.head_count_kv", "UINT32")
RMS_EPSILON = KeyRule("rms_norm_eps", "attention.layer_norm_rms_epsilon", "FLOAT32", 1e-6)
ROPE_BASE = KeyRule("rope_theta", "rope.freq_base", "FLOAT32", 10000.0)
ROPE_DIMENSIONS = KeyRule("head_dim", "rope.dimension_count", "UINT32")
VOCABULARY = KeyRule("vocab_size", "vocab_size", "UINT32")
# Written by every family whose transformers configuration has a head_dim, and where it does not follow from the width.
HEAD_KEYS = (
    KeyRule("head_dim", "attention.key_length", "UINT32"),
    KeyRule("head_dim", "attention.value_length", "UINT32"),
)
OWN_HEAD_KEYS = (
    KeyRule("own_head_dim", "attention.key_length", "UINT32", OPTIONAL),
    KeyRule("own_head_dim", "attention.value_length", "UINT32", OPTIONAL),
)
COMMON_KEYS = (*SIZE_KEYS, KV_HEADS, ROPE_BASE, RMS_EPSILON)
EXPERT_KEYS = (
    KeyRule("num_local_experts", "expert_count", "UINT32"),
    KeyRule("num_experts_per_tok", "expert_used_count", "UINT32"),
)

GATED_SILU = Refusal("hidden_act", (None, "silu", "swish"))
WHOLE_ROTARY = Refusal("partial_rotary_factor", (None, 1, 1.0))
IGNORED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")


def sliding_window(config: Values) -> str:
    """Says that llama.cpp attends to everything in an architecture where the original looks at a window."""
    window, context = config.get("sliding_window"), config.get("max_position_embeddings", 0)
    if not isinstance(window, int) or window >= context or config.get("use_sliding_window") is False:
        return ""
    return f"The original attends to the last {window} tokens only; converted, it attends to all of the context"


def own_head_dim(config: Values) -> int | None:
    """The head's length where config.json gives it or it does not follow from the width, else None."""
    head = int(config["head_dim"])
    follows = head * config["num_attention_heads"] == config["hidden_size"]
    return None if follows and not config["head_dim_given"] else head


def width_per_head(config: Values) -> str:
    """Says that a head has another length than the width gives, which llama.cpp does not know of some architectures."""
    follows = config["head_dim"] * config["num_attention_heads"] == config["hidden_size"]
    return "" if follows else f"config.json has head_dim = {config['head_dim']}, which its width does not give"

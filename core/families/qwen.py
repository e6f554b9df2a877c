"""The Qwen families: Qwen2 and 2.5, Qwen3, and both with experts.

Facts: transformers' modeling files for the source names, gguf-py's constants for the GGUF names, llama.cpp's
converter for what goes where and its model graphs for what is built in.
"""

from __future__ import annotations

from dataclasses import replace

from core.families.family import Family, KeyRule, Refusal, TensorRule
from core.families.parts import (
    BLOCK,
    COMMON_KEYS,
    EXPERT_KEYS,
    GATED_SILU,
    HEAD_KEYS,
    IGNORED,
    LAYER,
    OWN_HEAD_KEYS,
    WHOLE_ROTARY,
    around,
    attention,
    fused_experts,
    gated_mlp,
    norm,
    own_head_dim,
    sliding_window,
)

_BEFORE, _BETWEEN = norm("input_layernorm", "attn_norm"), norm("post_attention_layernorm", "ffn_norm")
_HEAD_NORMS = (norm("self_attn.q_norm", "attn_q_norm", "head"), norm("self_attn.k_norm", "attn_k_norm", "head"))

QWEN2 = Family(
    name="qwen2",
    label="Qwen2",
    architectures=("Qwen2ForCausalLM",),
    tensors=around(_BEFORE, *attention(), _BETWEEN, *gated_mlp()),
    keys=(*COMMON_KEYS, *OWN_HEAD_KEYS),
    refusals=(GATED_SILU, WHOLE_ROTARY),
    rope_types=("default", "linear", "yarn"),
    ignored=IGNORED,
    default_pre="qwen2",
    warnings=(sliding_window,),
    derived={"own_head_dim": own_head_dim},
)

QWEN3 = replace(
    QWEN2,
    name="qwen3",
    label="Qwen3",
    architectures=("Qwen3ForCausalLM",),
    tensors=around(_BEFORE, *attention(), *_HEAD_NORMS, _BETWEEN, *gated_mlp()),
    keys=(*COMMON_KEYS, *HEAD_KEYS),
    defaults={"head_dim": 128},
)


def _experts(name: str, target: str, rows: str, columns: str) -> TensorRule:
    """One tensor for each expert, as the checkpoints on the Hub have them."""
    return TensorRule(f"{LAYER}mlp.experts.{{1}}.{name}.weight", f"{BLOCK}{target}.weight", ("experts", rows, columns))


_EXPERTS = (
    TensorRule(f"{LAYER}mlp.gate.weight", f"{BLOCK}ffn_gate_inp.weight", ("experts", "hidden"), float32=True),
    _experts("gate_proj", "ffn_gate_exps", "expert_forward", "hidden"),
    fused_experts("gate_up_proj", "ffn_gate_exps", "expert_forward", "hidden", part=(0, 2)),
    _experts("up_proj", "ffn_up_exps", "expert_forward", "hidden"),
    fused_experts("gate_up_proj", "ffn_up_exps", "expert_forward", "hidden", part=(1, 2)),
    _experts("down_proj", "ffn_down_exps", "hidden", "expert_forward"),
    fused_experts("down_proj", "ffn_down_exps", "hidden", "expert_forward"),
)
_SHARED = (
    TensorRule(
        f"{LAYER}mlp.shared_expert_gate.weight", f"{BLOCK}ffn_gate_inp_shexp.weight", ("one", "hidden"), float32=True
    ),
    *(
        TensorRule(f"{LAYER}mlp.shared_expert.{name}_proj.weight", f"{BLOCK}ffn_{name}_shexp.weight", shape)
        for name, shape in (
            ("gate", ("shared_forward", "hidden")),
            ("up", ("shared_forward", "hidden")),
            ("down", ("hidden", "shared_forward")),
        )
    ),
)
_EVERY_LAYER = (Refusal("decoder_sparse_step", (None, 1)), Refusal("mlp_only_layers", (None, [])))
_MOE_ALIASES = {"num_local_experts": ("num_experts",)}
_EXPERT_FORWARD = KeyRule("moe_intermediate_size", "expert_feed_forward_length", "UINT32")

QWEN2_MOE = replace(
    QWEN2,
    name="qwen2moe",
    label="Qwen2 with experts",
    architectures=("Qwen2MoeForCausalLM",),
    tensors=around(_BEFORE, *attention(), _BETWEEN, *_EXPERTS, *_SHARED),
    keys=(
        *COMMON_KEYS,
        *OWN_HEAD_KEYS,
        *EXPERT_KEYS,
        _EXPERT_FORWARD,
        KeyRule("shared_expert_intermediate_size", "expert_shared_feed_forward_length", "UINT32"),
    ),
    refusals=(*QWEN2.refusals, *_EVERY_LAYER, Refusal("norm_topk_prob", (None, False))),
    aliases=_MOE_ALIASES,
    sizes=("num_local_experts", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size"),
)

QWEN3_MOE = replace(
    QWEN3,
    name="qwen3moe",
    label="Qwen3 with experts",
    architectures=("Qwen3MoeForCausalLM",),
    tensors=around(_BEFORE, *attention(), *_HEAD_NORMS, _BETWEEN, *_EXPERTS),
    keys=(*COMMON_KEYS, *OWN_HEAD_KEYS, *EXPERT_KEYS, _EXPERT_FORWARD),
    refusals=(*QWEN2.refusals, *_EVERY_LAYER, Refusal("norm_topk_prob", (True,))),
    aliases=_MOE_ALIASES,
    defaults={},
    sizes=("num_local_experts", "num_experts_per_tok", "moe_intermediate_size"),
)

"""The table of families that can be run: which class of transformers computes each, and what GGUF leaves unsaid of it.

Facts: transformers' configuration and modeling files; llama.cpp's model graphs for what is built in there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from core.families.family import Family, Values
from core.families.gemma import GEMMA, GEMMA2, GEMMA3
from core.families.llama import GRANITE, LLAMA, MIXTRAL, SMOLLM3
from core.families.qwen import QWEN2, QWEN2_MOE, QWEN3, QWEN3_MOE
from core.families.single import BITNET, GPT2, OLMO2, OLMO3, PHI3, STARCODER2


def _nothing(values: Values) -> Values:
    """For families whose GGUF keys say everything."""
    return {}


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """One family. model_type: transformers' name. implied: values of config.json, from those that GGUF's keys give.

    body, embedding, positions, layers, norm: attributes of transformers' model. attention: its implementation of
    attention that has everything the family needs. renames: (part of a name in checkpoints, what the modules have).
    told_by: the key, after the architecture's name, that only this family of several of one name has.
    """

    family: Family
    model_type: str
    implied: Callable[[Values], Values] = _nothing
    body: str = "model"
    embedding: str = "embed_tokens"
    positions: str = ""
    layers: str = "layers"
    norm: str = "norm"
    attention: str = "sdpa"
    renames: tuple[tuple[str, str], ...] = ()
    told_by: str = ""


def _plain_router(values: Values) -> Values:
    return {"norm_topk_prob": False, "decoder_sparse_step": 1, "mlp_only_layers": []}


def _normalised_router(values: Values) -> Values:
    return {**_plain_router(values), "norm_topk_prob": True}


def _query_scale(values: Values, large: int) -> int:
    """Whose root divides a head's scores: its length, in the model of `large` layers the width per head."""
    by_width = int(values["hidden_size"]) // int(values["num_attention_heads"])
    return by_width if values["num_hidden_layers"] == large else int(values["head_dim"])


def _windows(values: Values, period: int) -> list[str]:
    """The last of every `period` layers sees the whole context, the others a window."""
    return [
        "sliding_attention" if (number + 1) % period else "full_attention"
        for number in range(values["num_hidden_layers"])
    ]


def _gemma2(values: Values) -> Values:
    return {"query_pre_attn_scalar": _query_scale(values, 46), "layer_types": _windows(values, 2)}


def _gemma3(values: Values) -> Values:
    local = {"rope_type": "default", "rope_theta": values["rope_local_base_freq"]}
    return {
        "query_pre_attn_scalar": _query_scale(values, 62),
        "layer_types": _windows(values, 6),
        "rope_parameters": {"full_attention": values["rope_parameters"], "sliding_attention": local},
    }


def _phi3(values: Values) -> Values:
    share = values["rotary_dimensions"] * values["num_attention_heads"] / values["hidden_size"]
    rope = {**values["rope_parameters"], "partial_rotary_factor": share}
    return {"partial_rotary_factor": share, "rope_parameters": rope, "sliding_window": values["sliding_window"] or None}


def _olmo3(values: Values) -> Values:
    local = {"rope_type": "default", "rope_theta": values.get("window_rope_theta") or values["rope_theta"]}
    kinds = ("full_attention", "sliding_attention")
    return {
        "layer_types": [kinds[windowed] for windowed in values["windowed_layers"]],
        "rope_parameters": {"full_attention": values["rope_parameters"], "sliding_attention": local},
    }


def _bitnet(values: Values) -> Values:
    """llama.cpp's graph has SiLU built in; positions are scaled by 1."""
    return {"hidden_act": "silu", "rope_parameters": {**values["rope_parameters"], "rope_type": "default"}}


_BITNET_NAMES = (("inner_attn_ln", "attn_sub_norm"), ("ffn_layernorm", "ffn_sub_norm"))
_MIXTRAL_NAMES = (
    ("block_sparse_moe.", "mlp."),
    (".w1.", ".gate_proj."),
    (".w2.", ".down_proj."),
    (".w3.", ".up_proj."),
)

ROWS: tuple[NetworkRow, ...] = (
    NetworkRow(LLAMA, "llama"),
    NetworkRow(MIXTRAL, "mixtral", renames=_MIXTRAL_NAMES),
    NetworkRow(SMOLLM3, "smollm3"),
    NetworkRow(GRANITE, "granite"),
    NetworkRow(QWEN2, "qwen2"),
    NetworkRow(QWEN3, "qwen3"),
    NetworkRow(QWEN2_MOE, "qwen2_moe", _plain_router),
    NetworkRow(QWEN3_MOE, "qwen3_moe", _normalised_router),
    # Attention whose scores are capped is there in the plain implementation only.
    NetworkRow(GEMMA2, "gemma2", _gemma2, attention="eager"),
    NetworkRow(GEMMA, "gemma"),
    NetworkRow(GEMMA3, "gemma3_text", _gemma3),
    NetworkRow(OLMO2, "olmo2"),
    NetworkRow(OLMO3, "olmo3", _olmo3, told_by="attention.sliding_window_pattern"),
    NetworkRow(BITNET, "bitnet", _bitnet, renames=_BITNET_NAMES),
    NetworkRow(PHI3, "phi3", _phi3),
    NetworkRow(STARCODER2, "starcoder2"),
    NetworkRow(GPT2, "gpt2", body="transformer", embedding="wte", positions="wpe", layers="h", norm="ln_f"),
)


def row_of(architecture: str, has_experts: bool, keys: Collection[str] = ()) -> NetworkRow | None:
    """The row of GGUF's architecture, or None. Llama's name is that of Mixtral, too, which has experts.

    keys: those of the metadata.
    """
    named = [row for row in ROWS if row.family.name == architecture]
    told = [row for row in named if row.told_by and f"{architecture}.{row.told_by}" in keys]
    rows = told or [row for row in named if not row.told_by]
    mixtures = [row for row in rows if "num_local_experts" in row.family.sizes]
    return next(iter(mixtures if has_experts and mixtures else rows), None)

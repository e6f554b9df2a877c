"""The rows of the policy against llama-quantize's own choices, and the reasons a user reads."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from core.catalog import MIX, MIXES
from core.policy import FALLBACKS, KEPT, RULES, Model, Tensor, choose, describe, fit, layer_of, role_of
from kernels.blocks import FORMATS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "smollm2-tensor-types.json").read_text())["mixes"]
SMOLLM2 = Model("llama", layers=30, heads=9, kv_heads=3, tied=True)
BIG = Model("llama", layers=32, heads=32, kv_heads=8)
SHAPES = {
    "token_embd.weight": (49152, 576),
    "blk.*.attn_q.weight": (576, 576),
    "blk.*.attn_k.weight": (192, 576),
    "blk.*.attn_v.weight": (192, 576),
    "blk.*.attn_output.weight": (576, 576),
    "blk.*.ffn_gate.weight": (1536, 576),
    "blk.*.ffn_up.weight": (1536, 576),
    "blk.*.ffn_down.weight": (576, 1536),
    "blk.*.attn_norm.weight": (576,),
    "blk.*.ffn_norm.weight": (576,),
    "output_norm.weight": (576,),
}


def tensors_of_smollm2() -> list[tuple[str, tuple[int, ...], str]]:
    rows = []
    for pattern, shape in SHAPES.items():
        names = [pattern.replace("*", str(layer)) for layer in range(30)] if "*" in pattern else [pattern]
        rows += [(name, shape, "F32" if len(shape) == 1 else "F16") for name in names]
    return rows


def expected(mix: str, name: str) -> str:
    layer = layer_of(name)
    row = GOLDEN[mix][re.sub(r"^blk\.\d+\.", "blk.*.", name)]
    return row if isinstance(row, str) else row[layer]


def choice(mix: str, name: str, shape=(4096, 4096), model=BIG, layers_of_role=32, type_name="F16", **options):
    """What one tensor gets in a model that has this tensor in every layer."""
    pattern = re.sub(r"^blk\.\d+\.", "blk.{}.", name)
    names = {pattern.format(layer) for layer in range(layers_of_role)} | {name}
    return choose(MIX[mix], model, describe([(n, shape, type_name) for n in names], model)[name], **options)


@pytest.mark.parametrize("mix", GOLDEN)
def test_types_equal_those_of_llama_quantize(mix):
    rows = tensors_of_smollm2()
    random.Random(0).shuffle(rows)
    described = describe(rows, SMOLLM2)
    chosen = {name: choose(MIX[mix], SMOLLM2, tensor).type for name, tensor in described.items()}
    assert chosen == {name: expected(mix, name) for name, _, _ in rows}


def test_fallback_says_what_was_wanted_and_why_it_does_not_fit():
    described = describe(tensors_of_smollm2(), SMOLLM2)
    usual = choose(MIX["Q4_K_M"], SMOLLM2, described["blk.3.attn_q.weight"])
    assert usual.fallback
    assert usual.reason == "Q4_K wanted; rows of 576 are not a multiple of 256, so Q5_0"
    special = choose(MIX["Q4_K_M"], SMOLLM2, described["blk.0.attn_v.weight"])
    assert special.reason.startswith("Q6_K wanted (value projections matter most")
    assert special.reason.endswith("rows of 576 are not a multiple of 256, so Q8_0")
    fits = choose(MIX["Q4_K_M"], SMOLLM2, described["blk.3.ffn_down.weight"])
    assert (fits.type, fits.fallback) == ("Q4_K", False)


@pytest.mark.parametrize(("wanted", "taken"), [*FALLBACKS.items(), ("Q8_0", "F16"), ("Q4_0", "F16")])
def test_every_fallback(wanted, taken):
    row_length = FORMATS[wanted].elements + FORMATS[taken].elements
    assert fit(wanted, "why", row_length).type == taken
    assert fit(wanted, "why", 33).type == "F16"
    assert not fit(wanted, "why", FORMATS[wanted].elements * 3).fallback


@pytest.mark.parametrize("mix", ["F16", "BF16"])
def test_16_bit_mixes_change_matrices_only(mix):
    assert choice(mix, "blk.0.attn_v.weight").type == mix
    assert choice(mix, "output.weight").type == mix
    assert choice(mix, "blk.0.attn_norm.weight", (4096,), type_name="F32").type == "F32"
    assert choice(mix, "blk.0.ffn_gate_inp.weight", (8, 4096), type_name="F32").type == "F32"


KEPT_NAMES = [
    "blk.0.attn_norm.weight",
    "blk.0.attn_q.bias",
    "blk.0.ffn_gate_inp.weight",
    "blk.0.ssm_conv1d.weight",
    "blk.0.shortconv.conv.weight",
    "blk.0.time_mix_w1.weight",
    "blk.0.time_mix_decay_w2.weight",
    "enc.blk.0.attn_rel_b.weight",
    "position_embd.weight",
    "token_types.weight",
    "per_layer_model_proj.weight",
    "altup_proj.weight",
    "blk.0.laurel_l.weight",
    "v.patch_embd.weight",
    "v.position_embd.weight",
    "blk.0.indexer.k_proj.weight",
    "a.rvq.codebook.weight",
    "blk.0.ffn_gate_tid2eid.weight",
]


@pytest.mark.parametrize("name", KEPT_NAMES)
@pytest.mark.parametrize("type_name", ["F32", "F16"])
def test_small_tensors_keep_their_type(name, type_name):
    kept = choice("Q4_K_M", name, type_name=type_name)
    assert (kept.type, kept.quantizable) == (type_name, False)
    assert kept.reason


def test_every_kept_row_is_met_by_an_example():
    assert all(any(re.search(row.pattern, name) for name in KEPT_NAMES) for row in KEPT)


@pytest.mark.parametrize(
    "name", ["blk.0.attn_q.weight", "blk.0.ffn_gate.weight", "blk.0.time_mix_key.weight", "cls.weight"]
)
def test_ordinary_matrices_are_quantized(name):
    assert choice("Q4_0", name).type == "Q4_0"


def test_what_is_kept_becomes_f32_when_the_source_is_no_gguf():
    converted = Model("llama", 32, 32, 8, converted=True)
    assert choice("Q8_0", "output_norm.weight", (4096,), converted, type_name="BF16").type == "F32"


def test_pure_gives_one_type_to_every_matrix_even_the_output():
    assert choice("Q4_K_M", "output.weight", pure=True).type == "Q4_K"
    assert choice("Q4_K_M", "blk.0.attn_v.weight", pure=True).type == "Q4_K"
    assert choice("Q4_K_M", "output.weight").type == "Q6_K"


def test_untied_embedding_gets_the_usual_type_and_a_tied_one_that_of_the_output():
    tied = Model("llama", 32, 32, 8, tied=True)
    assert choice("Q4_K_M", "token_embd.weight").type == "Q4_K"
    assert choice("Q4_K_M", "token_embd.weight", model=tied).type == "Q6_K"
    assert choice("Q8_0", "token_embd.weight", model=tied).type == "Q8_0"


def test_eight_experts_get_better_attention():
    mixtral = Model("llama", 32, 32, 8, experts=8)
    types = {
        name: choice("Q4_K_M", f"blk.9.{name}.weight", model=mixtral).type
        for name in ("attn_v", "attn_k", "attn_output")
    }
    assert types == {"attn_v": "Q8_0", "attn_k": "Q8_0", "attn_output": "Q5_K"}


def test_experts_take_their_layer_from_the_name():
    mixtral = Model("llama", 32, 32, 8, experts=8)
    name = "blk.31.ffn_down.7.weight"
    tensor = describe([(name, (4096, 14336), "F16")], mixtral)[name]
    assert choose(MIX["Q4_K_M"], mixtral, tensor).type == "Q6_K"
    dense = describe([("blk.12.ffn_down.weight", (4096, 14336), "F16")], BIG)["blk.12.ffn_down.weight"]
    assert dense.position == 0


def test_70b_models_share_their_values():
    large = Model("llama", 80, 64, 8)
    assert choice("Q4_K_S", "blk.40.attn_v.weight", model=large, layers_of_role=80).type == "Q5_K"
    assert choice("Q4_K_S", "blk.40.attn_v.weight", model=Model("llama", 80, 64, 64), layers_of_role=80).type == "Q4_K"


def test_falcon_is_treated_by_itself():
    falcon = Model("falcon", 32, 71, 1)
    types = [choice("Q4_K_M", f"blk.{layer}.ffn_down.weight", model=falcon).type for layer in (0, 2, 4, 5)]
    assert types == ["Q6_K", "Q5_K", "Q4_K", "Q4_K"]
    assert choice("Q4_K_S", "blk.0.ffn_down.weight", model=falcon).type == "Q4_K"
    assert choice("Q4_K_M", "output.weight", model=falcon).type == "Q8_0"


def test_fused_projections_follow_the_rule_of_the_values():
    assert choice("Q4_K_M", "blk.0.attn_qkv.weight").type == "Q6_K"
    assert choice("Q4_K_M", "blk.4.attn_qkv.weight").type == "Q4_K"


def test_rows_name_known_mixes_types_and_roles():
    roles = {
        role_of(f"blk.0.{name}.weight") for name in ("attn_q", "attn_v", "attn_k", "attn_output", "ffn_down", "ffn_up")
    }
    for rule in RULES:
        assert rule.mixes <= set(MIX)
        assert rule.type in FORMATS
        assert rule.role in roles | {"output", "token_embd", "ffn_gate"}
        assert rule.reason


@pytest.mark.parametrize("mix", [mix.name for mix in MIXES])
def test_every_choice_fits_its_row_and_has_a_reason(mix):
    for row_length in (576, 1536, 4096, 80, 33):
        tensor = Tensor("blk.0.attn_v.weight", (8, row_length), "F16", "attn_v", 0, 32)
        chosen = choose(MIX[mix], BIG, tensor)
        assert FORMATS[chosen.type].divides(row_length)
        assert chosen.reason

"""The rows of the policy against llama-quantize's own choices, and the reasons a user reads."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
from pathlib import Path

import pytest

from core.catalog import ALL_MIXES, MIX, MIXES
from core.policy import KEPT, choose, describe, fit, layer_of, needs_importance, role_of, wanted
from core.rules import FALLBACKS, RULES, Model, Tensor, types_of
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


@pytest.mark.parametrize("mix", [mix for mix in GOLDEN if mix in MIX])
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


@pytest.mark.parametrize(
    ("asked", "taken"),
    [(a, t) for a, t in [*FALLBACKS.items(), ("Q8_0", "F16"), ("Q4_0", "F16")] if {a, t} <= FORMATS.keys()],
)
def test_every_fallback(asked, taken):
    row_length = FORMATS[asked].elements + FORMATS[taken].elements
    assert fit(asked, "why", row_length).type == taken
    assert fit(asked, "why", 33).type == "F16"
    assert not fit(asked, "why", FORMATS[asked].elements * 3).fallback


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


ALL = {mix.name: mix for mix in ALL_MIXES}
MIXTRAL = Model("llama", 32, 32, 8, experts=8)
WIDE = Model("llama", 32, 32, 32)


def types_in(mix, name, model=BIG, layers=32, shape=(4096, 4096)):
    """What the rules want for one tensor name in every layer, run-length encoded: 'Q5_K*4 Q4_K*28'."""
    described = describe([(f"blk.{layer}.{name}.weight", shape, "F16") for layer in range(layers)], model)
    found = [wanted(ALL[mix], model, described[f"blk.{layer}.{name}.weight"])[0] for layer in range(layers)]
    return " ".join(f"{key}*{len(list(run))}" for key, run in itertools.groupby(found))


def with_importance(model):
    return dataclasses.replace(model, importance=True)


# Llama-3.1-70B and GLM-4.6V are in llama.cpp's tests/snapshots; the others follow llama_tensor_get_type_impl.
LARGE = Model("llama", 80, 64, 8)
GLM = Model("glm4moe", 46, 96, 8, experts=128)
WANTED = [
    ("Q2_K", "attn_v", LARGE, 80, "Q5_K*80"),
    ("Q2_K", "ffn_down", LARGE, 80, "Q3_K*80"),
    ("Q2_K", "attn_output", LARGE, 80, "Q3_K*80"),
    ("Q3_K_S", "attn_v", LARGE, 80, "Q5_K*80"),
    ("Q3_K_S", "ffn_down", LARGE, 80, "Q3_K*80"),
    ("Q3_K_M", "attn_v", LARGE, 80, "Q5_K*80"),
    ("Q3_K_M", "ffn_down", LARGE, 80, "Q5_K*5 Q4_K*75"),
    ("Q3_K_M", "attn_output", LARGE, 80, "Q4_K*80"),
    ("Q2_K", "attn_v", GLM, 46, "Q4_K*46"),
    ("Q2_K", "ffn_down_exps", GLM, 46, "Q3_K*46"),
    ("Q3_K_M", "attn_v", GLM, 46, "Q5_K*2 Q4_K*44"),
    ("Q3_K_M", "ffn_down_shexp", GLM, 46, "Q5_K*2 Q4_K*44"),
    ("Q3_K_L", "ffn_down_exps", GLM, 46, "Q5_K*46"),
    ("IQ1_S", "attn_v", GLM, 46, "Q4_K*46"),
    ("IQ1_S", "attn_v", WIDE, 32, "Q2_K*32"),
    ("IQ2_M", "attn_v", WIDE, 32, "IQ3_S*32"),
    ("IQ1_M", "attn_output", BIG, 32, "IQ2_XXS*32"),
    ("IQ2_XS", "attn_output", BIG, 32, "IQ2_XS*32"),
    ("IQ2_S", "attn_output", BIG, 32, "IQ3_S*32"),
    ("IQ2_XXS", "attn_output", MIXTRAL, 32, "Q5_K*32"),
    ("IQ2_XXS", "attn_k", MIXTRAL, 32, "Q4_K*32"),
    ("IQ2_XXS", "ffn_down", BIG, 32, "Q2_K*4 IQ2_XXS*28"),
    ("IQ2_M", "ffn_down", BIG, 32, "IQ3_S*4 IQ2_S*28"),
    ("IQ3_XXS", "attn_v", BIG, 32, "Q4_K*32"),
    ("IQ3_XXS", "attn_v", WIDE, 32, "IQ3_S*32"),
    ("IQ3_XXS", "attn_v", with_importance(WIDE), 32, "IQ3_XXS*32"),
    ("IQ3_XXS", "ffn_down", BIG, 32, "Q4_K*4 Q3_K*28"),
    ("IQ3_XXS", "ffn_down", with_importance(BIG), 32, "IQ3_XXS*32"),
    ("IQ3_XXS", "attn_k", BIG, 32, "IQ2_S*32"),
    ("IQ3_XXS", "attn_q", BIG, 32, "IQ2_S*32"),
    ("IQ3_XS", "attn_q", BIG, 32, "IQ3_XXS*32"),
    ("IQ3_XS", "ffn_up", BIG, 32, "IQ3_S*4 IQ3_XXS*24 IQ3_S*4"),
    ("IQ3_XS", "ffn_gate_exps", GLM, 46, "IQ3_S*5 IQ3_XXS*35 IQ3_S*6"),
    ("IQ3_M", "ffn_down", BIG, 32, "Q4_K*4 IQ3_S*28"),
    ("IQ3_M", "ffn_down_exps", MIXTRAL, 32, "Q4_K*4 " + "IQ3_S*2 Q4_K*1 " * 7 + "IQ3_S*2 Q4_K*5"),
    ("IQ4_XS", "ffn_down", BIG, 32, "Q5_K*4 IQ4_XS*28"),
    ("IQ4_XS", "ffn_down", with_importance(BIG), 32, "IQ4_XS*32"),
    ("IQ4_NL", "attn_v", BIG, 32, "Q5_K*32"),
    ("IQ4_NL", "attn_v", WIDE, 32, "IQ4_NL*32"),
    ("Q4_0", "ffn_down", BIG, 32, "Q4_0*32"),
    ("Q4_0", "ffn_down", with_importance(BIG), 32, "Q4_1*4 Q4_0*28"),
    ("Q5_0", "ffn_down", with_importance(BIG), 32, "Q5_1*4 Q5_0*28"),
    ("Q4_1", "ffn_down", with_importance(BIG), 32, "Q4_1*32"),
    ("Q2_K_S", "ffn_down", BIG, 32, "Q4_K*4 Q2_K*28"),
    ("Q2_K_S", "attn_v", WIDE, 32, "Q2_K*32"),
    ("Q3_K_L", "attn_output", MIXTRAL, 32, "Q3_K*32"),
    ("Q5_K_M", "attn_output", MIXTRAL, 32, "Q5_K*32"),
    ("Q2_K", "attn_k", MIXTRAL, 32, "Q8_0*32"),
    ("NVFP4", "attn_v", MIXTRAL, 32, "Q8_0*32"),
]


@pytest.mark.parametrize(("mix", "name", "model", "layers", "expected"), WANTED)
def test_rules_of_every_mix(mix, name, model, layers, expected):
    assert types_in(mix, name, model, layers) == expected


@pytest.mark.parametrize(
    ("mix", "output", "embedding"),
    [
        ("IQ1_S", "Q5_K", "Q2_K"),
        ("IQ2_M", "Q5_K", "IQ3_S"),
        ("IQ3_XXS", "Q5_K", "IQ3_S"),
        ("IQ3_M", "Q6_K", "IQ3_S"),
        ("TQ1_0", "Q6_K", "Q4_K"),
        ("Q2_0", "Q6_K", "Q4_K"),
        ("Q1_0", "Q6_K", "Q1_0"),
        ("NVFP4", "Q6_K", "NVFP4"),
        ("Q8_0", "Q8_0", "Q8_0"),
        ("MXFP4_MOE", "Q8_0", "Q8_0"),
    ],
)
def test_output_and_embedding_of_every_kind_of_mix(mix, output, embedding):
    rows = [("output.weight", (128, 4096), "F16"), ("token_embd.weight", (128, 4096), "F16")]
    described = describe(rows, BIG)
    assert wanted(ALL[mix], BIG, described["output.weight"])[0] == output
    assert wanted(ALL[mix], BIG, described["token_embd.weight"])[0] == embedding


def test_a_mix_of_experts_stores_stacks_of_experts_in_its_own_type():
    assert types_in("MXFP4_MOE", "ffn_up_exps", GLM, 2, (128, 64, 4096)) == "MXFP4*2"
    assert types_in("MXFP4_MOE", "ffn_up", GLM, 2) == "Q8_0*2"
    assert types_in("MXFP4_MOE", "ffn_up_exps", GLM, 2, (1, 64, 4096)) == "Q8_0*2"


def test_counting_tensors_and_counting_layers_differ_where_experts_share():
    names = [f"blk.{layer}.ffn_down_{part}.weight" for layer in range(16) for part in ("exps", "shexp")]
    moe = Model("qwen2moe", 16, 16, 16, experts=60)
    described = describe([(name, (64, 4096), "F16") for name in names], moe)
    low = [wanted(ALL["IQ2_XXS"], moe, described[name])[0] for name in names]
    assert low[:4] == ["Q2_K", "Q2_K", "IQ2_XXS", "IQ2_XXS"]
    high = [wanted(ALL["Q4_K_S"], moe, described[name])[0] for name in names]
    assert high[:6] == ["Q5_K"] * 4 + ["Q4_K"] * 2


@pytest.mark.parametrize(
    ("mix", "name", "type_name", "needed"),
    [
        ("IQ2_XXS", "blk.0.attn_q.weight", "IQ2_XXS", True),
        ("IQ2_XXS", "token_embd.weight", "IQ2_XXS", False),
        ("Q2_K_S", "blk.0.attn_q.weight", "Q2_K", True),
        ("Q2_K", "blk.0.attn_q.weight", "Q2_K", False),
        ("IQ3_S", "blk.0.attn_q.weight", "IQ3_S", False),
        ("Q4_K_M", "blk.0.attn_q.weight", "IQ1_M", True),
        ("Q4_K_M", "output.weight", "IQ1_M", False),
    ],
)
def test_which_types_need_an_importance_matrix(mix, name, type_name, needed):
    tensor = describe([(name, (64, 4096), "F16")], BIG)[name]
    assert needs_importance(ALL[mix], tensor, type_name) == needed


def test_rows_name_known_mixes_types_and_roles():
    roles = {
        role_of(f"blk.0.{name}.weight") for name in ("attn_q", "attn_v", "attn_k", "attn_output", "ffn_down", "ffn_up")
    }
    for rule in RULES:
        assert rule.mixes <= set(ALL)
        assert rule.type in {mix.base_type for mix in ALL_MIXES}
        assert rule.role in roles | {"output", "token_embd", "ffn_gate", ""}
        assert rule.reason


@pytest.mark.parametrize("mix", ALL_MIXES, ids=lambda mix: mix.name)
def test_the_types_of_a_mix_are_all_it_can_choose(mix):
    chosen = {
        wanted(mix, model, tensor)[0]
        for model in (BIG, WIDE, MIXTRAL, LARGE, GLM, with_importance(WIDE), Model("falcon", 32, 71, 1))
        for name in ("attn_v", "attn_k", "attn_q", "attn_output", "ffn_down_exps", "ffn_up")
        for tensor in describe([(f"blk.{n}.{name}.weight", (8, 64, 256), "F16") for n in range(32)], model).values()
    }
    assert chosen <= types_of(mix.name, mix.base_type)


@pytest.mark.parametrize("mix", [mix.name for mix in MIXES])
def test_every_choice_fits_its_row_and_has_a_reason(mix):
    for row_length in (576, 1536, 4096, 80, 33):
        tensor = Tensor("blk.0.attn_v.weight", (8, row_length), "F16", "attn_v", 0, 32)
        chosen = choose(MIX[mix], BIG, tensor)
        assert FORMATS[chosen.type].divides(row_length)
        assert chosen.reason

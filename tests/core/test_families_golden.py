"""Every family against llama.cpp's own converter: keys, names, shapes, types and values of tiny models, as F16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core import engine, errors
from core.families import FAMILIES
from core.jobs import ChatJob, ChatResult, QuantizeJob, QuantizeOptions, Sampling
from core.sources import open_source
from tests.core import hf_families

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden", "families.json").read_text(encoding="utf-8"))
# Keys that are written although llama.cpp's converter leaves them to llama.cpp's defaults, with those defaults.
SAID_ALOUD = {"tokenizer.ggml.add_space_prefix": True}


def test_golden_file_is_the_one_meant() -> None:
    assert (GOLDEN["magic"], GOLDEN["version"]) == ("bitwright-golden-families", 1)
    assert "make_families.py" in GOLDEN["command"]
    assert set(GOLDEN["models"]) == set(hf_families.MODELS)


def test_every_family_has_a_golden_model() -> None:
    proven = {model.architecture for model in hf_families.MODELS.values()}
    for family in FAMILIES:
        assert proven & set(family.architectures), family.label


def shortened(kind: str, content: Any) -> list[Any]:
    """As tests/golden/make_families.py stores a value."""
    if isinstance(content, list) and len(content) > 16:
        return [kind, {"length": len(content), "hash": hf_families.digest(json.dumps(content).encode())}]
    return [kind, content]


@pytest.fixture(scope="module", params=hf_families.MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, gguf.GGUFReader]:
    """(what the converter made, our file) of one tiny model."""
    folder = tmp_path_factory.mktemp("family")
    return GOLDEN["models"][request.param], gguf.GGUFReader(converted(request.param, folder))


def converted(name: str, folder: Path) -> Path:
    """A tiny model as F16, by the job that the command line and the window run."""
    source, out = hf_families.build(name, folder / "tiny"), folder / "tiny-F16.gguf"
    engine.run(QuantizeJob(source=str(source), output=str(out), options=QuantizeOptions(target="F16")))
    return out


def test_keys_agree(pair: tuple[Any, gguf.GGUFReader]) -> None:
    golden, reader = pair
    ours = {
        key: shortened(
            field.types[0].name if len(field.types) == 1 else f"ARRAY[{field.types[-1].name}]", field.contents()
        )
        for key, field in reader.fields.items()
        if hf_families.is_compared(key)
    }
    extra = {key: value[1] for key, value in ours.items() if key not in golden["keys"]}
    assert extra == {key: SAID_ALOUD[key] for key in extra if key in SAID_ALOUD}
    assert {key: ours.get(key) for key in golden["keys"]} == golden["keys"]


def test_tensors_agree(pair: tuple[Any, gguf.GGUFReader]) -> None:
    golden, reader = pair
    ours = {
        tensor.name: [
            tensor.tensor_type.name,
            [int(size) for size in reversed(tensor.shape)],
            hf_families.digest(tensor.data.tobytes()),
        ]
        for tensor in reader.tensors
    }
    assert ours == golden["tensors"]


@pytest.mark.parametrize("name", hf_families.MODELS)
def test_rows_read_alone_are_those_of_the_whole(tmp_path: Path, name: str) -> None:
    """Stacked, split, turned and interleaved tensors are read in pieces that ignore where their parts begin."""
    with open_source(hf_families.build(name, tmp_path / "tiny")) as source:
        for tensor in source.tensors:
            whole = source.raw(tensor)
            assert whole.shape == (tensor.rows, tensor.row_bytes)
            pieces = [source.raw(tensor, first, min(37, tensor.rows - first)) for first in range(0, tensor.rows, 37)]
            np.testing.assert_array_equal(np.concatenate(pieces), whole)
            source.release(tensor)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("smollm3", {"no_rope_layers": [1, 0, 1, 0]}, "every fourth"),
        ("smollm3", {"no_rope_layer_interval": 3}, "no_rope_layer_interval"),
        ("granite", {"head_dim": 32}, "head_dim"),
        ("qwen2moe", {"norm_topk_prob": True}, "norm_topk_prob"),
        ("qwen2moe", {"mlp_only_layers": [0]}, "mlp_only_layers"),
        ("qwen3moe", {"norm_topk_prob": False}, "norm_topk_prob"),
        ("qwen3moe", {"decoder_sparse_step": 2}, "decoder_sparse_step"),
        ("gemma2", {"query_pre_attn_scalar": 24}, "query_pre_attn_scalar"),
        ("gemma2", {"layer_types": ["full_attention", "full_attention"]}, "period of 2"),
        ("gemma2", {"rope_theta": 20000.0}, "rope_theta"),
        ("gemma3", {"sliding_window_pattern": 2}, "sliding_window_pattern"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("olmo2", {"clip_qkv": 8.0}, "clip_qkv"),
        ("olmo3", {"layer_types": ["full_attention"]}, "layer_types"),
        ("olmo3", {"layer_types": ["full_attention"] * 3 + ["linear_attention"]}, "layer_types"),
        ("bitnet", {"hidden_act": "relu2"}, "SiLU"),
        ("bitnet", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("gemma", {"hidden_act": "relu"}, "hidden_act"),
        ("phi3", {"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}}, "long_factor"),
        ("phi3", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "yarn"),
        ("starcoder2", {"norm_type": "rms_norm"}, "norm_type"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"activation_function": "relu"}, "activation_function"),
    ],
)
def test_what_llama_cpp_would_ignore_is_refused(tmp_path: Path, name: str, change: dict[str, Any], words: str) -> None:
    folder = hf_families.build(name, tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
    with pytest.raises(errors.CannotConvert) as caught:
        open_source(folder)
    assert words in caught.value.line


@pytest.mark.parametrize(
    ("name", "lost", "found"),
    [
        ("mixtral", "model.layers.1.block_sparse_moe.experts.3.w2.weight", errors.NotAModel),
        ("qwen3moe", "model.layers.0.mlp.experts.0.up_proj.weight", errors.NotAModel),
        ("qwen3moe-fused", "model.layers.0.mlp.experts.gate_up_proj", errors.NotAModel),
        ("gemma2", "model.layers.0.post_feedforward_layernorm.weight", errors.NotAModel),
        ("gpt2", "transformer.h.1.ln_2.bias", errors.NotAModel),
    ],
)
def test_a_lost_tensor_is_named(tmp_path: Path, name: str, lost: str, found: type[errors.BitwrightError]) -> None:
    """A tensor is renamed in the file's header, so that its own name is missing."""
    folder = hf_families.build(name, tmp_path / "tiny")
    path = folder / "model.safetensors"
    data = path.read_bytes()
    renamed = lost[:-1] + "_"
    assert data.count(f'"{lost}"'.encode()) == 1
    path.write_bytes(data.replace(f'"{lost}"'.encode(), f'"{renamed}"'.encode()))
    with pytest.raises(found) as caught:
        open_source(folder)
    words = lost.removeprefix("transformer.").replace("gate_up_proj", "0.gate_proj.weight")
    assert words in caught.value.line


def test_warnings_say_what_is_left_out(tmp_path: Path) -> None:
    with open_source(hf_families.build("gemma3-multimodal", tmp_path / "a")) as source:
        assert "image input" in source.warnings[0]
    with open_source(hf_families.build("starcoder2", tmp_path / "b")) as source:
        assert "last 64 tokens" in source.warnings[0]
    with open_source(hf_families.build("qwen2-tied", tmp_path / "c")) as source:
        assert source.warnings == ()


def test_mixtral_with_fused_experts_is_the_same_model(tmp_path: Path) -> None:
    """As transformers 5 holds it; llama.cpp's converter knows the other form only."""
    apart, fused = hf_families.build("mixtral", tmp_path / "apart"), hf_families.build("mixtral", tmp_path / "fused")
    weights = load_file(fused / "model.safetensors")
    for layer in range(2):
        old, new = f"model.layers.{layer}.block_sparse_moe.", f"model.layers.{layer}.mlp."
        w1, w2, w3 = ([weights.pop(f"{old}experts.{e}.w{number}.weight") for e in range(4)] for number in (1, 2, 3))
        weights[f"{new}gate.weight"] = weights.pop(f"{old}gate.weight")
        weights[f"{new}experts.gate_up_proj"] = torch.cat([torch.stack(w1), torch.stack(w3)], dim=1)
        weights[f"{new}experts.down_proj"] = torch.stack(w2)
    save_file(weights, fused / "model.safetensors")
    with open_source(apart) as one, open_source(fused) as other:
        assert [tensor.name for tensor in one.tensors] == [tensor.name for tensor in other.tensors]
        for mine, theirs in zip(one.tensors, other.tensors, strict=True):
            np.testing.assert_array_equal(one.raw(mine), other.raw(theirs))


def test_bitnet_under_the_names_of_transformers(tmp_path: Path) -> None:
    folder = hf_families.build("bitnet", tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("inner_attn_ln", "attn_sub_norm").replace("ffn_layernorm", "ffn_sub_norm"): tensor
        for name, tensor in weights.items()
    }
    with open_source(hf_families.build("bitnet", tmp_path / "other")) as source:
        names = [tensor.name for tensor in source.tensors]
    save_file(renamed, folder / "model.safetensors")
    with open_source(folder) as source:
        assert [tensor.name for tensor in source.tensors] == names


@pytest.mark.parametrize("name", ["qwen2moe", "gemma", "gemma3", "olmo3", "bitnet", "phi3", "gpt2"])
def test_llama_cpp_answers(tmp_path: Path, name: str) -> None:
    """The families of the oddest structure load in llama.cpp, which checks every tensor's shape, and generate."""
    job = ChatJob(
        model=str(converted(name, tmp_path)), prompt="fox", sampling=Sampling(temperature=0, max_tokens=2), context=64
    )
    result = engine.run(job)
    assert isinstance(result, ChatResult)
    assert len(result.turns) == 1

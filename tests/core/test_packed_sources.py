"""Folders that other programs quantized, against the weights that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core import engine, errors
from core.jobs import InspectJob, ModelSummary, Plan, PlanJob, QuantizeJob, QuantizeOptions, QuantizeResult
from core.sources import open_source
from tests.core import hf_families, packed_checkpoints
from tests.core.packed_checkpoints import CASES


@pytest.mark.parametrize("name", CASES)
def test_a_packed_folder_is_the_weights_it_stands_for(tmp_path: Path, name: str) -> None:
    """All tensors, in llama.cpp's order of rows, whole and in pieces that ignore where groups and words begin."""
    packed, plain = packed_checkpoints.build(CASES[name], tmp_path)
    with open_source(packed) as source, open_source(plain) as reference:
        assert [tensor.name for tensor in source.tensors] == [tensor.name for tensor in reference.tensors]
        for tensor, meant in zip(source.tensors, reference.tensors, strict=True):
            values = source.read(tensor)
            np.testing.assert_allclose(values, reference.read(meant), rtol=3e-7, atol=0)
            pieces = [source.raw(tensor, at, min(37, tensor.rows - at)) for at in range(0, tensor.rows, 37)]
            np.testing.assert_array_equal(np.concatenate(pieces), source.raw(tensor))
            source.release(tensor)
    check_words(packed, CASES[name])


def check_words(packed: Path, case: packed_checkpoints.Packed) -> None:
    """The summary and the plan name the form."""
    summary = engine.run(InspectJob(source=str(packed)))
    assert isinstance(summary, ModelSummary)
    assert summary.type == case.label
    types = {tensor.type for tensor in summary.tensors if "attn_q.weight" in tensor.name}
    assert types == {case.type}
    assert summary.bits_per_weight < 25  # the embedding is F32 and a third of the weights
    made = engine.run(PlanJob(source=str(packed), options=QuantizeOptions(target="Q8_0")))
    assert isinstance(made, Plan)
    assert any(case.label in warning and "already quantized" in warning for warning in made.warnings)
    assert {row.source_type for row in made.tensors if "attn_q.weight" in row.name} == {case.type}


def changed(folder: Path, config: dict[str, Any] | None = None, tensors: dict[str, torch.Tensor] | None = None) -> None:
    """Puts other entries into a folder's quantization_config, and other tensors into its weights."""
    path = folder / "config.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found["quantization_config"] |= config or {}
    path.write_text(json.dumps(found), encoding="utf-8")
    if tensors:
        save_file({**load_file(folder / "model.safetensors"), **tensors}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("gptq-4", {"quant_method": "aqlm"}, "aqlm"),
        ("gptq-4", {"quant_method": None}, "does not name"),
        ("gptq-4", {"checkpoint_format": "marlin"}, "in the format marlin"),
        ("awq", {"version": "gemv"}, "in the format gemv"),
        ("pack-4", {"format": "marlin-24"}, "marlin-24"),
        ("auto-round", {"packing_format": "auto_round:llm_compressor"}, "auto_round:llm_compressor"),
    ],
)
def test_an_unknown_method_is_named_with_a_way_out(tmp_path: Path, name: str, config: dict[str, Any], words: str):
    packed, _ = packed_checkpoints.build(CASES[name], tmp_path)
    changed(packed, config)
    with pytest.raises(errors.UnknownQuantization) as caught:
        open_source(packed)
    assert words in caught.value.line
    assert "dequantize" in caught.value.remedy


DOWN = "model.layers.1.mlp.down_proj."


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("gptq-4", {"qzeros": torch.zeros(2, 8, dtype=torch.int32)}),
        ("gptq-4", {"qweight": torch.zeros(12, 60, dtype=torch.int32)}),
        ("gptq-4", {"g_idx": torch.full((96,), 3, dtype=torch.int32)}),
        ("gptq-4", {"g_idx": torch.full((96,), -1, dtype=torch.int32)}),
        ("gptq-4", {"scales": torch.zeros(0, 64)}),
        ("awq", {"qzeros": torch.zeros(2, 8, dtype=torch.int32)}),
        ("fp8-blocks", {"weight_scale_inv": torch.ones(7, 3)}),
        ("fp8-blocks", {"weight_scale_inv": torch.ones(2, 2, 3)}),
        ("pack-asymmetric-4", {"weight_zero_point": torch.zeros(7, 3, dtype=torch.int32)}),
        ("pack-4", {"weight_shape": torch.tensor([64, 0])}),
        ("pack-4", {"weight_shape": torch.tensor([1 << 40, 96])}),
        ("nf4-plain", {"weight.quant_state.bitsandbytes__nf4": torch.tensor([1, 2], dtype=torch.uint8)}),
        ("nf4-plain", {"weight.absmax": torch.ones(5)}),
        ("nf4-plain", {"weight.quant_map": torch.ones(17)}),
        ("nf4-double", {"weight.nested_absmax": torch.ones(5)}),
        ("ct-nvfp4", {"weight_global_scale": torch.ones(2)}),
        ("bitlinear", {"weight_scale": torch.ones(2)}),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    tmp_path: Path, name: str, tensor: dict[str, torch.Tensor]
) -> None:
    packed, _ = packed_checkpoints.build(CASES[name], tmp_path)
    changed(packed, tensors={DOWN + ending: value for ending, value in tensor.items()})
    with pytest.raises((errors.InvalidHeader, errors.NotAModel, errors.CannotConvert)) as caught:
        open_source(packed)
    assert "layers.1.mlp.down_proj" in caught.value.line


@pytest.mark.parametrize(
    ("name", "ending", "value"),
    [
        ("gptq-4", "scales", torch.full((3, 64), float("nan"), dtype=torch.float16)),
        ("awq", "scales", torch.full((3, 64), float("inf"), dtype=torch.float16)),
        ("fp8-tensor", "weight_scale_inv", torch.tensor(float("nan"))),
        ("fp8-blocks", "weight", torch.full((64, 96), float("nan")).to(torch.float8_e4m3fn)),
        ("nf4-plain", "weight.absmax", torch.full((96,), float("inf"))),
        ("pack-4", "weight_scale", torch.full((64, 3), float("nan"))),
        ("ct-mxfp4", "weight_scale", torch.full((64, 3), 255, dtype=torch.uint8)),
        ("bnb-int8", "SCB", torch.full((64,), float("nan"))),
        ("bitlinear", "weight_scale", torch.zeros(1)),
    ],
)
def test_what_is_not_finite_is_an_error_that_names_the_tensor(
    tmp_path: Path, name: str, ending: str, value: torch.Tensor
) -> None:
    packed, _ = packed_checkpoints.build(CASES[name], tmp_path)
    changed(packed, tensors={DOWN + ending: value})
    out = tmp_path / "out.gguf"
    with pytest.raises(errors.NonFiniteWeights) as caught:
        engine.run(QuantizeJob(source=str(packed), output=str(out), options=QuantizeOptions(target="Q8_0")))
    assert "blk.1.ffn_down.weight" in caught.value.line
    assert not out.exists()


@pytest.mark.parametrize("name", ["mixtral", "qwen3moe", "qwen3moe-fused"])
def test_packed_experts_are_stacked(tmp_path: Path, name: str) -> None:
    """FP8 with scales for blocks; of fused experts, for blocks of each expert."""
    folder, plain = hf_families.build(name, tmp_path / "packed"), hf_families.build(name, tmp_path / "plain")
    stored: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    for key, tensor in load_file(folder / "model.safetensors").items():
        stored[key] = meant[key] = tensor
        if "expert" in key:
            scales = torch.rand(*tensor.shape[:-2], -(-tensor.shape[-2] // 16), -(-tensor.shape[-1] // 32)) + 0.5
            spread = scales.repeat_interleave(16, -2).repeat_interleave(32, -1)[
                ..., : tensor.shape[-2], : tensor.shape[-1]
            ]
            stored[key] = (tensor.float() * 100).to(torch.float8_e4m3fn)
            meant[key] = stored[key].float() * spread
            prefix = key.removesuffix(".weight")
            stored[f"{prefix}.weight_scale_inv" if key != prefix else f"{key}_scale_inv"] = scales
    save_file(stored, folder / "model.safetensors")
    save_file(meant, plain / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [16, 32]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with open_source(folder) as source, open_source(plain) as reference:
        assert sum(tensor.packed == "FP8" for tensor in source.tensors) == 6
        for tensor, other in zip(source.tensors, reference.tensors, strict=True):
            np.testing.assert_allclose(source.read(tensor), reference.read(other), rtol=3e-7)


@pytest.mark.parametrize("target", ["TQ1_0", "TQ2_0"])
def test_packed_bitnet_goes_into_ternary_types_without_loss(tmp_path: Path, target: str) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    packed, _ = packed_checkpoints.build(CASES["autobitlinear"], tmp_path, config=sizes)
    job = QuantizeJob(source=str(packed), output=str(tmp_path / "out.gguf"), options=QuantizeOptions(target=target))
    result = engine.run(job)
    assert isinstance(result, QuantizeResult)
    ternary = [tensor for tensor in result.tensors if tensor.type == target and "_embd" not in tensor.name]
    assert len(ternary) >= 6
    assert all(tensor.max_error == 0 for tensor in ternary)

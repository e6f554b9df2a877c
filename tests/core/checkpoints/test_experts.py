"""Mixtures of experts as checkpoints: every expert quantized, forms that load, coverage, and fused sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import CompressedTensorsConfig

from core import engine
from core.checkpoints.settings import settled
from core.checkpoints.solve import SOLVERS
from core.checkpoints.source import CheckpointSource
from core.errors import IllegalMethod, ImatrixDoesNotFit
from core.imatrix import Entry, ImportanceMatrix, write_imatrix
from core.jobs import CheckpointJob, CheckpointPlanJob, CheckpointResult, MethodOptions, MethodRule, Plan
from core.sources import open_source
from tests.core import hf_tiny
from tests.core.checkpoints.loading import loaded, logits_of, quietly, relative_error

COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "num_experts_per_tok": 2,
}
KINDS: dict[str, dict[str, Any]] = {
    "Mixtral": {"intermediate_size": 64, "num_local_experts": 4},
    "Qwen2Moe": {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 64, "num_experts": 4},
    "Qwen3Moe": {"moe_intermediate_size": 64, "num_experts": 4, "head_dim": 32, "norm_topk_prob": True},
}
GPTQ = MethodOptions(method="gptq", export="bf16", bits=3, group=32, samples=8, length=32)
PACKED = MethodOptions(method="int", export="compressed-tensors", group=32)


def build(kind: str, folder: Path) -> Path:
    """A random mixture of transformers' own classes."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**COMMON, **KINDS[kind])
    with quietly(), torch.no_grad():
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.5 if "embed" in name else 0.05)
        model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(hf_tiny.tokenizer()))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mixtures")
    return {kind: build(kind, folder / kind) for kind in KINDS}


def made(source: Path, output: Path, options: MethodOptions) -> CheckpointResult:
    result = engine.run(CheckpointJob(source=str(source), output=str(output), options=options))
    assert isinstance(result, CheckpointResult)
    return result


def rounded(source: Path, folder: Path) -> Path:
    """The model with its linear layers' weights, experts' among them, replaced by what the method makes of them."""
    settings = settled(PACKED)
    shutil.copytree(source, folder)
    weights = load_file(source / "model.safetensors")
    with CheckpointSource(source) as read:
        for entry in (entry for entry in read.entries if entry.is_linear):
            w = read.numbers(entry)
            weights[entry.name] = SOLVERS["int"](w, settings, entry.stored.dtype, None).values()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_experts_load_in_transformers(kind: str, sources: dict[str, Path], tmp_path: Path) -> None:
    result = made(sources[kind], tmp_path / "out", PACKED)
    kept = [tensor.name for tensor in result.tensors if "expert" in tensor.name and tensor.type != "int4 g32"]
    assert [name for name in kept if not name.endswith("shared_expert_gate.weight")] == []
    model = loaded(tmp_path / "out", quantization_config=CompressedTensorsConfig(dequantize=True))
    found = logits_of(model)
    assert relative_error(found, logits_of(loaded(rounded(sources[kind], tmp_path / "wanted")))) < 1e-2
    assert relative_error(found, logits_of(loaded(sources[kind]))) > 2e-2
    with quietly():
        answer = model.generate(torch.arange(5)[None], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert answer.shape == (1, 9)


@pytest.mark.parametrize("kind", KINDS)
def test_gptq_solves_every_expert(kind: str, sources: dict[str, Path], tmp_path: Path) -> None:
    result = made(sources[kind], tmp_path / "gptq", GPTQ)
    experts = [row for row in result.layers if ".experts." in row.name]
    assert len(experts) == 2 * 4 * 3
    assert all(row.error <= row.rounded_error for row in experts)
    assert sum(row.error < 0.95 * row.rounded_error for row in experts) > len(experts) / 2
    assert [layer.layer for layer in result.experts] == [0, 1]
    for layer in result.experts:
        assert sum(layer.tokens) == 2 * 8 * 32, "two experts for each token"
        assert layer.rare == sum(count < 128 for count in layer.tokens)


@pytest.mark.parametrize("export", ["gptq", "awq"])
def test_experts_in_forms_of_vllm(export: str, sources: dict[str, Path], tmp_path: Path) -> None:
    """Read back by the program's own reader of such folders, which is tested against their published layouts."""
    options = MethodOptions(method="int", export=export, group=32, asymmetric=True)
    made(sources["Qwen3Moe"], tmp_path / "packed", options)
    made(sources["Qwen3Moe"], tmp_path / "plain", options.model_copy(update={"export": "bf16"}))
    with open_source(str(tmp_path / "packed")) as ours, open_source(str(tmp_path / "plain")) as plain:
        for part in ("ffn_gate_exps", "ffn_down_exps"):
            found, wanted = (source.read(source.tensor(f"blk.1.{part}.weight")) for source in (ours, plain))
            assert relative_error(found, wanted) < 2e-2


def test_experts_nobody_chose(sources: dict[str, Path], tmp_path: Path) -> None:
    """A router that never takes the last expert: it is solved for what the others meet."""
    weights = load_file(sources["Mixtral"] / "model.safetensors")
    for name in weights:
        if name.endswith("block_sparse_moe.gate.weight"):
            weights[name][3] = weights[name][:3].min(axis=0) - 1
            weights[name] = np.abs(weights[name]) * np.float32([[1], [1], [1], [-1]])
    folder = build("Mixtral", tmp_path / "source")
    for name in weights:
        if "input_layernorm" in name or "post_attention" in name or "embed" in name:
            weights[name] = np.abs(weights[name])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    result = made(folder, tmp_path / "out", GPTQ.model_copy(update={"samples": 2}))
    row = next(row for row in result.layers if "layers.0" in row.name and "experts.3.w1" in row.name)
    assert result.experts[0].tokens[3] == row.tokens
    assert result.experts[0].rare > 0
    assert row.error < row.rounded_error, "it would lose to rounding if it were solved for nothing"


def test_experts_of_one_fused_tensor(sources: dict[str, Path], tmp_path: Path) -> None:
    """As transformers may hold them: the same experts come out, under names that programs load."""
    folder = build("Qwen3Moe", tmp_path / "fused")
    weights = load_file(folder / "model.safetensors")
    for layer in range(2):
        stem = f"model.layers.{layer}.mlp.experts"
        gate, up, down = (
            [weights.pop(f"{stem}.{number}.{part}_proj.weight") for number in range(4)]
            for part in ("gate", "up", "down")
        )
        weights[f"{stem}.gate_up_proj"] = np.stack([np.concatenate(pair) for pair in zip(gate, up, strict=True)])
        weights[f"{stem}.down_proj"] = np.stack(down)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    made(folder, tmp_path / "out", PACKED)
    made(sources["Qwen3Moe"], tmp_path / "wanted", PACKED)
    ours, wanted = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "wanted"))
    assert ours.keys() == wanted.keys()
    assert all(np.array_equal(ours[name], wanted[name]) for name in ours)


@pytest.mark.parametrize(
    ("update", "remedy"),
    [
        ({"export": "bitsandbytes", "method": "nf4", "group": None}, "Use --export bf16"),
        ({"asymmetric": True}, "--export gptq"),
        ({"rules": (MethodRule(pattern=r"experts\.0", bits=8),)}, "all or none"),
        ({"skip": (r"experts\.1\.",)}, "all or none"),
    ],
)
def test_forms_that_nothing_loads(update: dict[str, Any], remedy: str, sources: dict[str, Path]) -> None:
    options = PACKED.model_copy(update=update)
    with pytest.raises(IllegalMethod) as error:
        engine.run(CheckpointPlanJob(source=str(sources["Qwen3Moe"]), options=options))
    assert remedy in error.value.remedy


def test_importance_of_each_expert_counts(sources: dict[str, Path], tmp_path: Path) -> None:
    """What another expert meets makes no difference to one."""
    chance = np.random.default_rng(0)
    sums = chance.lognormal(0, 2, (4, 128)).astype(np.float32)
    errors = []
    for number, changed in enumerate((None, 2)):
        if changed is not None:
            sums[changed] = chance.lognormal(0, 2, 128)
        path = tmp_path / f"{number}.gguf"
        entries = {"blk.1.ffn_gate_exps.weight": Entry(sums.copy(), np.full((4, 1), 1e4, np.float32))}
        write_imatrix(path, ImportanceMatrix(entries, chunks=1, chunk_size=1))
        options = PACKED.model_copy(update={"imatrix": str(path), "bits": 3})
        result = made(sources["Qwen3Moe"], tmp_path / f"out{number}", options)
        errors.append({tensor.name: tensor.rmse for tensor in result.tensors})
    assert [name for name in errors[0] if errors[0][name] != errors[1][name]] == [
        "model.layers.1.mlp.experts.2.gate_proj.weight"
    ]
    write_imatrix(tmp_path / "few.gguf", ImportanceMatrix({name: few(entry) for name, entry in entries.items()}))
    with pytest.raises(ImatrixDoesNotFit, match="for each expert"):
        made(sources["Qwen3Moe"], tmp_path / "no", options.model_copy(update={"imatrix": str(tmp_path / "few.gguf")}))


def few(entry: Entry) -> Entry:
    """The same of three experts."""
    return Entry(entry.sums[:3], entry.counts[:3])


def test_the_plan_says_that_experts_are_not_folded_into(sources: dict[str, Path]) -> None:
    job = CheckpointPlanJob(source=str(sources["Mixtral"]), options=MethodOptions(method="awq", export="awq", group=32))
    plan = engine.run(job)
    assert isinstance(plan, Plan)
    assert any("No scales are folded into experts" in warning for warning in plan.warnings)


def test_the_plan_says_how_experts_load(sources: dict[str, Path]) -> None:
    plan = engine.run(CheckpointPlanJob(source=str(sources["Qwen2Moe"]), options=PACKED))
    assert isinstance(plan, Plan)
    assert any("dequantize=True" in warning for warning in plan.warnings)

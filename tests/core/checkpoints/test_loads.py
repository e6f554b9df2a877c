"""Every form of checkpoint, proven by the program that loads it: logits equal to ours, and an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig, CompressedTensorsConfig

from core import engine
from core.jobs import CheckpointJob, CheckpointResult, MethodOptions, MethodRule
from tests.core.checkpoints.loading import build, computed, loaded, logits_of, quietly, relative_error

MIXED = (
    MethodRule(pattern="layers.0.*down_proj", keep=True),
    MethodRule(pattern="down_proj", bits=8, group=-1),
    MethodRule(pattern=r"layers\.1\..*o_proj", bits=3),
    MethodRule(pattern="gate_proj|up_proj", bits=5, group=64),
)
# 8-bit activations in half of the layers, 4-bit weights alone in the others.
HALF = (MethodRule(pattern="mlp", bits=4, group=64, activations=""),)
CASES = [
    *(
        MethodOptions(method="int", export="compressed-tensors", bits=bits, group=group, asymmetric=asymmetric)
        for bits, group, asymmetric in [
            *((bits, 32, False) for bits in (2, 3, 4, 5, 6, 7, 8)),
            *((bits, 64, True) for bits in (2, 3, 4, 5, 6, 7, 8)),
            (4, 16, True),
            (4, 128, False),
            (8, -1, False),
            (5, -1, True),
            (8, 0, False),
            (8, 0, True),
        ]
    ),
    MethodOptions(method="int", export="compressed-tensors", group=32, restricted=True),
    MethodOptions(method="int", export="compressed-tensors", bits=8, activations="dynamic"),
    MethodOptions(method="int", export="compressed-tensors", bits=4, group=32, activations="dynamic"),
    MethodOptions(method="int", export="compressed-tensors", bits=4, group=-1, activations="dynamic"),
    MethodOptions(method="int", export="compressed-tensors", group=32, skip=("layers.0", "down_proj")),
    MethodOptions(method="int", export="compressed-tensors", group=32, rules=MIXED),
    MethodOptions(method="int", export="compressed-tensors", bits=8, activations="dynamic", rules=HALF),
    MethodOptions(method="hqq", export="compressed-tensors", group=64),
    MethodOptions(method="nf4", export="bitsandbytes"),
    MethodOptions(method="nf4", export="bitsandbytes", double_quant=True),
    MethodOptions(method="nf4", export="bitsandbytes", skip=("q_proj",)),
    MethodOptions(method="fp4", export="bitsandbytes"),
    MethodOptions(method="llm-int8", export="bitsandbytes"),
    MethodOptions(method="ternary", export="bitnet"),
    MethodOptions(method="ternary", export="bitnet", skip=("o_proj",)),
    MethodOptions(method="bitnet", export="bitnet"),
    MethodOptions(method="int", export="bf16", group=32),
    MethodOptions(method="hqq", export="bf16", group=64, bits=3),
    MethodOptions(method="nf4", export="bf16"),
]


def name_of(options: MethodOptions) -> str:
    group = "" if options.group is None else f"-g{options.group}"
    extras = (
        "-mixed" * len(options.rules)
        + "-asym" * options.asymmetric
        + "-skip" * bool(options.skip)
        + "-double" * options.double_quant
        + f"-{options.activations}" * bool(options.activations)
    )
    return f"{options.method}{options.bits or ''}{group}{extras}-{options.export}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.mark.parametrize("options", CASES, ids=name_of)
def test_loads_and_agrees(options: MethodOptions, source: Path, tmp_path: Path) -> None:
    result = engine.run(CheckpointJob(source=str(source), output=str(tmp_path / "out"), options=options))
    load: dict[str, Any] = {}
    if options.export == "compressed-tensors" and (options.asymmetric or options.method == "hqq"):
        # What the plan warns of: transformers cannot hold packed zero points, but it can dequantize them.
        load["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    model = loaded(tmp_path / "out", **load)
    found = logits_of(model)
    wanted = computed(source, options)
    assert relative_error(found, wanted) < 1e-2
    original = logits_of(loaded(source))
    assert relative_error(found, original) > 1e-4, "the test would not notice weights that were never replaced"
    with quietly():
        answer = model.generate(torch.arange(5)[None], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert answer.shape == (1, 9)
    assert np.isfinite(found).all()
    assert result.bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize(("has_biases", "linear_class"), [(False, "autobitlinear"), (True, "bitlinear")])
def test_a_ternary_model_is_packed(has_biases: bool, linear_class: str, tmp_path: Path) -> None:
    """Without any loss where the form holds scales as they are, and its error is told where it holds 1 / scale."""
    source = build(tmp_path / "tiny", attention_bias=has_biases)
    weights = load_file(source / "model.safetensors")
    scale = np.float32(0.01226806640625)  # a number in bfloat16, whose inverse is none
    for name, w in weights.items():
        if name.endswith("proj.weight"):
            weights[name] = torch.sign(w) * (w.abs() > w.abs().mean()) * scale
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    options = MethodOptions(method="ternary", export="bitnet")
    result = engine.run(CheckpointJob(source=str(source), output=str(tmp_path / "out"), options=options))
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["linear_class"] == linear_class
    assert isinstance(result, CheckpointResult)
    assert (result.total.relative_rmse > 1e-6) == has_biases
    error = relative_error(logits_of(loaded(tmp_path / "out")), computed(source, options))
    assert error < (1e-2 if has_biases else 1e-4)
    packed = [load_file(path) for path in (tmp_path / "out").glob("*.safetensors")]
    scales = {float(w) for part in packed for name, w in part.items() if name.endswith("weight_scale")}
    assert scales == {float(scale) if not has_biases else 81.5}


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        (MethodOptions(method="llm-int8", export="bitsandbytes"), {"load_in_8bit": True}),
        (MethodOptions(method="nf4", export="bitsandbytes"), {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
    ],
)
def test_as_quantized_by_bitsandbytes_itself(
    options: MethodOptions, theirs: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    engine.run(CheckpointJob(source=str(source), output=str(tmp_path / "out"), options=options))
    ours = logits_of(loaded(tmp_path / "out"))
    assert relative_error(ours, logits_of(loaded(source, quantization_config=BitsAndBytesConfig(**theirs)))) < 1e-2

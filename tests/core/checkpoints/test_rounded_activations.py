"""AWQ and SmoothQuant from folder to folder: that each export loads and agrees, and what is told of activations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import CompressedTensorsConfig

from core import engine
from core.checkpoints.solutions import Solutions
from core.errors import IllegalMethod
from core.jobs import (
    CheckpointJob,
    CheckpointPlanJob,
    CheckpointResult,
    EvaluateJob,
    EvaluateResult,
    MethodOptions,
    MethodRule,
    Plan,
)
from core.network.network import open_network
from core.sources import open_source
from tests.core.checkpoints.loading import TOKENS, build, loaded, logits_of, quietly, relative_error

FEW: dict[str, Any] = {"samples": 16, "length": 32}
CT = "compressed-tensors"


def made(source: Path, output: Path, options: MethodOptions) -> CheckpointResult:
    result = engine.run(CheckpointJob(source=str(source), output=str(output), options=options))
    assert isinstance(result, CheckpointResult)
    return result


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama, some channels of whose norms are large: outliers in what meets the layers."""
    folder = build(tmp_path_factory.mktemp("model") / "tiny")
    weights = load_file(folder / "model.safetensors")
    for name, w in weights.items():
        if "layernorm" in name:
            w[::19] *= 12
    return build_again(folder, weights)


def build_again(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    from safetensors.numpy import save_file

    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def unpacked(folder: Path) -> dict[str, np.ndarray]:
    """The weights of a checkpoint of compressed-tensors or AWQ, unpacked from the published layouts."""
    stored = load_file(folder / "model.safetensors")
    found = {
        name: w for name, w in stored.items() if name.endswith(("norm.weight", "embed_tokens.weight", "head.weight"))
    }
    for name, w in stored.items():
        module = name.removesuffix(".weight").removesuffix(".qweight")
        if name.endswith(".qweight"):
            found[f"{module}.weight"] = _awq(w, stored[f"{module}.qzeros"], stored[f"{module}.scales"])
        elif f"{module}.weight_scale" in stored and name.endswith(".weight"):
            scales = stored[f"{module}.weight_scale"]
            found[name] = w.astype(np.float32) * np.repeat(scales, w.shape[1] // scales.shape[1], axis=1)
    return found


def _awq(qweight: np.ndarray, qzeros: np.ndarray, scales: np.ndarray) -> np.ndarray:
    order = np.array([0, 4, 1, 5, 2, 6, 3, 7])
    codes, zeros = (
        ((words[:, :, None] >> (4 * order)) & 15).reshape(len(words), -1).astype(np.float32)
        for words in (qweight, qzeros)
    )
    length = len(codes) // len(zeros)
    whole = (codes - np.repeat(zeros, length, 0)) * np.repeat(scales.astype(np.float32), length, 0)
    return np.ascontiguousarray(whole.T)


def rounding(folder: Path, kind: str) -> Callable[[str], Callable[..., tuple[torch.Tensor]]]:
    """Of a layer's name the hook that rounds its inputs as the configuration says."""
    stored = load_file(folder / "model.safetensors")

    def of(name: str) -> Callable[..., tuple[torch.Tensor]]:
        def hook(layer: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            x = inputs[0]
            if kind == "dynamic":
                scale, zero = x.abs().amax(-1, keepdim=True).clamp_min(1e-5) / 127.5, 0
            else:
                scale = torch.from_numpy(stored[f"{name}.input_scale"])
                zero = int(stored[f"{name}.input_zero_point"][0]) if kind == "static-asymmetric" else 0
            return ((torch.clamp(torch.round(x / scale) + zero, -128, 127) - zero) * scale,)

        return hook

    return of


def computed(source: Path, folder: Path, kind: str = "") -> np.ndarray:
    """Logits of the source with weights unpacked from a checkpoint, and inputs rounded as it says."""
    model = loaded(source)
    weights = {name: torch.from_numpy(np.ascontiguousarray(w, np.float32)) for name, w in unpacked(folder).items()}
    model.load_state_dict(weights, strict=False)
    assert {name for name, _ in model.named_parameters()} <= set(weights) | {"lm_head.weight"}
    if kind:
        of = rounding(folder, kind)
        for name, layer in model.named_modules():
            if name.endswith("_proj"):
                layer.register_forward_pre_hook(of(name))
    return logits_of(model)


def ours(folder: Path) -> np.ndarray:
    """Logits of a checkpoint as it is read and computed here."""
    with open_source(str(folder)) as model, open_network(model) as network, torch.no_grad():
        hidden = network.embed(TOKENS)
        for number in range(network.layers):
            with network.layer(number) as layer:
                hidden = layer(hidden)
        return network.logits(hidden).flatten(0, 1).numpy()


ROUNDED = [
    MethodOptions(method="smoothquant", export=CT, **FEW),
    MethodOptions(method="smoothquant", export=CT, activations="static", **FEW),
    MethodOptions(method="smoothquant", export=CT, bits=4, group=32, **FEW),
    MethodOptions(method="int", export=CT, bits=8, activations="static-asymmetric", activation_range="minmax", **FEW),
    MethodOptions(method="int", export=CT, bits=4, group=64, prestep="smoothquant", activations="dynamic", **FEW),
    MethodOptions(method="gptq", export=CT, bits=8, prestep="smoothquant", activations="static", **FEW),
]


@pytest.mark.parametrize("options", ROUNDED, ids=lambda row: f"{row.method}{row.bits}-{row.activations}-{row.prestep}")
def test_rounded_activations_load_and_agree(options: MethodOptions, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(source, out, options)
    model = loaded(out)
    found = logits_of(model)
    kind = options.activations or "dynamic"
    assert relative_error(found, computed(source, out, kind)) < 1e-2
    assert relative_error(found, ours(out)) < 1e-2, "as it is read and computed here, rounded inputs included"
    assert relative_error(found, computed(source, out)) > 1e-4, "the test would not notice inputs that are not rounded"
    with quietly():
        answer = model.generate(TOKENS[:, :5], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert answer.shape == (1, 9)
    [group] = json.loads((out / "config.json").read_text())["quantization_config"]["config_groups"].values()
    assert group["input_activations"]["strategy"] == ("token" if kind == "dynamic" else "tensor")
    assert group["input_activations"]["dynamic"] == (kind == "dynamic")


def test_awq_in_every_form(source: Path, tmp_path: Path) -> None:
    """Unpacked from AWQ's layout bit for bit, loaded by compressed-tensors and as plain weights: all as read here."""
    outs = {name: tmp_path / name for name in ("bf16", "awq", CT, "gptq")}
    for name, out in outs.items():
        made(source, out, MethodOptions(method="awq", export=name, group=32, **FEW))
    unrolled = unpacked(outs["awq"])
    with open_source(str(outs["awq"])) as packed:
        for tensor in packed.tensors:
            if "ffn_down" in tensor.name:  # whose rows are in one order everywhere
                layer = tensor.name.split(".")[1]
                wanted = unrolled[f"model.layers.{layer}.mlp.down_proj.weight"]
                np.testing.assert_array_equal(packed.read(tensor), wanted)
    held = loaded(outs[CT], quantization_config=CompressedTensorsConfig(dequantize=True))
    assert relative_error(computed(source, outs["awq"]), ours(outs["awq"])) < 1e-4
    assert relative_error(logits_of(held), ours(outs[CT])) < 1e-2
    assert relative_error(logits_of(loaded(outs["bf16"])), ours(outs["bf16"])) < 1e-2
    original = logits_of(loaded(source))
    errors = [relative_error(ours(out), original) for out in outs.values()]
    assert max(errors) < 1.3 * min(errors), "each form has a solution of its own, for scales as it stores them"
    with quietly():
        assert held.generate(TOKENS[:, :5], max_new_tokens=4, do_sample=False, pad_token_id=0).shape == (1, 9)


def test_awq_loses_less_than_rounding(source: Path, tmp_path: Path) -> None:
    plain = MethodOptions(method="int", export="bf16", bits=3, group=32, asymmetric=True)
    original = logits_of(loaded(source))
    errors = {}
    for name, options in {
        "rounded": plain,
        "scaled": plain.model_copy(update={"prestep": "awq", **FEW}),
        "awq": MethodOptions(method="awq", export="bf16", bits=3, group=32, **FEW),
        "hqq": MethodOptions(method="hqq", export="bf16", bits=3, group=32, prestep="awq", **FEW),
    }.items():
        result = made(source, tmp_path / name, options)
        errors[name] = relative_error(logits_of(loaded(tmp_path / name)), original)
        assert all(row.error < row.rounded_error for row in result.layers)
        assert len(result.layers) == (0 if name == "rounded" else 14)
    assert errors["awq"] < 0.8 * errors["rounded"]
    assert errors["scaled"] < 0.9 * errors["rounded"]


def test_smoothquant_loses_less_than_rounding(source: Path, tmp_path: Path) -> None:
    original = logits_of(loaded(source))
    plain = MethodOptions(method="int", export=CT, bits=8, activations="static", **FEW)
    smooth = MethodOptions(method="smoothquant", export=CT, activations="static", **FEW)
    errors = []
    for options in (plain, smooth):
        result = made(source, tmp_path / options.method, options)
        errors.append(relative_error(logits_of(loaded(tmp_path / options.method)), original))
        assert len(result.activations) == 8
    assert errors[1] < 0.8 * errors[0]


def test_figures_of_activations(source: Path, tmp_path: Path) -> None:
    result = made(source, tmp_path / "out", MethodOptions(method="int", export=CT, bits=8, activations="static", **FEW))
    rows = [row for row in result.activations if row.layer == 0]
    names = ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"]
    assert [row.name for row in rows] == [f"model.layers.0.{name}.weight" for name in names]
    assert rows[0].shared == tuple(f"model.layers.0.self_attn.{name}_proj.weight" for name in "kv")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    for row in rows:
        assert row.low < 0 < row.high
        assert row.percentiles[0] == (0.0, row.low)
        assert row.percentiles[-1] == (100.0, row.high)
        assert sum(row.histogram.counts) > 10_000
        assert max(row.largest) == pytest.approx(max(-row.low, row.high), rel=1e-4)
        assert row.columns == len(row.largest) in (128, 256)
        assert row.range_low is not None
        assert row.range_high is not None
        reach = max(-row.range_low, row.range_high)
        for name in (row.name, *row.shared):
            assert stored[f"{name.removesuffix('.weight')}.input_scale"][0] == pytest.approx(reach / 127.5, rel=1e-6)
    outliers = set(np.flatnonzero(np.array(rows[0].largest) >= rows[0].threshold))
    assert rows[0].outliers == tuple(sorted(outliers))
    assert outliers
    assert outliers <= set(range(0, 128, 19)), "the channels that were made large"


def test_llm_int8_says_which_columns_are_outliers(source: Path, tmp_path: Path) -> None:
    options = MethodOptions(method="llm-int8", export="bitsandbytes", samples=200, length=32)
    result = made(source, tmp_path / "out", options)
    assert len(result.activations) == 8
    assert set(result.activations[0].outliers) <= set(range(0, 128, 19))
    assert result.activations[0].outliers
    assert all(row.range_low is None for row in result.activations)
    # Where half precision differs a little, a number is rounded to the next step.
    assert relative_error(logits_of(loaded(tmp_path / "out")), ours(tmp_path / "out")) < 2e-2


def test_evaluations_count_what_rounding_inputs_costs(source: Path, tmp_path: Path) -> None:
    """The same 8-bit weights with activations in 16 bits and in 8, against the original."""
    options = MethodOptions(method="int", export=CT, bits=8, group=-1)
    made(source, tmp_path / "weights", options)
    made(source, tmp_path / "both", options.model_copy(update={"activations": "dynamic"}))
    models = tuple(str(tmp_path / name) for name in ("weights", "both"))
    result = engine.run(EvaluateJob(source=str(source), models=models, context=64, chunks=4))
    assert isinstance(result, EvaluateResult)
    weights, both = result.models
    assert both.mean_kld > 1.2 * weights.mean_kld
    assert [warning for warning in result.warnings if "rounds" in warning] == [
        "both rounds activations while it runs; its figures count that, too"
    ]


class Killed(BaseException):
    """Stands for a process that ends at once."""


@pytest.mark.parametrize(
    "options",
    [
        MethodOptions(method="awq", export="bf16", group=32, **FEW),
        MethodOptions(method="smoothquant", export=CT, activations="static", **FEW),
        MethodOptions(method="gptq", export="bf16", group=32, prestep="awq", target=0.5, **FEW),
    ],
    ids=lambda row: row.method,
)
def test_goes_on_to_the_same_bytes(
    options: MethodOptions, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(source, tmp_path / "whole", options)
    keep = Solutions.keep

    def once(self: Solutions, layer: int, found: Any) -> None:
        keep(self, layer, found)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Solutions, "keep", once)
        with pytest.raises(Killed):
            made(source, tmp_path / "out", options)
    again = made(source, tmp_path / "out", options)
    assert again.sha256 == whole.sha256
    assert again.activations == whole.activations
    assert again.layers == whole.layers
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_the_plan_says_what_is_folded(source: Path, tmp_path: Path) -> None:
    plan = engine.run(CheckpointPlanJob(source=str(source), options=MethodOptions(method="awq", export="awq")))
    assert isinstance(plan, Plan)
    folded = {row.name for row in plan.tensors if "folded" in row.reason}
    assert folded == {
        f"model.layers.{n}.{part}_layernorm.weight" for n in range(2) for part in ("input", "post_attention")
    }
    assert plan.target == "awq int4 g128 asym (awq)"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"method": "awq", "export": "gptq", "bits": 5}, "--bits 4"),
    ({"method": "awq", "export": "awq", "bits": 3}, "--bits 4"),
    ({"method": "awq", "export": "awq", "group": 16}, "--group 32"),
    ({"method": "awq", "export": "bf16", "prestep": "awq"}, "--prestep out"),
    ({"method": "awq", "export": CT, "activations": "dynamic"}, "--method int"),
    ({"method": "awq", "export": "bitsandbytes"}, "--export awq"),
    ({"method": "nf4", "export": "bitsandbytes", "prestep": "awq"}, "--prestep out"),
    ({"method": "smoothquant", "export": "gptq"}, f"--export {CT}"),
    ({"method": "smoothquant", "export": CT, "group": 128}, "--group channel"),
    ({"method": "smoothquant", "export": CT, "bits": 4, "activations": "static"}, "--activations dynamic or --bits 8"),
    ({"method": "smoothquant", "export": CT, "asymmetric": True}, "Leave --asymmetric out"),
    ({"method": "int", "export": CT, "prestep": "smoothquant"}, "--activations dynamic"),
    ({"method": "int", "export": "bf16", "alpha": 0.7}, "--prestep smoothquant"),
    ({"method": "int", "export": "bf16", "prestep": "awq", "imatrix": "x"}, "--imatrix out"),
    (
        {"method": "int", "export": CT, "bits": 8, "activations": "dynamic", "activation_range": "mse"},
        "--activations static",
    ),
    ({"method": "int", "export": "bf16", "rules": (MethodRule(pattern="v_proj", method="awq"),)}, "--prestep awq"),
    (
        {"method": "smoothquant", "export": CT, "rules": (MethodRule(pattern="v_proj", activations=""),)},
        "Use int in the rule",
    ),
]


@pytest.mark.parametrize(("options", "remedy"), REFUSED)
def test_bad_combinations(options: dict[str, Any], remedy: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(IllegalMethod) as caught:
        made(source, tmp_path / "out", MethodOptions(**options))
    assert remedy in caught.value.remedy
    assert list(tmp_path.iterdir()) == []

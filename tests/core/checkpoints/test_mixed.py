"""Layers of one checkpoint in several forms: who decides, what a configuration says, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli_methods import rule
from core import engine
from core.checkpoints.decide import OF_GPTQMODEL
from core.checkpoints.names import patterns, torn, with_fused
from core.checkpoints.settings import settled
from core.checkpoints.solve import SOLVERS
from core.checkpoints.source import CheckpointSource
from core.errors import IllegalMethod, InvalidPattern
from core.jobs import CheckpointJob, CheckpointPlanJob, CheckpointResult, MethodOptions, MethodRule, Plan
from core.sources import open_source
from tests.core import hf_tiny
from tests.core.checkpoints.loading import CONFIG, build

BASE = MethodOptions(method="int", export="gptq", group=32)
RULES = (
    MethodRule(pattern=r"layers\.0\..*down_proj", keep=True),
    MethodRule(pattern="down_proj", bits=8, group=-1),
    MethodRule(pattern="q_proj|k_proj|v_proj", bits=2, asymmetric=True),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "tiny")


def made(source: Path, output: Path, options: MethodOptions) -> CheckpointResult:
    result = engine.run(CheckpointJob(source=str(source), output=str(output), options=options))
    assert isinstance(result, CheckpointResult)
    return result


def planned(source: Path, options: MethodOptions) -> Plan:
    plan = engine.run(CheckpointPlanJob(source=str(source), options=options))
    assert isinstance(plan, Plan)
    return plan


def test_the_first_rule_decides_and_the_plan_says_so(source: Path) -> None:
    plan = planned(source, BASE.model_copy(update={"rules": RULES, "skip": ("gate_proj",)}))
    rows = {row.name: row for row in plan.tensors}
    assert rows["model.layers.0.mlp.down_proj.weight"].reason == "left out by the user"
    assert rows["model.layers.0.mlp.gate_proj.weight"].target_type == "F32"
    assert rows["model.layers.1.mlp.down_proj.weight"].target_type == "int8 per channel"
    assert rows["model.layers.1.self_attn.q_proj.weight"].target_type == "int2 g32 asym"
    assert rows["model.layers.1.self_attn.q_proj.weight"].reason == "a linear layer, by a rule"
    assert rows["model.layers.1.self_attn.o_proj.weight"].target_type == "int4 g32"
    ruled = {
        "layers.0.mlp.down_proj": RULES[0],
        "layers.1.mlp.down_proj": RULES[1],
        "layers.1.self_attn.q_proj": RULES[2],
    }
    assert {name: rows[f"model.{name}.weight"].rule for name in ruled} == {n: r.pattern for n, r in ruled.items()}
    assert rows["model.layers.0.mlp.gate_proj.weight"].rule == rows["model.norm.weight"].rule == ""
    assert plan.target == "int4 g32 + int2 g32 asym + int8 per channel (gptq)"


@pytest.mark.parametrize("export", ["gptq", "compressed-tensors"])
def test_read_back_it_is_what_was_computed(export: str, source: Path, tmp_path: Path) -> None:
    """The reader of sources unpacks by shapes, and knows nothing of what the writer meant."""
    options = BASE.model_copy(update={"export": export, "rules": RULES})
    made(source, tmp_path / "packed", options)
    settings, weights = settled(options), {}
    with CheckpointSource(source) as original:
        for entry in original.entries:
            own = settings.of(entry.name) if entry.is_linear else None
            w = original.numbers(entry)
            alone = w if own is None else SOLVERS[own.choice.method](w, own, entry.stored.dtype, None).values()
            weights[entry.name] = alone
    plain = hf_tiny.build(tmp_path / "plain", CONFIG, weights)
    with open_source(tmp_path / "packed") as found, open_source(plain) as wanted:
        for tensor in wanted.tensors:
            np.testing.assert_allclose(
                found.read(found.tensor(tensor.name)), wanted.read(tensor), rtol=1e-6, err_msg=tensor.name
            )


def test_what_gptq_says_of_its_layers(source: Path, tmp_path: Path) -> None:
    made(source, tmp_path / "out", BASE.model_copy(update={"rules": RULES}))
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    dynamic: dict[str, Any] = config["dynamic"]

    def said(name: str) -> tuple[str, int]:
        """As GPTQModel and vLLM look a layer up: the first expression that matches decides."""
        for pattern, values in dynamic.items():
            if re.match(pattern[2:], name):
                return pattern[:2], values.get("bits", 0)
        return "", config["bits"]

    assert said("model.layers.0.mlp.down_proj") == ("-:", 0)
    assert said("model.layers.1.mlp.down_proj") == ("+:", 8)
    assert said("model.layers.1.mlp.up_proj") == ("", 4)
    for name in ("q_proj", "v_proj", "qkv_proj"):
        assert said(f"model.layers.1.self_attn.{name}") == ("+:", 2)


def test_a_rule_can_bring_its_own_method(source: Path, tmp_path: Path) -> None:
    options = BASE.model_copy(update={"export": "bf16", "samples": 12, "length": 32, "bits": 3})
    rules = (MethodRule(pattern="mlp", method="gptq"), MethodRule(pattern="o_proj", method="nf4"))
    mixed = made(source, tmp_path / "mixed", options.model_copy(update={"rules": rules}))
    plain = made(source, tmp_path / "plain", options)
    rows = {row.name: row for row in mixed.tensors}
    assert rows["model.layers.0.mlp.up_proj.weight"].type == "gptq int3 g32"
    assert rows["model.layers.0.self_attn.o_proj.weight"].type == "nf4"
    before = {row.name: row.rmse for row in plain.tensors}
    assert rows["model.layers.0.self_attn.q_proj.weight"].rmse == before["model.layers.0.self_attn.q_proj.weight"]
    assert rows["model.layers.0.mlp.up_proj.weight"].rmse > before["model.layers.0.mlp.up_proj.weight"], (
        "errors that make up for each other are larger ones"
    )


def test_what_vllm_joins_is_warned_of(source: Path) -> None:
    options = BASE.model_copy(update={"rules": (MethodRule(pattern="v_proj", bits=8),)})
    assert any("q_proj" in warning for warning in planned(source, options).warnings)
    assert planned(source, BASE.model_copy(update={"rules": RULES})).warnings == (OF_GPTQMODEL,)


def test_entropy_for_weights_is_warned_of(source: Path) -> None:
    options = BASE.model_copy(update={"group": -1, "range": "entropy"})
    assert any("made for activations" in warning for warning in planned(source, options).warnings)
    assert planned(source, options.model_copy(update={"range": "percentile"})).warnings == ()


REFUSALS = [
    ({"export": "awq", "asymmetric": True}, MethodRule(pattern="x", group=64), "--group 32 for all"),
    ({"export": "awq", "asymmetric": True}, MethodRule(pattern="x", bits=8), "--bits 4"),
    ({"method": "nf4", "export": "bitsandbytes", "group": None}, MethodRule(pattern="x", method="fp4"), "bf16"),
    ({}, MethodRule(pattern="x", bits=5), "--bits"),
    ({}, MethodRule(pattern="x", method="nf4"), "--export bitsandbytes"),
    ({"group": 128}, MethodRule(pattern="q_proj", bits=8, group=48), "--group"),
]


@pytest.mark.parametrize(("update", "given", "remedy"), REFUSALS)
def test_refusals_name_the_nearest_choice(update: dict[str, Any], given: MethodRule, remedy: str) -> None:
    with pytest.raises(IllegalMethod) as caught:
        settled(BASE.model_copy(update={**update, "rules": (given,)}))
    assert remedy in caught.value.remedy


def test_a_group_that_does_not_divide_is_refused_in_its_rule(tmp_path: Path) -> None:
    odd = build(tmp_path / "odd", intermediate_size=192)
    options = BASE.model_copy(update={"rules": (MethodRule(pattern="down_proj", group=128),)})
    with pytest.raises(IllegalMethod) as caught:
        planned(odd, options)
    assert caught.value.remedy == "Use group=64 in the rule that finds it"


def test_patterns_that_are_none() -> None:
    with pytest.raises(InvalidPattern):
        settled(BASE.model_copy(update={"rules": (MethodRule(pattern="("),)}))
    with pytest.raises(IllegalMethod):
        settled(BASE.model_copy(update={"rules": (MethodRule(pattern="x", method="gpqt"),)}))


def test_names_become_few_expressions() -> None:
    every = [f"m.layers.{n}.mlp.experts.{e}.up" for n in range(12) for e in range(4)]
    attention = [f"m.layers.{n}.q" for n in range(12)]
    groups = {"a": [*every[4:], *attention], "b": every[:4], "none": ["m.layers.1.mlp.gate"]}
    found = patterns(groups)
    assert len(found["b"]) == 1
    for key, names in groups.items():
        for name in (*every, *attention, "m.layers.1.mlp.gate"):
            hits = any(re.fullmatch(pattern, name) for pattern in found[key])
            assert hits == (name in names), (key, name)


def test_joined_layers() -> None:
    names = [f"l.{part}" for part in ("q_proj", "k_proj", "v_proj", "gate_proj")]
    assert with_fused(names) == [*names, "l.qkv_proj"]
    assert torn(dict.fromkeys(names[:3], 4)) == ""
    assert torn({**dict.fromkeys(names[:3], 4), "l.k_proj": 8}) == "l.q_proj"


def test_on_the_command_line() -> None:
    cases = {
        "down_proj=gptq:bits=3,group=128": {"method": "gptq", "bits": 3, "group": 128},
        "(q|k)_proj=bits=8,asymmetric": {"bits": 8, "asymmetric": True},
        "a=b=keep": {"keep": True},
        "x=group=channel,weights-only": {"group": -1, "activations": ""},
    }
    for text, fields in cases.items():
        found = rule(text)
        assert found.pop("pattern") in text
        assert found == fields
    for wrong in ("x", "x=", "x=gptq:", "x=gptq:bits", "x=bits=three", "=keep", "x=keep,bits=3"):
        with pytest.raises(Exception, match="REGEX=WHAT"):
            rule(wrong)

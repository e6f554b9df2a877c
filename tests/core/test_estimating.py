"""Estimates of real folders and files: a checkpoint in its own form, of known and foreign families, and quantized."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core import errors
from core.estimate.overhead import Load
from core.estimate.values import RunOptions
from core.estimating import estimate, read_facts
from core.jobs import EstimateJob, EstimateResult, QuantizeOptions
from core.plan import make_plan
from core.progress import Progress
from core.sources import open_source
from core.store import Store
from tests.core.hf_tiny import build
from tests.core.small_models import small_model


def ask(source: Path, **fields: object) -> EstimateResult:
    return estimate(EstimateJob.model_validate({"source": str(source)} | fields), Progress())


def test_a_folder_runs_in_transformers_and_quantized_in_llama_cpp(tmp_path: Path) -> None:
    hf_folder = build(tmp_path / "model")
    config = json.loads((hf_folder / "config.json").read_text())
    found = ask(hf_folder, options=QuantizeOptions(target="Q8_0"), run=RunOptions(context=2048))
    assert (found.now.facts.form, found.now.memory.runtime) == ("safetensors", "transformers")
    assert found.after is not None
    assert (found.after.facts.form, found.after.memory.runtime) == ("gguf", "llama.cpp")
    tensors = sum(file.stat().st_size for file in hf_folder.glob("*.safetensors"))
    assert found.now.facts.weight_bytes == pytest.approx(tensors, rel=0.02)  # the header is not weights
    with open_source(hf_folder) as source:
        made = make_plan(source, QuantizeOptions(target="Q8_0"))
    assert found.after.facts.weight_bytes == sum(row.bytes for row in made.tensors)
    width = config["num_key_value_heads"] * config["hidden_size"] // config["num_attention_heads"]
    assert found.after.memory.devices[0].cache == config["num_hidden_layers"] * 2048 * 2 * width * 2
    assert found.now.memory.devices[0].cache == found.after.memory.devices[0].cache


def test_a_family_that_cannot_be_converted_is_estimated_all_the_same(tmp_path: Path) -> None:
    weights = read_facts(str(build(tmp_path / "llama")), Progress()).weight_bytes
    for kind, known in (("stablelm", True), ("rather_new", False)):
        folder = build(tmp_path / kind, {"model_type": kind, "architectures": ["Foreign"]})
        found = ask(folder)
        assert found.now.memory.complete is known
        assert found.now.facts.weight_bytes == weights
        assert found.now.verdict.level in (("fits", "tight") if known else ("unknown",))
        with pytest.raises(errors.UnknownArchitecture):
            ask(folder, options=QuantizeOptions(target="Q8_0"))


@pytest.mark.parametrize("name", ["gone.gguf", "gone.safetensors"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.BitwrightError):
        ask(tmp_path / name)


def test_past_loads_correct_the_estimate(tmp_path: Path) -> None:
    source = small_model(tmp_path / "m.gguf")
    before = ask(source)
    load = Load(model="m", backend="cpu", context=1, predicted=100 << 20, measured=130 << 20, at=1.0)
    Store().add_load(load)
    after = ask(source)
    assert after.overhead_correction == 30 << 20
    assert after.now.memory.total - before.now.memory.total == 30 << 20


def test_only_the_latest_loads_are_kept() -> None:
    store = Store()
    for number in range(60):
        store.add_load(Load(model="m", backend="cpu", context=1, predicted=1, measured=number, at=float(number)))
    assert [load.measured for load in store.loads()] == list(range(10, 60))

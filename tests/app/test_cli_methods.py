"""Checkpoints on the command line: plan, quantize, and what is refused before anything happens."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from core.checkpoints.solutions import Solutions
from core.jobs import CheckpointResult, Plan
from core.leftovers import layers_folder
from core.store import Store
from tests.core import hf_tiny

CONFIG = {"hidden_size": 128, "intermediate_size": 256}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(hf_tiny.build(tmp_path_factory.mktemp("model") / "tiny", CONFIG))


def test_quantize(source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wanted = ["--method", "int", "--bits", "3", "--group", "64", "--asymmetric", "--export", "gptq"]
    out = str(tmp_path / "out")
    assert main(["quantize", source, *wanted, "--out", out, "--json"]) == 0
    result = CheckpointResult.model_validate_json(capfd.readouterr().out)
    assert result.target == "int3 g64 asym (gptq)"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["bits"] == 3
    assert main(["quantize", source, *wanted, "--out", out]) == 2
    assert "not empty" in capfd.readouterr().err
    kept = [record for record in Store().jobs() if record.job.kind == "checkpoint"]
    assert kept[0].state == "done"
    assert kept[0].result == result


def test_several_forms(source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wanted = ["--method", "int", "--asymmetric", "--group", "64", "--export", "gptq,awq,compressed-tensors"]
    out = tmp_path / "out"
    assert main(["quantize", source, *wanted, "--dry-run", "--json"]) == 0
    plans = [Plan.model_validate(one) for one in json.loads(capfd.readouterr().out)["plans"]]
    assert main(["quantize", source, *wanted, "--out", str(out), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert list(answer) == ["results"]
    results = [CheckpointResult.model_validate(one) for one in answer["results"]]
    forms = ["gptq", "awq", "compressed-tensors"]
    assert [(one.output, one.target, one.bytes) for one in results] == [
        (str(out / form), f"int4 g64 asym ({form})", made.bytes) for form, made in zip(forms, plans, strict=True)
    ]
    assert sorted(path.name for path in out.iterdir()) == sorted(forms)
    kept = {record.job.output: record.result for record in Store().jobs() if record.job.kind == "checkpoint"}
    assert [kept[one.output] for one in results] == results
    assert main(["quantize", source, *wanted, "--out", str(tmp_path / "again")]) == 0
    words = capfd.readouterr().out
    assert all(str(tmp_path / "again" / form) in words for form in forms)


def test_plan_and_dry_run_are_the_same(source: str, capfd: pytest.CaptureFixture[str]) -> None:
    wanted = [source, "--method", "int", "--export", "bf16", "--group", "channel", "--range=-0.1:0.1"]
    assert main(["plan", *wanted, "--json"]) == 0
    plan = Plan.model_validate_json(capfd.readouterr().out)
    assert main(["quantize", *wanted, "--dry-run", "--json"]) == 0
    timed = Plan.model_validate_json(capfd.readouterr().out)
    assert timed.tensors == plan.tensors
    assert [check.step for check in plan.preflight.checks] == [check.step for check in timed.preflight.checks]
    assert plan.preflight.seconds is None
    assert timed.preflight.seconds > 0
    assert timed.preflight.bytes == plan.bytes
    assert {row.target_type for row in plan.tensors} == {"int4 per channel", "BF16"}
    assert main(["plan", *wanted]) == 0
    text = capfd.readouterr().out
    assert "Search" not in text
    assert "All files are complete" in text
    assert "a linear layer" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "int"], "--method needs --export"),
        (["--method", "nf4", "--export", "bitsandbytes", "--to", "Q4_0"], "--to belongs to GGUF files"),
        (["--to", "Q4_0", "--bits", "3"], "--bits belongs to checkpoints"),
        (["--to", "Q4_0", "--group", "tensor"], "--group belongs to checkpoints"),
        (["--method", "int", "--export", "gptq", "--bits", "5"], "Use --bits 4"),
        (["--method", "int", "--export", "gptq,awq", "--bits", "8"], "Use --bits 4 and --asymmetric"),
        (["--method", "int", "--export", "gptq,"], "no list of different forms"),
        (["--method", "int", "--export", "gptq,gptq"], "each once"),
        (["--method", "int", "--export", "gptq", "--range", "wide"], "wide is none of"),
        (["--method", "int", "--export", "gptq", "--group", "0"], "0 is not a number of weights"),
        (
            ["--method", "int", "--export", "bf16", "--range", "percentile:20"],
            "percentile cannot be 20. It must be more",
        ),
        (["--method", "nf4"], "one of bitsandbytes, bf16"),
        (["--method", "bitnet", "--export", "bitnet", "--bits", "2"], "bitnet does not make 2 bits: it makes 1 bit."),
        (["--method", "awq", "--export", "awq", "--bits", "3"], "The form awq does not hold 3 bits: it holds 4 bits."),
        (["--method", "gptq", "--export", "gptq", "--group", "tensor"], "32, 64 or 128, or one scale for each row"),
        (["--method", "hqq", "--export", "gptq", "--imatrix", "x.gguf"], "Leave --imatrix out"),
        (["--method", "gptq", "--export", "gptq", "--asymmetric-target", "2"], "--asymmetric-target cannot be 2"),
    ],
)
def test_refusals(arguments: list[str], words: str, source: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", source, *arguments]) == 2
    assert words in capfd.readouterr().err


def test_what_the_plan_warns_of_stands_below_the_result(
    source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = ["quantize", source, "--method", "bitnet", "--export", "bf16", "--skip", "nosuch", "--out"]
    assert main([*wanted, str(tmp_path / "a")]) == 0
    words = capfd.readouterr().out
    assert "Note: The expression nosuch finds no layer and changes nothing" in words
    assert "Note: A model that was not trained in this form will not survive it" in words
    card = (tmp_path / "a" / "README.md").read_text()
    assert "was not trained in this form" in card
    assert "nosuch" not in card


def test_an_importance_matrix_is_computed_for_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(hf_tiny.build(tmp_path / "tiny", {**CONFIG, "max_position_embeddings": 512}))
    monkeypatch.setenv("BITWRIGHT_DATA_DIR", str(tmp_path / "data"))
    wanted = ["plan", source, "--method", "int", "--export", "bf16", "--imatrix", "compute", "--json"]
    assert main([*wanted, "--group", "48"]) == 2
    assert not (tmp_path / "data" / "imatrix").exists(), "what cannot be made is refused before"
    capfd.readouterr()
    assert main([*wanted, "--group", "64"]) == 0
    plan = Plan.model_validate_json(capfd.readouterr().out)
    assert any(row.weighted for row in plan.tensors)
    assert len(list((tmp_path / "data" / "imatrix").iterdir())) == 1


def test_interrupted_with_resume_it_goes_on(
    source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["quantize", source, "--method", "gptq", "--group", "64", "--export", "gptq", "--samples", "2"]
    wanted += ["--length", "64", "--out", str(tmp_path / "out")]
    keep = Solutions.keep

    def interrupted(self: Solutions, layer: int, found: Any) -> None:
        keep(self, layer, found)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Solutions, "keep", interrupted)
        assert main(wanted) == 130
        assert "Nothing was left behind" in capfd.readouterr().err
        assert list(tmp_path.iterdir()) == []
        assert main([*wanted, "--resume"]) == 130
    assert "the same command goes on" in capfd.readouterr().err
    assert layers_folder(tmp_path / "out").is_dir()
    assert main([*wanted, "--resume"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

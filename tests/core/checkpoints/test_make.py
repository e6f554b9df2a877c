"""Checkpoints as folders: files, plan, refusals, and what is left when something goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import engine
from core.errors import (
    AlreadyQuantized,
    BadInput,
    Cancelled,
    CheckpointNeedsFolder,
    IllegalMethod,
    ImatrixDoesNotFit,
    NonFiniteWeights,
    NothingToQuantize,
    OutputIsSource,
    OutputNotWritable,
    ValuesTooLarge,
    VerificationFailed,
)
from core.formats.atomic_folder import AtomicFolder, remove_stale_folders
from core.formats.safetensors_writer import SafetensorsWriter, Slot
from core.imatrix import Entry, ImportanceMatrix, write_imatrix
from core.jobs import CheckpointJob, CheckpointPlanJob, MethodOptions, Plan, QuantizeResult
from core.progress import Progress
from tests.core import hf_tiny
from tests.core.checkpoints.loading import CONFIG, build

FOUR_BITS = MethodOptions(method="int", export="compressed-tensors", group=32)


def made(source: Path, output: Path, options: MethodOptions = FOUR_BITS, progress: Any = None) -> QuantizeResult:
    job = CheckpointJob(source=str(source), output=str(output), options=options)
    result = engine.run(job, progress)
    assert isinstance(result, QuantizeResult)
    return result


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("model") / "tiny")
    (folder / "generation_config.json").write_text('{"max_new_tokens": 7}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (folder / "modeling_own.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Of the source\n")
    return folder


def test_the_folder(source: Path, tmp_path: Path) -> None:
    result = made(source, tmp_path / "out")
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    carried = {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"}
    assert names == {"config.json", "README.md", "model.safetensors", "additional_chat_templates", *carried}
    assert (out / "additional_chat_templates" / "tools.jinja").read_text() == "{{ tools }}"
    config = json.loads((out / "config.json").read_text())
    assert config.pop("quantization_config")["format"] == "pack-quantized"
    assert config == json.loads((source / "config.json").read_text())
    card = (out / "README.md").read_text()
    assert "license: mit" in card
    assert "4 bits, symmetric, one scale for 32 weights" in card
    assert f"{result.total.snr_db:.1f} dB" in card
    assert list(tmp_path.iterdir()) == [out]


def test_the_result(source: Path, tmp_path: Path) -> None:
    result = made(source, tmp_path / "out")
    plan = engine.run(CheckpointPlanJob(source=str(source), options=FOUR_BITS))
    assert isinstance(plan, Plan)
    assert [(t.name, t.bytes) for t in plan.tensors] == [(t.name, t.bytes) for t in result.tensors]
    assert plan.bytes == result.bytes == (tmp_path / "out" / "model.safetensors").stat().st_size
    quantized = [t for t in result.tensors if t.type == "int4 g32"]
    assert len(quantized) == 14
    assert all(0.01 < t.relative_rmse < 0.2 for t in quantized)
    assert all(t.rmse == 0 for t in result.tensors if t.type != "int4 g32")
    assert result.target == "int4 g32 (compressed-tensors)"
    assert made(source, tmp_path / "again").sha256 == result.sha256


def test_shards_stay_as_they_are(tmp_path: Path) -> None:
    from tests.core.hf_sample import write_shards

    torch = pytest.importorskip("torch")
    folder = build(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    weights = {name: torch.from_numpy(w) for name, w in hf_tiny.tensors({**hf_tiny.CONFIG, **CONFIG}).items()}
    write_shards(folder, weights, 3)
    made(folder, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    before = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    for name, file in before.items():
        layer = name.removesuffix(".weight")
        assert index["weight_map"].get(f"{layer}.weight_packed", index["weight_map"].get(name)) == file
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors")} == set(before.values())


def test_gptq_has_its_second_config(source: Path, tmp_path: Path) -> None:
    made(source, tmp_path / "out", MethodOptions(method="int", export="gptq", group=32, skip=("layers.1",)))
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert json.loads((tmp_path / "out" / "quantize_config.json").read_text()) == config
    assert len(config["dynamic"]) == 9, "seven layers, and two that vLLM makes of five of them"
    assert all(name.startswith(r"-:^model\.layers\.1\.") for name in config["dynamic"])


def test_importance_counts(source: Path, tmp_path: Path) -> None:
    columns = {f"blk.{layer}.ffn_down.weight": 256 for layer in range(2)}
    chance = np.random.default_rng(0)
    entries = {
        name: Entry(chance.lognormal(0, 2, (1, count)).astype(np.float32), np.ones(1, np.float32))
        for name, count in columns.items()
    }
    write_imatrix(tmp_path / "some.gguf", ImportanceMatrix(entries, chunks=1, chunk_size=1))
    options = FOUR_BITS.model_copy(update={"imatrix": str(tmp_path / "some.gguf"), "bits": 3})
    weighted = made(source, tmp_path / "a", options)
    plain = made(source, tmp_path / "b", options.model_copy(update={"imatrix": ""}))
    changed = {t.name for t, u in zip(weighted.tensors, plain.tensors, strict=True) if t.rmse != u.rmse}
    assert changed == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(2)}
    wrong = {"blk.0.ffn_down.weight": Entry(np.ones((1, 96), np.float32), np.ones(1, np.float32))}
    write_imatrix(tmp_path / "wrong.gguf", ImportanceMatrix(wrong, chunks=1, chunk_size=1))
    with pytest.raises(ImatrixDoesNotFit):
        made(source, tmp_path / "c", options.model_copy(update={"imatrix": str(tmp_path / "wrong.gguf")}))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"method": "gptqq", "export": "gptq"}, "Did you mean gptq?"),
    ({"method": "int", "export": "gguf"}, "Choose one of"),
    ({"method": "int", "export": "gptq", "bits": 6, "group": 32}, "--bits 8"),
    ({"method": "int", "export": "awq", "group": 32}, "--asymmetric"),
    ({"method": "int", "export": "compressed-tensors", "group": 256}, "--group 128"),
    ({"method": "nf4", "export": "bitsandbytes", "group": 64}, "--group"),
    ({"method": "hqq", "export": "bf16", "range": "mse"}, "--range"),
    ({"method": "int", "export": "bf16", "group": 32, "double_quant": True}, "nf4"),
    ({"method": "int", "export": "bf16", "group": 32, "range": "given"}, "LOW:HIGH"),
    ({"method": "int", "export": "bf16", "group": 32, "range": "entropy"}, "--group channel"),
    ({"method": "int", "export": "bf16", "group": 32, "range": "minmax", "imatrix": "x"}, "--range mse"),
    ({"method": "int", "export": "bf16", "group": 32, "asymmetric": True, "restricted": True}, "--restricted"),
    ({"method": "int", "export": "compressed-tensors", "bits": 5, "activations": "dynamic"}, "--bits 4"),
]


@pytest.mark.parametrize(("options", "remedy"), REFUSED)
def test_bad_combinations(options: dict[str, Any], remedy: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(IllegalMethod) as caught:
        made(source, tmp_path / "out", MethodOptions(**options))
    assert remedy in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_bad_sources(source: Path, sample: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNeedsFolder):
        made(sample, tmp_path / "out")
    with pytest.raises(NothingToQuantize):
        made(source, tmp_path / "out", FOUR_BITS.model_copy(update={"skip": ("proj",)}))
    made(source, tmp_path / "done")
    with pytest.raises(AlreadyQuantized):
        made(tmp_path / "done", tmp_path / "out")
    with pytest.raises(BadInput):
        made(source, tmp_path / "out", FOUR_BITS.model_copy(update={"skip": ("(",)}))


@pytest.mark.parametrize(("value", "error"), [(np.nan, NonFiniteWeights), (np.inf, NonFiniteWeights)])
def test_bad_weights(value: float, error: type[Exception], tmp_path: Path) -> None:
    weights = hf_tiny.tensors({**hf_tiny.CONFIG, **CONFIG})
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    folder = hf_tiny.build(tmp_path / "tiny", CONFIG, weights)
    with pytest.raises(error, match="up_proj"):
        made(folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [folder]


def test_scales_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    weights = {name: w.astype(np.float32) for name, w in hf_tiny.tensors({**hf_tiny.CONFIG, **CONFIG}).items()}
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = 1e7
    folder = hf_tiny.build(tmp_path / "tiny", CONFIG, weights)
    with pytest.raises(ValuesTooLarge, match="up_proj"):
        made(folder, tmp_path / "out", MethodOptions(method="int", export="gptq", group=32))


def test_outputs_are_not_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("precious")
    with pytest.raises(OutputNotWritable):
        made(source, tmp_path / "full")
    with pytest.raises(OutputIsSource):
        made(source, source)
    with pytest.raises(OutputNotWritable):
        made(source, tmp_path / "absent" / "out")
    (tmp_path / "empty").mkdir()
    made(source, tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").exists()


@pytest.mark.parametrize("calls", [1, 3, 6])
def test_a_cancelled_job_leaves_nothing(calls: int, source: Path, tmp_path: Path) -> None:
    left = [calls]

    def cancelled() -> bool:
        left[0] -= 1
        return left[0] < 0

    with pytest.raises(Cancelled):
        made(source, tmp_path / "out", progress=Progress(cancelled=cancelled))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_job_left_is_removed(tmp_path: Path) -> None:
    stale = tmp_path / ".out.part-12345678"
    stale.mkdir()
    (stale / "model.safetensors").write_bytes(b"half")
    with AtomicFolder(tmp_path / "out", 0) as folder:
        assert not stale.exists()
        assert remove_stale_folders(tmp_path / "out") == [], "one that is being filled stays"
        assert folder.path.exists()
    assert list(tmp_path.iterdir()) == []


def test_verification_notices(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = SafetensorsWriter.append_parts

    def flawed(self: SafetensorsWriter, name: str, parts: Iterable[np.ndarray]) -> None:
        write(self, name, parts)
        self.checksums[name] ^= name.endswith("norm.weight")

    monkeypatch.setattr(SafetensorsWriter, "append_parts", flawed)
    with pytest.raises(VerificationFailed, match="norm"):
        made(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_writer_holds_to_what_was_announced(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as out:
        writer = SafetensorsWriter(out, [Slot("a", "F32", (2, 2)), Slot("b", "I8", (3,))])
        with pytest.raises(ValueError, match="announced"):
            writer.append("b", np.zeros(3, np.int8))
        writer = SafetensorsWriter(out, [Slot("a", "F32", (2, 2))])
        with pytest.raises(ValueError, match="announced"):
            writer.append("a", np.zeros(3, np.float32))
        writer = SafetensorsWriter(out, [Slot("a", "F32", (2, 2))])
        with pytest.raises(ValueError, match="not written"):
            writer.finish()

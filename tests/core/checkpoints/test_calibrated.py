"""GPTQ from folder to folder: what it gains, that it loads, and that an interrupted job goes on to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from core import engine
from core.checkpoints import calibrated
from core.checkpoints.solutions import Solutions
from core.errors import Cancelled, CannotRun, DeviceNotAvailable, IllegalMethod, OutputNotWritable, ReadFailed
from core.jobs import CheckpointJob, CheckpointPlanJob, CheckpointResult, MethodOptions, Plan, output_errors
from core.leftovers import find_leftovers, layers_folder
from core.methods import gptq
from core.network.network import open_network
from core.progress import Progress, Snapshot
from core.sources import open_source
from core.texts import RESOURCES, windows_of
from tests.core.checkpoints.loading import build, loaded, logits_of, relative_error

GPTQ = MethodOptions(method="gptq", export="bf16", bits=3, group=32, samples=24, length=32)


def made(source: Path, output: Path, options: MethodOptions = GPTQ, progress: Any = None) -> CheckpointResult:
    result = engine.run(CheckpointJob(source=str(source), output=str(output), options=options), progress)
    assert isinstance(result, CheckpointResult)
    return result


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CheckpointResult]:
    """The checkpoint of a job that was not interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, made(source, out)


def test_gains_over_rounding(source: Path, whole: tuple[Path, CheckpointResult], tmp_path: Path) -> None:
    made(source, tmp_path / "rounded", GPTQ.model_copy(update={"method": "int"}))
    unseen = (RESOURCES / "evaluation" / "prose.txt").read_text(encoding="utf-8")[:3000]
    ids = Tokenizer.from_file(str(source / "tokenizer.json")).encode(unseen).ids[:768]
    tokens = torch.tensor(ids).reshape(-1, 32)
    original = logits_of(loaded(source), tokens)
    folders = (whole[0], tmp_path / "rounded")
    errors = [relative_error(logits_of(loaded(folder), tokens), original) for folder in folders]
    assert errors[0] < 0.9 * errors[1]
    assert [path.name for path in whole[0].parent.iterdir()] == ["out"], "the solved layers are gone"


def test_figures_of_layers_and_ranges(whole: tuple[Path, CheckpointResult]) -> None:
    result = whole[1]
    assert [row.layer for row in result.layers] == [0] * 7 + [1] * 7
    assert all(0 < row.error <= row.rounded_error < 1 for row in result.layers)
    assert any(row.error < 0.8 * row.rounded_error for row in result.layers)
    quantized = {tensor.name for tensor in result.tensors if tensor.reason.startswith("a linear layer")}
    assert {row.name for row in result.layers} == {row.name for row in result.clipping} == quantized
    for row in result.clipping:
        assert row.histogram.low <= row.low < 0 < row.high <= row.histogram.high
        assert 0 <= row.clipped < 0.2
        assert 0.5 < row.covered <= 1
        assert sum(row.histogram.counts) > 1000


def test_the_card_says_how_it_was_made_and_what_was_measured(whole: tuple[Path, CheckpointResult]) -> None:
    card = (whole[0] / "README.md").read_text()
    assert output_errors(whole[1].layers) in card
    mean = 100 * np.mean([row.error for row in whole[1].layers])
    assert f"{mean:.3g} % on average" in card
    for words in (
        "| Ranges | mse |",
        f"at most {GPTQ.samples} windows of {GPTQ.length} tokens",
        "columns in the order groups, damping 0.01, first position 64 times, at most 4 passes of coordinate descent",
    ):
        assert words in card


@pytest.mark.parametrize("asymmetric", [False, True])
def test_every_form_holds_the_same(asymmetric: bool, source: Path, tmp_path: Path) -> None:
    """One solution in each form; what a form rounds scales to is all that may differ."""
    options = GPTQ.model_copy(update={"bits": 4, "asymmetric": asymmetric})
    results = {
        export: made(source, tmp_path / export, options.model_copy(update={"export": export}))
        for export in ("bf16", "gptq", *(("awq",) if asymmetric else ("compressed-tensors",)))
    }
    ratios = [result.total.relative_rmse for result in results.values()]
    assert max(ratios) < 1.05 * min(ratios)
    if not asymmetric:
        packed, plain = (logits_of(loaded(tmp_path / name)) for name in ("compressed-tensors", "bf16"))
        assert relative_error(packed, plain) < 2e-2


SOLVERS = ({"act_order": "static"}, {"act_order": "off"}, {"damp": 0.3}, {"sinks": 1.0}, {"passes": 0})


@pytest.mark.parametrize("update", SOLVERS)
def test_settings_of_the_solver(
    update: dict[str, Any], source: Path, whole: tuple[Path, CheckpointResult], tmp_path: Path
) -> None:
    other = made(source, tmp_path / "out", GPTQ.model_copy(update=update))
    assert other.sha256 != whole[1].sha256
    assert all(0 < row.error <= row.rounded_error for row in other.layers)
    damps = {row.damp for row in other.layers}
    assert damps == ({0.3} if "damp" in update else {0.01})


def test_the_outputs_of_the_original_model_as_target(
    source: Path, whole: tuple[Path, CheckpointResult], tmp_path: Path
) -> None:
    """On the text that was looked at, the last hidden states come nearer to the original's."""
    made(source, tmp_path / "out", GPTQ.model_copy(update={"target": 0.5}))
    with open_source(str(source)) as model, open_network(model) as network:
        ids, _ = windows_of((), network.tokenizer, GPTQ.length, GPTQ.samples)
    original = logits_of(loaded(source), torch.from_numpy(ids))
    errors = [
        relative_error(logits_of(loaded(path), torch.from_numpy(ids)), original)
        for path in (whole[0], tmp_path / "out")
    ]
    assert errors[1] < errors[0]


def test_several_devices_make_the_same(
    monkeypatch: pytest.MonkeyPatch, source: Path, whole: tuple[Path, CheckpointResult], tmp_path: Path
) -> None:
    monkeypatch.setattr(calibrated, "devices_for", lambda device: (torch.device("cpu"),) * 3)
    shared = made(source, tmp_path / "out")
    assert shared.sha256 == whole[1].sha256
    assert shared.layers == whole[1].layers


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_device_that_is_not_there(source: Path, tmp_path: Path) -> None:
    job = CheckpointJob(source=str(source), output=str(tmp_path / "out"), options=GPTQ, device="cuda")
    with pytest.raises(DeviceNotAvailable):
        engine.run(job)
    with pytest.raises(IllegalMethod, match="processor"):
        engine.run(job.model_copy(update={"options": GPTQ.model_copy(update={"method": "int"})}))


class Killed(BaseException):
    """Stands for a process that ends at once."""


def interrupted(monkeypatch: pytest.MonkeyPatch, source: Path, output: Path) -> None:
    """Runs the job until its first layer is solved."""
    keep = Solutions.keep

    def once(self: Solutions, layer: int, found: Any) -> None:
        keep(self, layer, found)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Solutions, "keep", once)
        with pytest.raises(Killed):
            made(source, output)
    assert [path.name for path in sorted(layers_folder(output).iterdir())] == [
        "identity.json",
        "layer-00000.json",
        "layer-00000.npz",
    ]


def test_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, source: Path, whole: tuple[Path, CheckpointResult], tmp_path: Path
) -> None:
    interrupted(monkeypatch, source, tmp_path / "out")
    solved = []
    solve = gptq.quantize
    monkeypatch.setattr(gptq, "quantize", lambda *arguments: solved.append(1) or solve(*arguments))
    seen: list[Snapshot] = []
    again = made(source, tmp_path / "out", progress=Progress(seen.append))
    assert again.sha256 == whole[1].sha256
    assert again.layers == whole[1].layers, "what was found of the layer that was solved before is there, too"
    assert [snapshot.measured.name for snapshot in seen if snapshot.measured] == [row.name for row in again.layers]
    assert len(solved) == 7, "one layer of two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_options_begin_anew(monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path) -> None:
    interrupted(monkeypatch, source, tmp_path / "out")
    solved = []
    solve = gptq.quantize
    monkeypatch.setattr(gptq, "quantize", lambda *arguments: solved.append(1) or solve(*arguments))
    made(source, tmp_path / "out", GPTQ.model_copy(update={"samples": 23}))
    assert len(solved) == 14


def test_a_damaged_solution_is_named(monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path) -> None:
    interrupted(monkeypatch, source, tmp_path / "out")
    (layers_folder(tmp_path / "out") / "layer-00000.npz").write_bytes(b"PK damaged")
    with pytest.raises(ReadFailed, match="layer-00000"):
        made(source, tmp_path / "out")


def test_two_jobs_do_not_share(source: Path, tmp_path: Path) -> None:
    held = Solutions(layers_folder(tmp_path / "out"), {"some": "identity"})
    with pytest.raises(OutputNotWritable, match="another job"):
        made(source, tmp_path / "out")
    held.remove()


class CancelledAfter:
    """Asks to stop when so many matrices are solved."""

    def __init__(self, matrices: int) -> None:
        self.left = matrices

    def __call__(self) -> bool:
        return self.left <= 0

    def seen(self, snapshot: Snapshot) -> None:
        self.left -= snapshot.measured is not None


@pytest.mark.parametrize("matrices", [3, 14])
def test_a_cancelled_job_leaves_nothing(matrices: int, source: Path, tmp_path: Path) -> None:
    """While it solves, and while it packs what it has solved."""
    stop = CancelledAfter(matrices)
    with pytest.raises(Cancelled):
        made(source, tmp_path / "out", progress=Progress(stop.seen, stop))
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_job_that_is_to_be_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, source: Path, whole: tuple[Path, CheckpointResult], tmp_path: Path
) -> None:
    output, stop = tmp_path / "out", CancelledAfter(8)
    job = CheckpointJob(source=str(source), output=str(output), options=GPTQ, keep_unfinished=True)
    with pytest.raises(Cancelled):
        engine.run(job, Progress(stop.seen, stop))
    left = find_leftovers((str(output),))
    assert left is not None
    assert left.bytes > 1000
    assert list(tmp_path.iterdir()) == [layers_folder(output)]
    solved = []
    solve = gptq.quantize
    monkeypatch.setattr(gptq, "quantize", lambda *arguments: solved.append(1) or solve(*arguments))
    again = engine.run(job)
    assert isinstance(again, CheckpointResult)
    assert again.sha256 == whole[1].sha256
    assert len(solved) == 7, "one layer of two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert find_leftovers((str(output),)) is None


def test_solved_layers_that_are_left_can_be_thrown_away(tmp_path: Path) -> None:
    output = tmp_path / "out"
    held = Solutions(layers_folder(output), {"some": "identity"})
    assert find_leftovers((str(output),)) is None, "a job works on them"
    held.close()
    left = find_leftovers((str(output),))
    assert left is not None
    left.discard()
    assert list(tmp_path.iterdir()) == []
    left.discard()


def test_refusals(source: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="context") as refused:
        made(source, tmp_path / "out", GPTQ.model_copy(update={"length": 4096}))
    assert refused.value.remedy == "Use --length 128", "the nearest that can be had"
    for update in ({"range": "entropy"}, {"method": "int", "text": ("a.txt",)}, {"bits": 6}):
        with pytest.raises(IllegalMethod):
            made(source, tmp_path / "out", GPTQ.model_copy(update=update))
    assert list(tmp_path.iterdir()) == []


def test_windows_are_no_longer_than_the_context(source: Path, tmp_path: Path) -> None:
    options = GPTQ.model_copy(update={"length": None, "samples": 2})
    plan = engine.run(CheckpointPlanJob(source=str(source), options=options))
    assert isinstance(plan, Plan)
    assert plan.warnings == ("Windows of 128 tokens are looked at: the model's context is no longer.",)
    assert made(source, tmp_path / "out", options).warnings == plan.warnings


def test_the_memory_is_announced(source: Path) -> None:
    plans = [
        engine.run(CheckpointPlanJob(source=str(source), options=GPTQ.model_copy(update={"samples": samples})))
        for samples in (64, 4064)  # both are more than one batch of windows
    ]
    assert all(isinstance(plan, Plan) for plan in plans)
    small, large = (plan.memory_bytes for plan in plans if isinstance(plan, Plan))
    widest = json.loads((source / "config.json").read_text())["intermediate_size"]
    assert large - small == 4000 * 32 * (128 + 128 + widest) * 4, "hidden states, and what is kept of them"
    assert np.isfinite(small)

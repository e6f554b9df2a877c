"""How long jobs that look at a text will take, what else they need, and how past jobs correct it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core import engine, speed, walk_speed
from core.estimate.timing import How, Operation
from core.jobs import (
    CheckpointJob,
    CheckpointPreflightJob,
    EvaluateJob,
    EvaluateResult,
    GptqOptions,
    ImatrixJob,
    MeasurePreflightJob,
    MethodOptions,
    PreflightJob,
    PreflightResult,
    QuantizeOptions,
    SensitivityJob,
)
from core.methods.table import METHODS
from core.store import Store
from core.walk_speed import seconds_each
from core.walk_work import tokens_in, work_of
from tests.core import hf_tiny

HOW = How("machine", "cpu", 0, "fast")
SMALL = {"TOKENS": 32, "WIDTH": 64, "FACTORED": 32, "ROWS": 8, "NARROW": 64, "WIDE": 128, "IMPORTS": "print(1.5)"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_tiny.build(tmp_path_factory.mktemp("model") / "tiny", {"hidden_size": 64, "intermediate_size": 128})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation takes a nanosecond."""
    monkeypatch.setattr(speed, "time_operation", lambda operation, how: 1e-9)


def needed(job: Any) -> PreflightResult:
    result = engine.run(job)
    assert isinstance(result, PreflightResult)
    return result


def jobs(source: Path, folder: Path) -> list[Any]:
    """The preflights of all that look at a text, with everything timed."""
    path = str(source)
    gptq = QuantizeOptions(target="Q4_0", gptq=GptqOptions(samples=2, length=32))
    windows = {"context": 32, "chunks": 4}
    methods = [
        MethodOptions(
            method=method.name, export=method.exports[0], samples=2, length=32, group=32 if method.groups else None
        )
        for method in METHODS
        if method.calibration and method.name != "smoothquant"
    ]
    methods += [
        MethodOptions(method="smoothquant", export="compressed-tensors", samples=2, length=32),
        MethodOptions(method="int", export="compressed-tensors", bits=8, activations="static", samples=2, length=32),
    ]
    measured = [
        ImatrixJob(source=path, output=str(folder / "i.gguf"), **windows),
        EvaluateJob(source=path, models=(path,), **windows),
        SensitivityJob(source=path, options=QuantizeOptions(target="Q4_0"), **windows),
    ]
    return [
        PreflightJob(source=path, output=str(folder / "o.gguf"), options=gptq, measure=True),
        *(CheckpointPreflightJob(source=path, output=str(folder / "o"), options=own, measure=True) for own in methods),
        *(MeasurePreflightJob(job=own, measure=True) for own in measured),
    ]


def test_every_one_is_told_before_the_first(source: Path, tmp_path: Path, quick: None) -> None:
    for job in jobs(source, tmp_path):
        found = needed(job)
        assert found.worst != "error", job
        assert found.seconds is not None, job
        assert found.seconds > 0.7
        assert found.seconds_basis == 0
        assert found.memory_bytes > 100 << 20
        assert {"files", "architecture", "memory", "licence"} <= {check.step for check in found.checks}


def test_what_was_never_timed_is_not_known(source: Path, tmp_path: Path) -> None:
    for job in jobs(source, tmp_path):
        assert needed(job.model_copy(update={"measure": False})).seconds is None


def test_past_jobs_correct_it(source: Path, tmp_path: Path, quick: None) -> None:
    own = EvaluateJob(source=str(source), models=(str(source),), context=32, chunks=4)
    before = needed(MeasurePreflightJob(job=own, measure=True)).seconds
    assert before is not None
    figures: dict[str, Any] = dict.fromkeys(EvaluateResult.model_fields, 0)
    figures |= {"source": "", "architecture": "", "datasets": (), "models": (), "warnings": (), "seconds": 2 * before}
    store = Store()
    store.finish(store.add(own, "running"), EvaluateResult(**figures))
    gone = own.model_copy(update={"source": "/gone"})
    store.finish(store.add(gone, "running"), EvaluateResult(**figures))
    found = needed(MeasurePreflightJob(job=own))
    assert (found.seconds, found.seconds_basis) == (pytest.approx(2 * before), 1)


def test_everything_can_be_timed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(walk_speed, name, value)
    wanted: set[Operation] = set()
    for job in jobs(source, tmp_path):
        own = getattr(job, "job", None) or job
        if isinstance(own, CheckpointPreflightJob):
            own = CheckpointJob(source=own.source, output=own.output, options=own.options)
        wanted |= set(work_of(own) or ())
    mine = {operation for operation in wanted if operation.kind not in ("decode", "encode", "measure", "disk")}
    assert {"start", "macs", "spread", "squares", "watch", "factor", "solve", "round", "pack"} <= {o.kind for o in mine}

    def once(call: Any) -> float:
        call()
        return 1.0

    for operation in sorted(mine):
        assert seconds_each(operation, HOW, once) >= 0
    assert seconds_each(Operation("start"), HOW, once) == 1.5


def test_tokens_of_texts(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("x" * 3500)
    assert tokens_in((str(text),), "calibration", 100, 0) == 1000
    assert tokens_in((str(text),), "calibration", 100, 4) == 400
    assert tokens_in((), "evaluation", 512, 0, ("code",)) < tokens_in((), "evaluation", 512, 0)
    assert tokens_in(("dataset:a/b",), "calibration", 512, 128) == 128 * 512


def test_what_stands_in_the_way_of_measuring(source: Path, tmp_path: Path) -> None:
    own = EvaluateJob(source=str(source), models=(str(source),), context=32)
    other = hf_tiny.build(tmp_path / "other", {"vocab_size": 328})
    for update, step in (
        ({"models": (str(other),)}, "tensors"),
        ({"context": 100_000}, "choice"),
        ({"text": (str(tmp_path / "gone.txt"),)}, "files"),
        ({"models": (str(tmp_path / "gone"),)}, "files"),
    ):
        found = needed(MeasurePreflightJob(job=own.model_copy(update=update)))
        errors = [check for check in found.checks if check.level == "error"]
        assert [check.step for check in errors] == [step], update
        assert errors[0].fix
    nowhere = ImatrixJob(source=str(source), output=str(tmp_path / "no" / "i.gguf"), context=32)
    assert "disk" in {check.step for check in needed(MeasurePreflightJob(job=nowhere)).checks if check.level == "error"}


def test_a_device_that_is_not_there_is_said(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    solved = MethodOptions(method="gptq", export="gptq", bits=4, group=32, samples=2, length=32)
    for job in (
        MeasurePreflightJob(job=EvaluateJob(source=str(source), models=(str(source),), context=32, device="cuda")),
        CheckpointPreflightJob(source=str(source), output=str(tmp_path / "out"), options=solved, device="cuda"),
    ):
        (found,) = [check for check in needed(job).checks if check.level == "error"]
        assert "cuda" in found.cause
        assert found.fix == "Use --device cpu"

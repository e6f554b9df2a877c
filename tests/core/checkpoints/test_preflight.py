"""The preflight of a checkpoint finds what the job would fail of, and what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import checks, engine
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    CheckpointPreflightJob,
    CheckpointResult,
    MethodOptions,
    PreflightResult,
)
from core.store import Store
from tests.core import hf_tiny

NF4 = MethodOptions(method="nf4", export="bitsandbytes")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_tiny.build(tmp_path_factory.mktemp("model") / "tiny")


def check(source: Path, output: Path, options: MethodOptions = NF4) -> PreflightResult:
    job = CheckpointPreflightJob(source=str(source), output=str(output), options=options)
    result = engine.run(job)
    assert isinstance(result, PreflightResult)
    return result


def level(result: PreflightResult, step: str) -> str:
    return next(check.level for check in result.checks if check.step == step)


def test_all_is_in_order_and_the_size_is_that_of_the_plan(source: Path, tmp_path: Path) -> None:
    result = check(source, tmp_path / "out")
    assert result.worst == "fine"
    made = engine.run(CheckpointJob(source=str(source), output=str(tmp_path / "out"), options=NF4))
    assert isinstance(made, CheckpointResult)
    assert result.bytes == made.bytes
    assert level(check(source, tmp_path / "out"), "disk") == "error", "the folder is not empty any more"


def test_what_the_job_would_refuse(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (source, tmp_path / "file", tmp_path / "nowhere" / "out"):
        assert level(check(source, output), "disk") == "error"
    found = check(source, tmp_path / "out", NF4.model_copy(update={"export": "awq"}))
    assert [(row.step, row.level) for row in found.checks] == [("choice", "error")]
    assert "--export" in found.checks[0].fix
    assert check(tmp_path / "gone", tmp_path / "out").checks[0].step == "files"


def test_little_room_and_untrained_forms_are_risks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check(source, tmp_path / "out", MethodOptions(method="bitnet", export="bitnet"))
    assert level(found, "choice") == "risk"
    assert "will not survive" in found.checks[0].cause
    usage = checks.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _path: usage._replace(free=1 << 29))
    assert level(check(source, tmp_path / "out"), "disk") == "risk"


def test_the_disk_is_that_of_all_forms(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = ("gptq", "compressed-tensors", "Q4_0")
    job = CheckpointManyJob(
        source=str(source),
        output=str(tmp_path / "out"),
        exports=forms,
        options=MethodOptions(method="int", export="gptq", bits=4, group=32),
    )
    total = sum(check(source, tmp_path / "out", job.options_of(form)).bytes for form in forms)
    usage = checks.shutil.disk_usage(tmp_path)
    for free, wanted in ((total - 1, "error"), (total, "risk")):
        monkeypatch.setattr(checks.shutil, "disk_usage", lambda _path, free=free: usage._replace(free=free))
        found = [check(source, tmp_path / "out", job.options_of(form)) for form in forms]
        assert {level(one, "disk") for one in found} == {wanted}


def test_past_jobs_of_the_method_tell_the_time(source: Path, tmp_path: Path) -> None:
    assert check(source, tmp_path / "out").seconds is None
    job = CheckpointJob(source=str(source), output=str(tmp_path / "past"), options=NF4)
    result = engine.run(job)
    assert isinstance(result, CheckpointResult)
    store = Store()
    store.finish(store.add(job, "running"), result.model_copy(update={"seconds": 7.5}))
    found = check(source, tmp_path / "out")
    assert (found.seconds, found.seconds_basis) == (pytest.approx(7.5), 1)
    assert check(source, tmp_path / "out", NF4.model_copy(update={"method": "fp4"})).seconds is None

"""Jobs and answers are frozen values that travel as JSON without loss."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core.engine import FUNCTIONS
from core.estimate.values import RunOptions
from core.jobs import (
    JOB,
    RESULT_TYPES,
    AccountJob,
    ChatJob,
    ChatSessionJob,
    CheckpointJob,
    CheckpointManyJob,
    CheckpointPlanJob,
    CheckpointPreflightJob,
    CompareJob,
    DownloadJob,
    EstimateJob,
    EvaluateJob,
    FitJob,
    HubCacheJob,
    HubPageJob,
    ImatrixJob,
    InspectJob,
    MeasurePreflightJob,
    MethodOptions,
    Override,
    PlanJob,
    PreflightJob,
    QuantizeJob,
    QuantizeManyJob,
    QuantizeOptions,
    ScanJob,
    SearchJob,
    SensitivityJob,
    TensorPlan,
    TensorStatsJob,
    TrashJob,
    UploadJob,
    VerifyJob,
)

OPTIONS = QuantizeOptions(target="Q4_K_M", overrides=(Override(tensor="output.weight", type="Q8_0"),), pure=True)
JOBS = [
    InspectJob(source="a.gguf"),
    ScanJob(paths=("a", "b")),
    TensorStatsJob(source="a.gguf", tensor="t", bins=8),
    PlanJob(source="a.gguf", options=OPTIONS),
    QuantizeJob(source="a.gguf", output="b.gguf", options=OPTIONS, threads=2),
    QuantizeManyJob(source="a.gguf", targets=("Q4_K_M", "Q8_0"), outputs=("b.gguf", "c.gguf"), options=OPTIONS),
    CheckpointPlanJob(source="/m", options=MethodOptions(method="nf4", export="bitsandbytes")),
    CheckpointPreflightJob(source="/m/a", output="/m/b", options=MethodOptions(method="nf4", export="bitsandbytes")),
    CheckpointJob(source="/m", output="/o", options=MethodOptions(method="int", export="gptq", group=32, skip=("a",))),
    CheckpointManyJob(
        source="/m",
        output="/o",
        exports=("gptq", "awq"),
        options=MethodOptions(method="int", export="gptq", beside=("awq",)),
    ),
    EstimateJob(source="a.gguf", run=RunOptions(context=512, split=(2.0, 1.0)), options=OPTIONS, auto_layers=True),
    PreflightJob(source="a.gguf", output="b.gguf", options=OPTIONS, measure=True),
    VerifyJob(path="b.gguf"),
    CompareJob(source="a.gguf", other="b.gguf"),
    ChatJob(model="b.gguf", prompt="Hello"),
    ChatSessionJob(model="b.gguf"),
    ImatrixJob(source="a.gguf", output="i.gguf", text=("a.txt", "b.txt"), chunks=4),
    SearchJob(query="smol", author="a", format="gguf", task="t", library="l", least=1, most=2, limit=3, page="0 /api"),
    DownloadJob(repo="a/b", include=("*.gguf",), output="/o", limit=1000),
    HubPageJob(repo="a/b", revision="v1"),
    FitJob(repo="a/b", run=RunOptions(context=512), auto_layers=False),
    AccountJob(),
    HubCacheJob(folders=("/m",)),
    TrashJob(paths=("/m/a.gguf",), dry_run=True),
    UploadJob(source="/m/a.gguf", repo="a/b", private=False, include=("*.gguf",), base="c/d", license="mit"),
    EvaluateJob(source="a.gguf", models=("b.gguf", "/c"), categories=("code", "prose"), chunks=4),
    SensitivityJob(source="a.gguf", options=OPTIONS, by="tensor", categories=("chat",), context=64),
    MeasurePreflightJob(job=EvaluateJob(source="a.gguf", models=("b.gguf",)), measure=True),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_every_job_survives_json(job):
    assert JOB.validate_json(job.model_dump_json()) == job


def test_every_kind_is_exercised_and_has_its_function_and_answer():
    kinds = {job.kind for job in JOBS}
    assert kinds - {"chat_session"} == set(FUNCTIONS) == set(RESULT_TYPES)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "inspect"},
        {"kind": "bake", "source": "a"},
        {"kind": "inspect", "source": "a", "colour": "red"},
        {"kind": "quantize", "source": "a", "output": "b", "options": {"target": "Q8_0"}, "threads": -1},
        {"kind": "quantize", "source": "a", "output": "b", "options": {"target": "Q8_0"}, "device": "abacus"},
        {"kind": "quantize_many", "source": "a", "targets": ["A", "B"], "outputs": ["b"], "options": {"target": "A"}},
        {"kind": "quantize_many", "source": "a", "targets": [], "outputs": [], "options": {"target": "A"}},
    ],
)
def test_malformed_jobs_are_refused(bad):
    with pytest.raises(ValidationError):
        JOB.validate_python(bad)


def test_values_cannot_be_changed():
    with pytest.raises(ValidationError):
        JOBS[0].source = "other"  # type: ignore[misc]


def test_plan_rows_are_written_under_their_public_keys():
    row = TensorPlan.model_validate(
        {
            "name": "t",
            "shape": (2, 32),
            "from": "F16",
            "to": "Q8_0",
            "elements": 64,
            "source_bytes": 128,
            "bytes": 68,
            "bpw": 8.5,
            "reason": "usual",
        }
    )
    keys = set(row.model_dump(by_alias=True))
    assert {"name", "shape", "from", "to", "bpw", "reason", "fallback"} <= keys


def test_several_targets_are_jobs_of_one_target_each():
    many = next(job for job in JOBS if job.kind == "quantize_many")
    assert [(job.options.target, job.output, job.options.pure) for job in many.jobs] == [
        ("Q4_K_M", "b.gguf", True),
        ("Q8_0", "c.gguf", True),
    ]

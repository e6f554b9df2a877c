"""Tests of the table of queued jobs: every kind's command line is parsed back to the same job."""

from __future__ import annotations

import shlex

import pytest

from app import cli, cli_evaluate, cli_hub, cli_imatrix, cli_publish, cli_quantize, cli_sensitivity, job_kinds
from core.engine import FUNCTIONS
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    DownloadJob,
    EvaluateJob,
    GptqOptions,
    ImatrixJob,
    MethodOptions,
    MethodRule,
    QuantizeJob,
    QuantizeOptions,
    SensitivityJob,
    UploadJob,
)
from core.jobs import QuantizeManyJob as Many

METHODS = (
    MethodOptions(method="gptq", export="gptq"),
    MethodOptions(
        method="linear", export="compressed-tensors", bits=8, group=-1, activations="dynamic", skip=("lm_head", "0$")
    ),
    MethodOptions(method="linear", export="bf16", group=0, asymmetric=True, range="percentile", percentile=99.5),
    MethodOptions(method="linear", export="bf16", range="given", range_low=-1.5, range_high=2.0, restricted=True),
    MethodOptions(method="nf4", export="bitsandbytes", double_quant=True, imatrix="/a/b.gguf"),
    MethodOptions(method="gptq", export="gptq", range="mse", text=("/a/t.txt",), samples=7, length=64),
    MethodOptions(method="gptq", export="gptq", act_order="static", damp=0.05, sinks=8, target=0.5, passes=1),
    MethodOptions(
        method="int",
        export="compressed-tensors",
        rules=(
            MethodRule(pattern="down_proj", method="gptq", bits=8, group=-1, asymmetric=True, activations=""),
            MethodRule(pattern="a=b", group=0, asymmetric=False, activations="dynamic"),
            MethodRule(pattern="k_proj", method="hqq"),
            MethodRule(pattern="v_proj", keep=True),
        ),
    ),
)
CHECKPOINTS = (
    *(CheckpointJob(source="/m/a", output="/m/b", options=row, threads=2) for row in METHODS),
    CheckpointJob(source="/m/a", output="/m/b", options=METHODS[0], device="cuda"),
)
FORMS = MethodOptions(method="gptq", export="gptq", asymmetric=True, group=32)
IMATRICES = (
    ImatrixJob(source="/m/a.gguf", output="/m/i.gguf"),
    ImatrixJob(source="/m/a.gguf", output="/m/i", context=64, chunks=3, process_output=True, device="cuda"),
    ImatrixJob(source="/m/a.gguf", output="/m/i.gguf", text=("/m/x.txt", "/m/y.txt"), threads=3),
)
EVALUATIONS = (
    EvaluateJob(source="/m/a.gguf", models=("/m/b.gguf",)),
    EvaluateJob(source="/m/a", models=("/m/b", "/m/c"), categories=("chat", "code"), context=256, chunks=4, threads=1),
    EvaluateJob(source="/m/a", models=("/m/b",), text=("/m/x.txt",), device="cuda"),
)
SENSITIVITIES = (
    SensitivityJob(source="/m/a.gguf", options=QuantizeOptions(target="Q4_K_M")),
    SensitivityJob(
        source="/m/a",
        options=QuantizeOptions(target="Q3_K", pure=True, fit="best", imatrix="/m/i.gguf"),
        by="tensor",
        categories=("chat",),
        context=64,
        chunks=0,
        threads=2,
        device="cuda",
    ),
    SensitivityJob(source="/m/a", options=QuantizeOptions(target="Q4_0"), by="layer", text=("/m/x.txt",)),
)
DOWNLOADS = (
    DownloadJob(repo="a/b"),
    DownloadJob(repo="a/b", revision="v1", include=("*Q8_0*",), output="/m/here", connections=2, limit=2_000_000),
)
UPLOADS = (
    UploadJob(source="/m/a.gguf", repo="me/a"),
    UploadJob(
        source="/m/a", repo="me/a", private=False, revision="dev", include=("*.json",), base="b/c", message="New"
    ),
)
EXAMPLES = {
    "checkpoint": (cli_quantize.asked_checkpoint, CHECKPOINTS),
    "checkpoint_many": (
        cli_quantize.asked_checkpoint,
        (
            CheckpointManyJob(source="/m/a", output="/m/b", exports=("gptq", "awq"), options=FORMS),
            CheckpointManyJob(source="/m/a", output="/m/b", exports=("gptq", "bf16"), options=FORMS, device="cuda"),
        ),
    ),
    "imatrix": (cli_imatrix.asked_imatrix, IMATRICES),
    "evaluate": (cli_evaluate.asked_evaluation, EVALUATIONS),
    "sensitivity": (cli_sensitivity.asked_sensitivity, SENSITIVITIES),
    "download": (cli_hub.download_job, DOWNLOADS),
    "upload": (cli_publish.upload_job, UPLOADS),
    "quantize": (
        cli_quantize.asked_quantization,
        (
            QuantizeJob(source="/m/a.gguf", output="/m/b.gguf", options=QuantizeOptions(target="Q4_K_M")),
            QuantizeJob(
                source="/m/a.gguf",
                output="/m/b.gguf",
                options=QuantizeOptions(target="Q4_0", gptq=GptqOptions(text=("/m/t.txt",), samples=3, target=0.5)),
            ),
        ),
    ),
    "quantize_many": (
        cli_quantize.asked_quantization,
        (
            Many(
                source="/m/a.gguf",
                targets=("Q4_K_M", "Q8_0"),
                outputs=("/m/o/a-Q4_K_M.gguf", "/m/o/a-Q8_0.gguf"),
                options=QuantizeOptions(target="Q4_K_M"),
            ),
        ),
    ),
}


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    """Several types go into a folder that exists; these do not."""
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: path.suffix == "")


@pytest.mark.parametrize("kind", job_kinds.KINDS)
def test_the_command_line_is_that_of_the_job(kind):
    asked, jobs = EXAMPLES[kind]
    for job in jobs:
        words = shlex.split(job_kinds.command(job))[2:]
        assert asked(cli.make_parser().parse_args(words)) == job


def test_one_form_of_several_has_the_command_of_all():
    many = CheckpointManyJob(source="/m/a", output="/m/b", exports=("gptq", "awq"), options=FORMS)
    first = many.jobs[0]
    assert (first.output, first.options.export, first.options.beside) == ("/m/b/gptq", "gptq", ("awq",))
    assert job_kinds.command(first) == job_kinds.command(many)
    assert job_kinds.title(many) == "a → gptq, gptq, awq"


@pytest.mark.parametrize("kind", job_kinds.KINDS)
def test_every_kind_can_run_and_has_a_title(kind):
    assert kind in FUNCTIONS
    assert all(job_kinds.title(job) for job in EXAMPLES[kind][1])

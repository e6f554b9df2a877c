"""The pipeline: what is written decodes to what was measured, in bounded memory, and nothing half-done stays."""

from __future__ import annotations

import hashlib

import gguf
import numpy as np
import pytest

from core.catalog import MIXES
from core.engine import run
from core.errors import (
    AlreadyQuantized,
    Cancelled,
    DeviceNotAvailable,
    NonFiniteWeights,
    OutputIsSource,
    ValuesTooLarge,
    VerificationFailed,
)
from core.formats.atomic import AtomicFile
from core.jobs import CompareJob, Override, PlanJob, QuantizeJob, QuantizeOptions
from core.progress import Progress
from kernels.blocks import FORMATS
from tests import ggml_oracle
from tests.core.small_models import imatrix_for, small_model, weights, write


def job_for(source, output, target="Q4_K_M", **fields):
    options = QuantizeOptions(
        target=target, **{name: fields.pop(name) for name in QuantizeOptions.model_fields if name in fields}
    )
    return QuantizeJob(source=str(source), output=str(output), options=options, **fields)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("pipeline") / "small.gguf")


def independently_decoded(tensor):
    """Values of a tensor as gguf-py decodes them, or as ggml does where gguf-py knows the type by name only."""
    kind = tensor.tensor_type
    if kind.name not in ("Q1_0", "Q2_0"):
        return gguf.dequantize(tensor.data, kind)
    rows = tensor.data.reshape(-1, FORMATS[kind.name].bytes)
    return ggml_oracle.decode(kind.name, rows).reshape(tuple(reversed(tensor.shape)))


@pytest.mark.parametrize("mix", [mix.name for mix in MIXES])
def test_independent_reader_and_decoder_find_what_was_measured(small, tmp_path, mix):
    result = run(job_for(small, tmp_path / "o.gguf", mix, imatrix=imatrix_for(mix, tmp_path, weights())))
    source = {tensor.name: tensor for tensor in gguf.GGUFReader(small).tensors}
    output = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "o.gguf").tensors}
    assert list(output) == [tensor.name for tensor in result.tensors]
    for tensor in result.tensors:
        assert output[tensor.name].tensor_type.name == tensor.type
        x = independently_decoded(source[tensor.name]).astype(np.float64)
        y = independently_decoded(output[tensor.name]).astype(np.float64)
        assert tensor.rmse == pytest.approx(np.sqrt(np.mean((x - y) ** 2)), rel=1e-5, abs=1e-12)
        assert tensor.max_error == pytest.approx(np.abs(x - y).max(), rel=1e-5, abs=1e-12)


def test_result_agrees_with_a_comparison_of_both_files(small, tmp_path):
    result = run(job_for(small, tmp_path / "o.gguf"))
    compared = run(CompareJob(source=str(small), other=str(tmp_path / "o.gguf")))
    assert compared.total.model_dump() == pytest.approx(result.total.model_dump(), rel=1e-9)
    assert [row.rmse for row in compared.tensors] == pytest.approx([row.rmse for row in result.tensors], rel=1e-9)


def test_hash_is_that_of_the_file(small, tmp_path):
    result = run(job_for(small, tmp_path / "o.gguf"))
    assert result.sha256 == hashlib.sha256((tmp_path / "o.gguf").read_bytes()).hexdigest()


def test_chunks_do_not_change_the_result(small, tmp_path, monkeypatch):
    whole = run(job_for(small, tmp_path / "whole.gguf"))
    monkeypatch.setattr("core.plan.CHUNK_ELEMENTS", 1000)
    parts = run(job_for(small, tmp_path / "parts.gguf"))
    assert parts.sha256 == whole.sha256
    assert parts.total.rmse == pytest.approx(whole.total.rmse)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_the_result(small, tmp_path, threads):
    assert (
        run(job_for(small, tmp_path / "a.gguf", threads=threads)).sha256
        == run(job_for(small, tmp_path / "b.gguf")).sha256
    )


def test_unchanged_tensors_are_copied_byte_for_byte(tmp_path):
    source = small_model(tmp_path / "s.gguf", "Q8_0")
    result = run(job_for(source, tmp_path / "o.gguf", "Q8_0", allow_requantize=True))
    before, after = (gguf.GGUFReader(path).tensors for path in (source, tmp_path / "o.gguf"))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(before, after, strict=True))
    assert result.total.rmse == 0
    assert result.total.snr_db is None


def test_override_reaches_the_file(small, tmp_path):
    overrides = (Override(tensor="blk.1.ffn_up.weight", type="F16"),)
    result = run(job_for(small, tmp_path / "o.gguf", overrides=overrides))
    assert {t.name: t.type for t in result.tensors}["blk.1.ffn_up.weight"] == "F16"


def test_quantized_source_is_refused_and_nothing_is_written(tmp_path, sample):
    with pytest.raises(AlreadyQuantized):
        run(job_for(sample, tmp_path / "o.gguf"))
    assert list(tmp_path.iterdir()) == []


def test_source_is_never_overwritten(tmp_path):
    source = small_model(tmp_path / "s.gguf")
    before = source.read_bytes()
    (tmp_path / "link.gguf").symlink_to(source)
    for output in (source, tmp_path / "link.gguf"):
        with pytest.raises(OutputIsSource):
            run(job_for(source, output))
    assert source.read_bytes() == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mix", ["Q4_K_M", "Q8_0", "F16"])
def test_non_finite_weights_are_named_and_nothing_is_left(tmp_path, bad, mix):
    tensors = weights()
    tensors["blk.1.ffn_down.weight"][3, 7] = bad
    source = write(tmp_path / "s.gguf", tensors)
    with pytest.raises(NonFiniteWeights, match=r"blk\.1\.ffn_down\.weight"):
        run(job_for(source, tmp_path / "o.gguf", mix))
    assert [path.name for path in tmp_path.iterdir()] == ["s.gguf"]


@pytest.mark.parametrize("mix", ["F16", "Q8_0", "Q4_K_M"])
def test_values_beyond_the_target_type_are_refused(tmp_path, mix):
    tensors = weights()
    tensors["blk.0.attn_k.weight"][2, 2] = 3e9
    source = write(tmp_path / "s.gguf", tensors)
    with pytest.raises(ValuesTooLarge, match=r"blk\.0\.attn_k\.weight"):
        run(job_for(source, tmp_path / "o.gguf", mix))
    assert [path.name for path in tmp_path.iterdir()] == ["s.gguf"]
    assert run(job_for(source, tmp_path / "o.gguf", "BF16")).total.relative_rmse < 0.01


def test_hugging_face_folder_in_one_pass(hf_folder, sample, tmp_path):
    from tests.core.test_policy import expected

    result = run(job_for(hf_folder, tmp_path / "o.gguf", "Q4_K_S"))
    assert {t.name: t.type for t in result.tensors} == {t.name: expected("Q4_K_S", t.name) for t in result.tensors}
    assert len(result.tensors) == 272
    assert [path.name for path in tmp_path.iterdir()] == ["o.gguf"]
    against_sample = run(CompareJob(source=str(sample), other=str(tmp_path / "o.gguf")))
    assert against_sample.missing == ()
    assert against_sample.total.snr_db > 20


def test_cancelling_at_any_report_leaves_nothing(small, tmp_path):
    reports: list[str] = []
    run(job_for(small, tmp_path / "o.gguf"), Progress(cancelled=lambda: bool(reports.append("x"))))
    (tmp_path / "o.gguf").unlink()
    for stop_at in range(0, len(reports), 5):
        calls = iter(range(len(reports)))
        with pytest.raises(Cancelled):
            run(job_for(small, tmp_path / "o.gguf"), Progress(cancelled=lambda c=calls, s=stop_at: next(c) >= s))
        assert list(tmp_path.iterdir()) == []


def test_progress_counts_the_bytes_of_the_source(small, tmp_path):
    seen = []
    run(job_for(small, tmp_path / "o.gguf"), Progress(seen.append))
    stages = list(dict.fromkeys(snapshot.stage for snapshot in seen))
    assert stages == ["Planning", "Quantizing", "Verifying"]
    for stage in stages[1:]:
        last = [snapshot for snapshot in seen if snapshot.stage == stage][-1]
        assert last.done == last.total > 0


def test_a_file_damaged_while_it_was_written_never_gets_its_name(small, tmp_path, monkeypatch):
    class FailingDisk(AtomicFile):
        """Turns one bit of what the last tensor brings."""

        position = 0

        def write(self, data, /):
            view = memoryview(data).cast("B")
            self.position += len(view)
            if self.position == self.needed_bytes and len(view) > 1000:
                view = bytearray(view)
                view[500] ^= 1
            super().write(view)

    monkeypatch.setattr("core.outputs.AtomicFile", FailingDisk)
    with pytest.raises(VerificationFailed, match=r"output\.weight"):
        run(job_for(small, tmp_path / "o.gguf"))
    assert list(tmp_path.iterdir()) == []


def test_cuda_is_refused_where_there_is_none(small, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceNotAvailable, match="cuda"):
        run(job_for(small, tmp_path / "o.gguf", device="cuda"))


@pytest.mark.parametrize("fit", ["fast", "best"])
def test_torch_makes_what_the_processor_makes(small, tmp_path, monkeypatch, fit):
    """As with --device cuda, on the processor: rows stay torch's from reading to measuring."""
    means = imatrix_for("IQ2_XS", tmp_path, weights())
    jobs = [job_for(small, tmp_path / f"{n}.gguf", "IQ4_XS", imatrix=means, fit=fit, device=device)
            for n, device in enumerate(("cpu", "cuda"))]  # fmt: skip
    monkeypatch.setattr("core.chunks.require_cuda", lambda: None)
    cpu, gpu = (run(job) for job in jobs)
    assert [tensor.type for tensor in gpu.tensors] == [tensor.type for tensor in cpu.tensors]
    for mine, theirs in zip(gpu.tensors, cpu.tensors, strict=True):
        assert mine.rmse == pytest.approx(theirs.rmse, rel=1e-3), mine.name


@pytest.mark.gpu
def test_cuda_result_is_as_good_as_that_of_the_cpu(small, tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    cpu, gpu = (run(job_for(small, tmp_path / f"{device}.gguf", device=device)) for device in ("cpu", "cuda"))
    assert gpu.total.rmse == pytest.approx(cpu.total.rmse, rel=1e-3)


@pytest.mark.slow
def test_memory_is_bounded_by_the_chunk_and_near_the_estimate(tmp_path):
    """400 MB of weights, 200 MB of them in one tensor, in a process of its own."""
    import json
    import subprocess
    import sys
    from pathlib import Path

    rng = np.random.default_rng(0)
    big = {"token_embd.weight": rng.standard_normal((24000, 2048), dtype=np.float32)}
    big |= {f"blk.{n}.ffn_down.weight": big["token_embd.weight"][:6000] for n in range(4)}
    source = write(tmp_path / "big.gguf", big)
    planned = run(PlanJob(source=str(source), options=QuantizeOptions(target="Q4_K_M")))
    command = [sys.executable, "main.py", "quantize", str(source), "--to", "Q4_K_M", "--out", str(tmp_path / "o.gguf")]
    root = Path(__file__).parents[2]
    answer = subprocess.run([*command, "--json"], cwd=root, capture_output=True, text=True, check=True)
    peak = json.loads(answer.stdout)["peak_memory_bytes"]
    assert peak < 400e6
    assert planned.memory_bytes / 2 < peak < planned.memory_bytes * 1.3

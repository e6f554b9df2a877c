"""The preflight finds, in order and before anything starts, what a job would fail of and what a user should know."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from core import checks
from core import preflight as module
from core.errors import BitwrightError
from core.jobs import PreflightJob, PreflightResult, QuantizeJob, QuantizeOptions, QuantizeResult
from core.pipeline import quantize
from core.preflight import preflight
from core.progress import Progress
from core.store import Store
from tests.core.small_models import small_model

STEPS = ["choice", "files", "architecture", "disk", "memory", "tensors", "licence", "running"]


def check(source: Path, output: Path, target: str = "Q8_0", measure: bool = False, **options: bool) -> PreflightResult:
    wanted = QuantizeOptions(target=target, **options)
    return preflight(PreflightJob(source=str(source), output=str(output), options=wanted, measure=measure), Progress())


def level(result: PreflightResult, step: str) -> str:
    return next(check.level for check in result.checks if check.step == step)


def test_all_steps_in_order(tmp_path: Path) -> None:
    result = check(small_model(tmp_path / "m.gguf"), tmp_path / "out.gguf")
    assert [check.step for check in result.checks] == STEPS
    assert result.worst == "fine"


def test_the_size_is_exact(tmp_path: Path) -> None:
    source, output = small_model(tmp_path / "m.gguf"), tmp_path / "out.gguf"
    for target in ("Q8_0", "Q4_K_M"):
        result = check(source, output, target)
        quantize(
            QuantizeJob(source=str(source), output=str(output), options=QuantizeOptions(target=target)), Progress()
        )
        assert output.stat().st_size == result.bytes


@pytest.mark.parametrize(
    ("source", "target", "step"),
    [("gone.gguf", "Q8_0", "files"), ("m.gguf", "Q9_9", "choice"), ("cut.gguf", "Q8_0", "files")],
)
def test_what_ends_the_ladder(tmp_path: Path, source: str, target: str, step: str) -> None:
    whole = small_model(tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:-100])
    result = check(tmp_path / source, tmp_path / "out.gguf", target)
    assert [(check.step, check.level) for check in result.checks] == [(step, "error")]
    assert result.checks[0].fix
    assert result.bytes == 0


def test_errors_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_model(tmp_path / "m.gguf")
    assert level(check(source, tmp_path / "nowhere" / "out.gguf"), "disk") == "error"
    assert level(check(source, source), "disk") == "error"
    usage = checks.shutil.disk_usage(tmp_path)
    for free, expected in ((10, "error"), (1 << 29, "risk")):
        monkeypatch.setattr(checks.shutil, "disk_usage", lambda _path, free=free: usage._replace(free=free))
        assert level(check(source, tmp_path / "out.gguf"), "disk") == expected


def test_a_file_of_the_name_would_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.gguf").write_bytes(b"x")
    result = check(small_model(tmp_path / "m.gguf"), tmp_path / "out.gguf")
    assert any(check.cause == "Replaces out.gguf." for check in result.checks if check.level == "risk")


def test_quantized_sources(tmp_path: Path) -> None:
    source = small_model(tmp_path / "m.gguf", "Q8_0")
    assert level(check(source, tmp_path / "out.gguf", "Q4_0"), "choice") == "error"
    assert level(check(source, tmp_path / "out.gguf", "Q4_0", allow_requantize=True), "choice") == "risk"


def test_too_little_memory_is_a_risk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()
    monkeypatch.setattr(checks.psutil, "virtual_memory", lambda: memory._replace(available=1 << 20))
    result = check(small_model(tmp_path / "m.gguf"), tmp_path / "out.gguf")
    assert (level(result, "memory"), level(result, "running")) == ("risk", "risk")


def test_fallbacks_are_a_risk(tmp_path: Path) -> None:
    source = small_model(tmp_path / "m.gguf", width=96)
    assert level(check(source, tmp_path / "out.gguf", "Q4_K_M"), "tensors") == "risk"


def test_the_disk_is_that_of_all_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, usage = small_model(tmp_path / "m.gguf"), checks.shutil.disk_usage(tmp_path)
    one, other = (check(source, tmp_path / "o.gguf", target).bytes for target in ("Q8_0", "Q4_0"))
    job = PreflightJob(source=str(source), output=str(tmp_path / "o.gguf"), options=QuantizeOptions(target="Q8_0"))
    for free, wanted in ((one + other - 1, "error"), (one + other, "risk")):
        monkeypatch.setattr(checks.shutil, "disk_usage", lambda _path, free=free: usage._replace(free=free))
        found = preflight(job.model_copy(update={"beside": ("Q4_0",)}), Progress())
        assert (level(found, "disk"), found.bytes) == (wanted, one)
    assert level(preflight(job, Progress()), "disk") == "risk", "one of them alone has room"
    assert "The 2 outputs together take" in next(row.cause for row in found.checks if row.step == "disk")


@pytest.mark.parametrize(
    ("name", "restricted"),
    [
        ("apache-2.0", False),
        ("mit", False),
        ("cc-by-4.0", False),
        ("bigscience-openrail-m", False),
        ("cc-by-nc-4.0", True),
        ("llama3.1", True),
        ("gemma", True),
        ("other", True),
    ],
)
def test_licences(name: str, restricted: bool) -> None:
    assert checks._is_restricted(name) == restricted


def test_every_listed_error_has_a_step() -> None:
    assert all(issubclass(error, BitwrightError) for error in checks.STEP_OF)
    assert set(checks.STEP_OF.values()) <= set(STEPS)


# ---------------------------------------------------------------- time


def done_job(store: Store, source: Path, output: Path, seconds_times: float) -> QuantizeResult:
    """A finished quantization in the history that took so many times the seconds it really did."""
    job = QuantizeJob(source=str(source), output=str(output), options=QuantizeOptions(target="Q8_0"))
    result = quantize(job, Progress())
    job_id = store.add(job, "running")
    store.finish(job_id, result.model_copy(update={"seconds": seconds_times}))
    return result


def test_time_is_unknown_then_measured_then_corrected_by_history(tmp_path: Path) -> None:
    source, output, store = small_model(tmp_path / "m.gguf"), tmp_path / "out.gguf", Store()
    assert check(source, output).seconds is None
    measured = check(source, output, measure=True)
    assert measured.seconds is not None
    assert measured.seconds_basis == 0
    assert check(source, output).seconds == pytest.approx(measured.seconds)
    assert check(source, output, "Q4_0").seconds is None
    done_job(store, source, output, 2 * measured.seconds)
    corrected = check(source, output)
    assert corrected.seconds == pytest.approx(2 * measured.seconds)
    assert corrected.seconds_basis == 1


def test_jobs_that_say_nothing_correct_nothing(tmp_path: Path) -> None:
    source, output, store = small_model(tmp_path / "m.gguf"), tmp_path / "out.gguf", Store()
    measured = check(source, output, measure=True)
    assert measured.seconds is not None
    done_job(store, source, output, 1000 * measured.seconds)
    assert check(source, output).seconds == pytest.approx(measured.seconds)


def test_results_of_one_pass_are_taken_together(tmp_path: Path) -> None:
    source, store = small_model(tmp_path / "m.gguf"), Store()
    for _ in range(3):
        done_job(store, source, tmp_path / "out.gguf", 5.0)
    (together,) = module.past_passes(store.latest("quantize", 9))
    assert (len(together.outputs), together.seconds) == (3, 5.0)


@pytest.mark.parametrize(
    ("card", "levels", "words"),
    [
        ("license: mit", ["fine"], "The licence is mit."),
        ("license: cc-by-nc-4.0", ["risk"], "allows no commercial use"),
        ("license: other\nlicense_name: llama3.2\nlicense_link: https://a.b/c", ["risk"], "llama3.2 sets conditions"),
        ("license: mit\nextra_gated_prompt: Accept this", ["fine", "risk"], "gated"),
        ("tags: none", ["fine"], "does not name its licence"),
    ],
)
def test_the_card_says_licence_and_gate(card: str, levels: list[str], words: str, tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--name" / "snapshots" / ("0123456789" * 4)
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(f"---\n{card}\n---\n# A model\n")
    for path in (folder, folder / "model.gguf"):
        found = list(checks.licences(path, ""))
        assert [check.level for check in found] == levels
        assert words in found[-1].cause
        if "gated" in words:
            assert "owner/name" in found[-1].fix
        if "llama" in words:
            assert "https://a.b/c" in found[-1].fix

"""Half way through a job: cancelled, killed, or out of disk. No file under the final name, and a retry works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.jobs import QuantizeJob, QuantizeOptions
from tests.core.small_models import small_model
from tests.end2end.command import arguments, run

TIMEOUT_S = 240
# The plain numpy backend takes minutes for the sample, so half way is easy to meet; interruption is the same code.
SLOW = {"BITWRIGHT_BACKEND": "reference"}


def quantize_words(sample, output) -> list[str]:
    return ["quantize", str(sample), "--to", "Q4_K_M", "--allow-requantize", "--out", str(output)]


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".part-" in path.name]


def said(err: str) -> list[str]:
    """The lines of standard error but for notes about the plan: the sample is quantized already."""
    return [line for line in err.splitlines() if not line.startswith("note: ")]


def wait_until_half_way(folder: Path, process: subprocess.Popen) -> None:
    """Waits until the output's part holds more than its header and first tensor."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        if any(path.stat().st_size > 31 << 20 for path in parts(folder)):
            return
        time.sleep(0.02)
    raise AssertionError("the job did not begin to write")


@contextmanager
def started(*words, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments(*words), env=os.environ | SLOW, **pipes, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def stored_states() -> list[str]:
    return [job["state"] for job in run("jobs", "--json").value["jobs"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_leaves_nothing(tmp_path, sample, number):
    with started(*quantize_words(sample, tmp_path / "o.gguf")) as process:
        wait_until_half_way(tmp_path, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert out == ""
    assert said(err) == ["error: Interrupted. Nothing was left behind."]
    assert list(tmp_path.iterdir()) == []
    assert stored_states() == ["cancelled"]


def test_killed_command_leaves_no_output_and_a_retry_sweeps_up(tmp_path, sample):
    with started(*quantize_words(sample, tmp_path / "o.gguf")) as process:
        wait_until_half_way(tmp_path, process)
        process.kill()
        process.communicate()
    assert not (tmp_path / "o.gguf").exists()
    assert len(parts(tmp_path)) == 1
    assert stored_states() == ["interrupted"]
    retry = run(*quantize_words(sample, tmp_path / "o.gguf"))
    assert retry.code == 0, retry.err
    assert [path.name for path in tmp_path.iterdir()] == ["o.gguf"]
    assert stored_states() == ["interrupted", "done"]


def test_existing_output_survives_until_the_new_one_is_complete(tmp_path, sample):
    (tmp_path / "o.gguf").write_text("the older result")
    with started(*quantize_words(sample, tmp_path / "o.gguf")) as process:
        wait_until_half_way(tmp_path, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
    assert (tmp_path / "o.gguf").read_text() == "the older result"
    assert parts(tmp_path) == []


@pytest.mark.parametrize("how", ["cancel", "closed pipe", "kill"])
def test_worker_leaves_no_output(tmp_path, sample, how):
    options = QuantizeOptions(target="Q4_K_M", allow_requantize=True)
    job = QuantizeJob(source=str(sample), output=str(tmp_path / "o.gguf"), options=options)
    with started("--worker", stdin=subprocess.PIPE) as process:
        process.stdin.write(json.dumps({"job": job.model_dump(by_alias=True), "id": "q1"}) + "\n")
        process.stdin.flush()
        wait_until_half_way(tmp_path, process)
        if how == "cancel":
            process.stdin.write('{"cancel": "q1"}\n')
            process.stdin.flush()
            events = iter(lambda: json.loads(process.stdout.readline()), None)
            assert next(event for event in events if event["event"] != "progress") == {"id": "q1", "event": "cancelled"}
        elif how == "kill":
            process.kill()
        process.stdin.close()
        code = process.wait(timeout=TIMEOUT_S)
    assert not (tmp_path / "o.gguf").exists()
    assert len(parts(tmp_path)) == (how == "kill")
    assert code == (-signal.SIGKILL if how == "kill" else 0)


# ---------------------------------------------------------------- a disk that fills up


def limit_file_size() -> None:
    """Makes writing beyond 60 MB fail, as on a full disk; for the child process only."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000_000, 60_000_000))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files exist on Unix only")
def test_failing_writes_leave_nothing_and_are_explained(tmp_path, sample):
    command = arguments(*quantize_words(sample, tmp_path / "o.gguf"))
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=limit_file_size, timeout=TIMEOUT_S, check=False
    )
    check_disk_full(done.returncode, done.stderr)
    assert list(tmp_path.iterdir()) == []
    assert stored_states() == ["failed"]
    assert run(*quantize_words(sample, tmp_path / "o.gguf")).code == 0


def check_disk_full(code: int, err: str) -> None:
    assert code == 1, err
    (line,) = said(err)
    assert line.startswith("error: There is not enough room for ")
    assert "Free some space" in err


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a file system of so many MiB; only root may, and only where mounting is allowed."""
    mounted: list[Path] = []

    def mount(mebibytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("file systems cannot be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_too_small_a_disk_is_noticed_before_anything_is_computed(small_disk, sample):
    disk = small_disk(50)
    ran = run(*quantize_words(sample, disk / "o.gguf"), **SLOW)
    check_disk_full(ran.code, ran.err)
    assert "it needs 100.6 MiB and 50.0 MiB are free" in ran.err
    assert list(disk.iterdir()) == []


def test_disk_that_fills_half_way(small_disk, sample):
    disk = small_disk(110)
    with started(*quantize_words(sample, disk / "o.gguf")) as process:
        wait_until_half_way(disk, process)
        (disk / "other").write_bytes(bytes(70 << 20))
        _, err = process.communicate(timeout=TIMEOUT_S)
    check_disk_full(process.returncode, err)
    assert [path.name for path in disk.iterdir()] == ["other"]


def test_history_that_cannot_be_written_does_not_stop_the_job(tmp_path):
    (tmp_path / "file").write_text("")
    source = small_model(tmp_path / "s.gguf")
    ran = run(*quantize_words(source, tmp_path / "o.gguf"), BITWRIGHT_DATA_DIR=str(tmp_path / "file"))
    assert ran.code == 0
    assert "job history cannot be written" in ran.err
    assert (tmp_path / "o.gguf").exists()


def test_source_cut_off_while_it_is_read(tmp_path, sample):
    source = tmp_path / "s.gguf"
    shutil.copy(sample, source)
    (tmp_path / "out").mkdir()
    with started(*quantize_words(source, tmp_path / "out" / "o.gguf")) as process:
        wait_until_half_way(tmp_path / "out", process)
        os.truncate(source, 40_000_000)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode in (1, 2)
    assert said(err)[0].startswith(f"error: {source} is incomplete")
    assert list((tmp_path / "out").iterdir()) == []

"""The start of the window when its own files are in the way, and when another window or a signal is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import marker
from app.bootstrap import _explain_failed_start, open_store, process_age_s
from app.dialogs.error import ErrorDialog
from core.store import data_dir
from main import is_model

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until, condition
        time.sleep(0.05)


def wait_for(path: Path) -> None:
    wait_until(path.exists)


def hears_signals(process: subprocess.Popen) -> bool:
    """Whether a process has its own answer to SIGTERM, which Linux shows as a mask; elsewhere that is assumed."""
    if sys.platform != "linux":
        return True
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_damaged_history_is_set_aside(own_folders):
    data_dir().mkdir(parents=True)
    (data_dir() / "jobs.sqlite3").write_bytes(b"this is no database" * 100)
    store = open_store()
    assert store.jobs() == []
    assert (data_dir() / "jobs.damaged.sqlite3").read_bytes().startswith(b"this is no database")


def test_a_start_that_fails_says_why(qapp, own_folders, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(ErrorDialog, "exec", lambda dialog: shown.append(dialog.as_text()))
    data_dir().parent.mkdir(parents=True, exist_ok=True)
    data_dir().write_text("a file where the folder should be")
    with pytest.raises(OSError, match="File exists") as refused:
        open_store()
    assert _explain_failed_start(refused.value) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: Bitwright cannot open its files: ")
    assert str(data_dir()) in line
    assert line.count("\n") == 1
    assert "File exists" in shown[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_the_window_in_order(own_folders, number):
    window = start()
    wait_until(lambda: hears_signals(window))
    wait_for(own_folders / "data" / "window.json")
    window.send_signal(number)
    out, err = window.communicate(timeout=240)
    assert (window.returncode, out, err) == (0, "", "")
    assert marker.look() == "nothing"
    assert (own_folders / "config" / "window.ini").exists()


def test_a_model_given_as_argument_is_added(own_folders, sample, tmp_path):
    model = tmp_path / "mine.gguf"
    model.symlink_to(sample)
    window = start(str(model))
    settings = own_folders / "config" / "settings.json"
    wait_for(settings)
    wait_until(lambda: hears_signals(window))
    window.send_signal(signal.SIGTERM)
    assert window.communicate(timeout=240) == ("", "")
    assert json.loads(settings.read_text())["values"]["model_files"] == [str(model)]


def test_what_is_the_path_of_a_model_and_what_is_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gguf").touch()
    (tmp_path / "plan").mkdir()
    assert is_model(["a.gguf"])
    assert is_model([str(tmp_path / "plan")])
    assert is_model(["./plan"])
    for others in ([], ["plan"], ["missing.gguf"], ["inspect", "a.gguf"], ["--worker"]):
        assert not is_model(others)


def test_a_killed_window_is_noticed_and_its_worker_goes_too(own_folders):
    import psutil

    window = start()
    wait_for(own_folders / "data" / "window.json")
    wait_until(psutil.Process(window.pid).children)
    children = psutil.Process(window.pid).children()
    window.kill()
    window.communicate(timeout=240)
    assert psutil.wait_procs(children, timeout=240)[1] == []
    assert marker.look() == "unclean"


def test_the_age_of_a_process_is_told_to_the_hundredth():
    program = "import time; t = time.monotonic(); from app.bootstrap import process_age_s as age; time.sleep(0.5)"
    checked = f"{program}; told = age(); print(told - (time.monotonic() - t))"
    done = subprocess.run([sys.executable, "-c", checked], cwd=ROOT, capture_output=True, text=True, check=True)
    # What is left is the interpreter's own start.
    assert 0 <= float(done.stdout) < 5
    assert process_age_s() > 0

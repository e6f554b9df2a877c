"""The worker process over its real pipe: events of jobs, cancellation, chat messages, and an end with its parent."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.catalog import sample_path
from core.jobs import InspectJob, ModelSummary
from core.worker import Inbox, Request

ROOT = Path(__file__).parents[2]


class Worker:
    """The real child process with line-wise access to its pipes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def send(self, *messages: dict) -> None:
        self.process.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
        self.process.stdin.flush()

    def receive(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def receive_end(self) -> dict:
        """The next event that ends a job."""
        while (event := self.receive())["event"] == "progress":
            pass
        return event


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.process.stdin.close()
    worker.process.wait(timeout=20)
    worker.process.stdout.close()
    worker.process.stderr.close()


def inspect_job(path: object) -> dict:
    return InspectJob(source=str(path)).model_dump()


def test_runs_jobs_in_order_and_echoes_their_ids(worker):
    sample = sample_path()
    worker.send({"job": inspect_job(sample), "id": "a"}, {"job": inspect_job("/nowhere.gguf"), "id": "b"})
    first, second = worker.receive_end(), worker.receive_end()
    assert (first["event"], first["id"]) == ("result", "a")
    assert ModelSummary.model_validate(first["result"]).architecture == "llama"
    assert (second["event"], second["id"]) == ("error", "b")
    assert second["error"]["kind"] == "SourceNotFound"
    assert second["error"]["details"] == ""


def test_a_line_that_is_no_job_is_reported_and_the_next_one_runs(worker):
    worker.process.stdin.write("not json\n")
    worker.send({"job": {"kind": "bake"}, "id": "x"}, {"job": inspect_job(sample_path()), "id": "y"})
    events = [worker.receive_end() for _ in range(3)]
    assert sorted(event["event"] for event in events) == ["error", "error", "result"]


def test_waiting_job_can_be_cancelled_by_its_id(worker):
    many = [{"job": inspect_job(sample_path()), "id": f"q{number}"} for number in range(30)]
    worker.send(*many, {"cancel": "q29"})
    ends = {event["id"]: event["event"] for event in (worker.receive_end() for _ in many)}
    assert ends.pop("q29") == "cancelled"
    assert set(ends.values()) == {"result"}


def test_end_of_input_ends_the_process(worker):
    worker.send({"job": inspect_job(sample_path())})
    worker.process.stdin.close()
    assert worker.process.wait(timeout=20) == 0


def test_terminate_ends_the_process(worker):
    worker.send({"job": inspect_job(sample_path())})
    worker.receive_end()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=20) == 0


def test_native_prints_do_not_reach_the_pipe():
    script = (
        "import os, sys; from core import engine, worker; from core.jobs import ScanResult\n"
        "def noisy(job, progress):\n"
        "    os.write(1, b'from native code\\n'); print('from python'); progress.stage('one', 2)\n"
        "    return ScanResult(models=())\n"
        "engine.run = noisy\n"
        "worker.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
    )
    process.stdin.write('{"job": {"kind": "scan", "paths": []}, "id": 7}\n')
    process.stdin.flush()
    events = [json.loads(process.stdout.readline()) for _ in range(2)]
    rest, errors = process.communicate(timeout=20)
    assert [event["event"] for event in events] == ["progress", "result"]
    assert rest == ""
    assert "from native code" in errors
    assert "from python" in errors


@pytest.mark.skipif(sys.platform != "linux", reason="parent death is watched by signal on Linux only")
def test_worker_dies_with_its_parent():
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            f"program = {str(ROOT / 'main.py')!r}\n"
            "child = subprocess.Popen([sys.executable, program, '--worker'], stdin=subprocess.PIPE)\n"
            "print(child.pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=20)
    assert alive == []


@pytest.fixture
def inbox():
    """An inbox in this process, the function that writes a line to it, and what it complained about."""
    reading, writing = os.pipe()
    lines = os.fdopen(writing, "w")
    complaints: list[dict] = []

    def write(message: dict) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    box = Inbox(os.fdopen(reading), complaints.append)
    yield box, write, complaints
    lines.close()
    while box.take() is not None:
        pass
    signal.alarm(0)


def test_cancel_without_id_stops_only_the_oldest_job(inbox):
    box, write, _ = inbox
    write({"job": inspect_job("a"), "id": "a"})
    write({"job": inspect_job("b"), "id": "b"})
    write({"cancel": None})
    first, second = box.take(), box.take()
    assert first.stop.wait(10)
    assert not second.stop.is_set()


def test_late_cancel_does_not_hit_the_next_job(inbox):
    box, write, _ = inbox
    write({"job": inspect_job("a"), "id": "a"})
    box.done(box.take())
    write({"cancel": "a"})
    write({"job": inspect_job("b"), "id": "b"})
    assert not box.take().stop.is_set()


def test_chat_messages_reach_the_session_in_order(inbox):
    box, write, _ = inbox
    write({"job": {"kind": "chat_session", "model": "m"}, "id": "c"})
    request = box.take()
    for message in ({"say": {"messages": [], "sampling": {}}}, {"stop": True}, {"cancel": "c"}):
        write(message)
    received = [request.commands.get(timeout=10) for _ in range(3)]
    assert [next(iter(message), None) if message else None for message in received] == ["say", "stop", None]


@pytest.mark.parametrize("message", [{"juggle": 1}, {"job": {"kind": "bake"}}, [1], {"job": None}])
def test_nonsense_is_complained_about(inbox, message):
    box, write, complaints = inbox
    write(message)
    write({"job": inspect_job("a")})
    box.take()
    assert [complaint["event"] for complaint in complaints] == ["error"]


def test_request_cancel_reaches_both_progress_and_session():
    request = Request(InspectJob(source="x"), None)
    request.cancel()
    assert request.stop.is_set()
    assert request.commands.get_nowait() is None
    with pytest.raises(queue.Empty):
        request.commands.get_nowait()

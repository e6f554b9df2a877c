"""The bridge to worker processes, with real ones: results, failures, cancellation, deaths and orderly ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QObject

from app.chat_worker import ChatWorker
from app.questions import Questions
from app.runner import JobQueue
from app.worker_link import exit_words
from core.jobs import (
    CheckpointJob,
    DownloadJob,
    InspectJob,
    MethodOptions,
    ModelSummary,
    QuantizeJob,
    QuantizeOptions,
    TensorStats,
    TensorStatsJob,
)
from core.store import Store

WAIT_MS = 180_000


@pytest.fixture
def quantize(sample, tmp_path):
    """A job of a few seconds; its output does not exist yet."""

    def make(target: str = "Q8_0", allow: bool = True, name: str = "out.gguf") -> QuantizeJob:
        options = QuantizeOptions(target=target, allow_requantize=allow)
        return QuantizeJob(source=str(sample), output=str(tmp_path / name), options=options)

    return make


@pytest.fixture
def queue(context):
    return context.jobs


def wait_for_progress(qtbot, queue: JobQueue, least: float = 0.05) -> None:
    """Returns when the running job is somewhere between its beginning and its end."""
    qtbot.waitUntil(lambda: bool(queue.snapshot()) and queue.snapshot().fraction >= least, timeout=WAIT_MS)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_job_runs_reports_and_is_kept(context, queue, quantize, qtbot):
    job, seen = quantize(), []
    queue.progressed.connect(lambda job_id, snapshot: seen.append(snapshot))
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        job_id = queue.submit(job)
        assert queue.running() == job_id
        assert queue.running_job() == job.model_copy(update={"keep_unfinished": True})
    record = Store().get(job_id)
    assert record.state == "done"
    assert record.result.output == job.output
    assert Path(job.output).stat().st_size == record.result.bytes
    assert {snapshot.stage for snapshot in seen} >= {"Quantizing", "Verifying"}
    assert record.progress is not None
    assert queue.running() is None


def test_a_refused_job_says_why(context, queue, quantize, qtbot, tmp_path):
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        job_id = queue.submit(quantize(allow=False))
    record = context.store.get(job_id)
    assert record.state == "failed"
    assert record.error.kind == "AlreadyQuantized"
    assert record.error.remedy
    assert leftovers(tmp_path) == []


def test_the_log_tells_the_steps_and_what_came_of_them(context, queue, quantize, qtbot, tmp_path):
    heard = []
    queue.logged.connect(lambda job_id, words: heard.append(words))
    job = quantize()
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        job_id = queue.submit(job)
        assert queue.is_taken(job.output)
        assert "Started" in queue.log(job_id)
    assert not queue.is_taken(job.output)
    record = context.store.get(job_id)
    assert queue.log(job_id) == record.log == "".join(heard)
    steps = ["Started", "Planning", "Quantizing", "Written; verifying", "Verified: 272 tensors", "Named", "Done in"]
    told = [line.split("  ", 1)[1] for line in record.log.splitlines()]
    assert [words.startswith(step) for words, step in zip(told, steps, strict=True)] == [True] * len(steps)
    assert job.output in told[5]
    assert record.result.sha256 in told[6]


def test_the_log_tells_of_a_refusal(context, queue, quantize, qtbot):
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        job_id = queue.submit(quantize(allow=False))
    record = context.store.get(job_id)
    assert record.log.splitlines()[-1].endswith(f"Failed: {record.error.what}")


def test_cancel_half_way_then_retry(context, queue, quantize, qtbot, tmp_path):
    job_id = queue.submit(quantize())
    wait_for_progress(qtbot, queue)
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        queue.cancel(job_id)
    assert context.store.get(job_id).state == "cancelled"
    assert not (tmp_path / "out.gguf").exists()
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        queue.retry(job_id)
    assert context.store.get(job_id).state == "done"
    assert leftovers(tmp_path) == ["out.gguf"]


def test_a_cancelled_job_goes_on_or_is_discarded(context, queue, quantize, qtbot, tmp_path):
    job_id = queue.submit(quantize())
    wait_for_progress(qtbot, queue, 0.4)
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        queue.cancel(job_id)
    done = queue.leftover(job_id).parts[0].tensors
    assert done > 10
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        queue.go_on(job_id)
        wait_for_progress(qtbot, queue, 0.4)
    assert "an interrupted run left" in queue.log(job_id)
    assert context.store.get(job_id).state == "done"
    assert leftovers(tmp_path) == ["out.gguf"]
    other = queue.submit(quantize(name="other.gguf"))
    wait_for_progress(qtbot, queue, 0.1)
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        queue.cancel(other)
    assert queue.leftover(other).bytes > 0
    queue.discard(other)
    assert leftovers(tmp_path) == ["out.gguf"]
    assert queue.leftover(other) is None


def test_what_was_interrupted_here_goes_on_at_the_next_start(context, queue, quantize, qtbot, tmp_path):
    job_id = queue.submit(quantize())
    wait_for_progress(qtbot, queue, 0.1)
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        queue.cancel(job_id)
    with context.store._connection() as db:  # as a crash of the window leaves it
        db.execute("UPDATE jobs SET state = 'interrupted' WHERE id = ?", (job_id,))
    elsewhere = context.store.add(quantize(name="elsewhere.gguf"))
    with context.store._connection() as db:
        db.execute("UPDATE jobs SET state = 'interrupted' WHERE id = ?", (elsewhere,))
    again = JobQueue(context.store)
    again.resume_interrupted()
    assert context.store.get(elsewhere).state == "interrupted"
    assert context.store.get(job_id).job.resume
    with qtbot.waitSignal(again.finished, timeout=WAIT_MS):
        again.resume()
    assert context.store.get(job_id).state == "done"
    assert "an interrupted run left" in again.log(job_id)
    again.shutdown()


def test_a_killed_worker_fails_its_job_and_the_next_one_runs(context, queue, quantize, qtbot, tmp_path):
    first, second = queue.submit(quantize()), queue.submit(quantize(name="second.gguf"))
    assert context.store.get(second).state == "queued"
    wait_for_progress(qtbot, queue)
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        os.kill(queue.worker_pid(), signal.SIGKILL)
    record = context.store.get(first)
    assert record.state == "failed"
    assert record.error.kind == "WorkerDied"
    assert "killed" in record.error.why
    assert not (tmp_path / "out.gguf").exists()
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        assert queue.running() == second
    assert context.store.get(second).state == "done"


def test_a_download_runs_beside_a_job_that_computes(context, queue, quantize, qtbot, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    first, second = queue.submit(quantize()), queue.submit(DownloadJob(repo="owner/name"))
    assert queue.is_running(first)
    assert queue.is_running(second)
    assert queue.running() == first
    with qtbot.waitSignals([queue.finished, queue.finished], timeout=WAIT_MS):
        assert queue.snapshot(second) is None
    assert [context.store.get(job_id).state for job_id in (first, second)] == ["done", "failed"]


def test_the_queue_is_one_at_a_time_and_can_be_changed(context, queue, quantize, qtbot):
    ids = [queue.submit(quantize(name=f"{number}.gguf")) for number in range(4)]
    queue.move(ids[3], ids[1])
    queue.cancel(ids[2])
    queue.remove(ids[0])
    states = {job_id: context.store.get(job_id).state for job_id in ids}
    assert states == dict(zip(ids, ["running", "queued", "cancelled", "queued"], strict=True))
    assert [record.id for record in context.store.jobs("queued")] == [ids[3], ids[1]]
    queue.remove(ids[1])
    queue.remove(ids[2])
    assert {record.id for record in context.store.jobs()} == {ids[0], ids[3]}


def test_queued_jobs_go_on_after_a_restart(context, quantize, qtbot):
    job_id = Store().add(quantize())
    again = JobQueue(context.store)
    with qtbot.waitSignal(again.finished, timeout=WAIT_MS):
        again.resume()
    assert context.store.get(job_id).state == "done"
    again.shutdown()


def test_shutdown_ends_the_worker_and_cancels_its_job(context, queue, quantize, qtbot, tmp_path):
    job_id = queue.submit(quantize())
    wait_for_progress(qtbot, queue, 0.01)
    worker = psutil.Process(queue.worker_pid())
    queue.shutdown()
    assert not worker.is_running()
    assert context.store.get(job_id).state == "cancelled"
    assert not (tmp_path / "out.gguf").exists()
    queue.submit(quantize())
    assert queue.running() is None


def test_questions_are_answered_in_this_thread(context, qtbot, sample):
    answers = []
    context.questions.ask(InspectJob(source=str(sample)), answers.append)
    qtbot.waitUntil(lambda: bool(answers), timeout=WAIT_MS)
    assert isinstance(answers[0], ModelSummary)
    assert len(answers[0].tensors) == 272


def test_a_question_that_fails_says_why(context, qtbot, tmp_path):
    errors = []
    context.questions.ask(InspectJob(source=str(tmp_path / "none.gguf")), pytest.fail, errors.append)
    qtbot.waitUntil(lambda: bool(errors), timeout=WAIT_MS)
    assert errors[0].kind == "SourceNotFound"


def test_a_newer_question_of_the_same_owner_drops_the_older_one(context, qtbot, sample):
    owner, names = QObject(), []
    for tensor in ("token_embd.weight", "blk.0.ffn_up.weight", "output_norm.weight"):
        job = TensorStatsJob(source=str(sample), tensor=tensor)
        context.questions.ask(job, lambda answer: names.append(answer.name), owner=owner)
    qtbot.waitUntil(lambda: not context.questions.is_busy, timeout=WAIT_MS)
    assert names == ["output_norm.weight"]


def test_an_owner_that_is_gone_gets_no_answer(context, qtbot, sample):
    owner = QObject()
    context.questions.ask(InspectJob(source=str(sample)), pytest.fail, owner=owner)
    owner.deleteLater()
    qtbot.waitUntil(lambda: not context.questions.is_busy, timeout=WAIT_MS)


def test_a_dead_light_worker_is_replaced(context, qtbot, sample):
    questions: Questions = context.questions
    answers, errors = [], []
    questions.ask(InspectJob(source=str(sample)), answers.append)
    qtbot.waitUntil(lambda: bool(answers), timeout=WAIT_MS)
    os.kill(questions.worker_pid(), signal.SIGSTOP)
    job = TensorStatsJob(source=str(sample), tensor="output_norm.weight")
    questions.ask(InspectJob(source=str(sample)), pytest.fail, errors.append)
    questions.ask(job, answers.append)
    os.kill(questions.worker_pid(), signal.SIGKILL)
    qtbot.waitUntil(lambda: len(answers) == 2, timeout=WAIT_MS)
    assert errors[0].kind == "WorkerDied"
    assert isinstance(answers[1], TensorStats)


def test_a_chat_worker_that_cannot_load_says_why_and_ends(context, qtbot, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    chat, errors = ChatWorker(), []
    chat.failed.connect(errors.append)
    with qtbot.waitSignal(chat.ended, timeout=WAIT_MS):
        chat.open(str(broken), 512, 1)
        qtbot.waitUntil(lambda: bool(errors), timeout=WAIT_MS)
        chat.close()
    assert errors[0].what
    assert not chat.is_open


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "killed"), (-11, "SIGSEGV"), (3, "code 3"), (-250, "signal 250"), (-1, "SIGHUP")]
)
def test_exit_codes_in_words(code, words):
    assert words in exit_words(code)


def test_what_was_solved_of_a_checkpoint_is_kept(context, queue, qtbot, tmp_path):
    options = MethodOptions(method="gptq", export="gptq")
    job = CheckpointJob(source=str(tmp_path / "missing"), output=str(tmp_path / "out"), options=options)
    with qtbot.waitSignal(queue.finished, timeout=WAIT_MS):
        job_id = queue.submit(job)
    assert context.store.get(job_id).state == "failed"
    assert context.store.get(job_id).job.keep_unfinished
    assert queue.leftover(job_id) is None
    layers = tmp_path / ".out.layers"
    layers.mkdir()
    (layers / "layer-00000.npz").write_bytes(b"1" * 100)
    assert queue.leftover(job_id).bytes == 100
    queue.discard(job_id)
    assert leftovers(tmp_path) == []
    assert queue.leftover(job_id) is None

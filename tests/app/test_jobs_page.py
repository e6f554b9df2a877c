"""The Jobs page: what it shows of the queue and its history, and what can be done there."""

from __future__ import annotations

import shlex

import pytest
from PySide6.QtGui import QGuiApplication

from app import actions
from app.models.jobs import FRACTION_ROLE, fraction, ordered
from app.pages.jobs import JobsPage
from core.errors import ErrorReport
from core.jobs import Override, QuantizeJob, QuantizeOptions
from core.progress import Snapshot
from core.store import Store


def job(name: str = "out", **options) -> QuantizeJob:
    return QuantizeJob(
        source="/models/tiny.gguf", output=f"/tmp/{name}.gguf", options=QuantizeOptions(target="Q8_0", **options)
    )


@pytest.fixture
def history(context) -> dict[str, str]:
    """One job of every state that needs no worker."""
    store: Store = context.store
    ids = {"failed": store.add(job("failed")), "cancelled": store.add(job("cancelled"))}
    store.start(ids["failed"])
    store.append_log(ids["failed"], "loading\nthe disk said no\n")
    store.fail(ids["failed"], ErrorReport("DiskFull", "There is not enough room", "it needs 3 GiB", "Free some space"))
    store.cancel(ids["cancelled"])
    ids["running"] = store.add(job("elsewhere"))
    store.start(ids["running"])
    return ids


@pytest.fixture
def page(context, history, qtbot) -> JobsPage:
    made = JobsPage(context)
    qtbot.addWidget(made)
    made.resize(1200, 700)
    made.show()
    return made


def test_states_are_words_and_the_running_one_is_first(page, history):
    states = [row.state for row in page.model.rows]
    assert states == ["running", "cancelled", "failed"]
    column = page.model.column_of("state")
    assert [page.model.index(row, column).data() for row in range(3)] == ["Running", "Cancelled", "Failed"]


def test_a_failed_job_says_what_why_and_what_to_do(page, history):
    assert page.select(history["failed"])
    words = page.inspector.words()
    for part in ("There is not enough room", "it needs 3 GiB", "Free some space"):
        assert part in words
    assert "the disk said no" in page.inspector._log.toPlainText()
    assert page.inspector.button("retry").isVisible()
    assert not page.inspector.button("result").isVisible()
    assert not page.inspector.button("cancel").isVisible()


def test_a_job_of_another_program_cannot_be_cancelled_here(page, history):
    assert page.select(history["running"])
    assert "another program" in page.inspector.words()
    assert not page.inspector.button("cancel").isVisible()
    page._act("cancel")
    assert page.context.store.get(history["running"]).state == "running"


def test_removing_a_row(page, history):
    page.select(history["cancelled"])
    page.inspector.asked.emit("remove")
    assert history["cancelled"] not in {row.name for row in page.model.rows}
    assert page.selected() is not None


def test_the_queue_can_be_reordered(page, context, monkeypatch):
    monkeypatch.setattr(context.jobs, "resume", lambda: None)
    ids = [context.jobs.submit(job(str(number))) for number in range(3)]
    page.select(ids[2])
    page.inspector.asked.emit("up")
    page.inspector.asked.emit("up")
    assert page._queue() == [ids[2], ids[0], ids[1]]
    page.inspector.asked.emit("down")
    assert page._queue() == [ids[0], ids[2], ids[1]]
    assert page.selected() == ids[2]


def test_copy_as_command_gives_what_the_command_line_accepts(page, context, monkeypatch):
    from app.cli import make_parser

    monkeypatch.setattr(context.jobs, "resume", lambda: None)
    overrides = (Override(tensor="output.weight", type="Q6_K"),)
    wanted = job("with space", pure=True, allow_requantize=True, overrides=overrides)
    page.select(context.jobs.submit(wanted))
    page.inspector.asked.emit("copy")
    words = shlex.split(QGuiApplication.clipboard().text())
    parsed = make_parser().parse_args(words[2:])
    assert words[1].endswith("main.py")
    assert parsed.command == "quantize"
    assert "/tmp/with space.gguf" in words


def test_progress_never_goes_back_and_covers_all_stages(page, context, monkeypatch):
    monkeypatch.setattr(context.jobs, "resume", lambda: None)
    job_id = context.jobs.submit(job())
    shares = []
    for stage, done in (("Planning", 0), ("Quantizing", 50), ("Quantizing", 100), ("Verifying", 0), ("Verifying", 100)):
        snapshot = Snapshot(stage=stage, done=done, total=100)
        page.model.advance(job_id, snapshot)
        shares.append(fraction(page.model.rows[page.model.row_of(job_id)].snapshot))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    page.model.advance(job_id, Snapshot(stage="Quantizing", done=1, total=100))
    assert fraction(page.model.rows[page.model.row_of(job_id)].snapshot) == 1.0


def test_only_work_has_a_bar(page, history):
    column = page.model.column_of("progress")
    row = page.model.row_of(history["failed"])
    assert page.model.index(row, column).data(FRACTION_ROLE) is None


def test_log_lines_are_added_while_they_come(page, context, history):
    page.select(history["failed"])
    context.jobs.logged.emit(history["failed"], "one more line\n")
    context.jobs.logged.emit(history["running"], "not this one\n")
    assert page.inspector._log.toPlainText().endswith("one more line\n")


def test_an_interrupted_job_is_offered_for_retry(page, context, history):
    with context.store._connection() as db:
        db.execute("UPDATE jobs SET owner_started = 1 WHERE id = ?", (history["running"],))
    Store()
    page.refresh()
    page.select(history["running"])
    assert "Interrupted" in page.inspector.words()
    assert page.inspector.button("retry").isVisible()


def test_what_has_ended_stands_below_the_latest_first(context, history):
    rows = ordered(context.store.summaries())
    assert [record.id for record in rows] == [history["running"], history["cancelled"], history["failed"]]


def test_an_empty_queue_says_what_to_do(context, qtbot):
    page = JobsPage(context)
    qtbot.addWidget(page)
    assert page._stack.currentIndex() == 1


def test_a_proposed_output_is_no_existing_file_and_no_other_jobs(context, tmp_path):
    def proposed(target: str) -> str:
        return actions.proposed_output(str(source), target, context.settings, context.jobs.is_taken)

    source = tmp_path / "tiny-F16.gguf"
    source.write_bytes(b"")
    assert proposed("Q8_0") == str(tmp_path / "tiny-Q8_0.gguf")
    (tmp_path / "tiny-Q8_0.gguf").write_bytes(b"")
    assert proposed("Q8_0") == str(tmp_path / "tiny-Q8_0-2.gguf")
    job = QuantizeJob(source=str(source), output=proposed("Q8_0"), options=QuantizeOptions(target="Q8_0"))
    waiting = context.store.add(job)
    assert proposed("Q8_0") == str(tmp_path / "tiny-Q8_0-3.gguf")
    context.store.cancel(waiting)
    assert proposed("Q8_0") == str(tmp_path / "tiny-Q8_0-2.gguf")
    context.settings.set("output_folder", str(tmp_path / "elsewhere"))
    assert proposed("Q4_0").startswith(str(tmp_path / "elsewhere"))


def test_a_retry_does_not_write_where_a_waiting_job_will(page, context, history, qtbot):
    job = context.store.get(history["failed"]).job
    context.store.add(job)
    page.refresh()
    page.select(history["failed"])
    said = []
    page.said.connect(said.append)
    page.inspector.button("retry").click()
    assert context.store.get(history["failed"]).state == "failed"
    assert job.output in said[0]

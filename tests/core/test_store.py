"""The queue and history survive restarts and crashes, and keep their order."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import DiskFull, ErrorReport
from core.jobs import InspectJob, QuantizeJob, QuantizeOptions, ScanResult
from core.progress import Snapshot
from core.store import Store

ROOT = Path(__file__).parents[2]
JOB = QuantizeJob(source="a.gguf", output="b.gguf", options=QuantizeOptions(target="Q8_0"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "deep" / "jobs.sqlite3")


def test_a_job_goes_through_its_states_and_survives_a_restart(store):
    job_id = store.add(JOB)
    assert store.get(job_id).state == "queued"
    store.start(job_id)
    store.progress(job_id, Snapshot(stage="Quantizing", done=3, total=4))
    store.append_log(job_id, "one\n")
    store.append_log(job_id, "two\n")
    record = Store(store.path).get(job_id)
    assert (record.state, record.job, record.log) == ("running", JOB, "one\ntwo\n")
    assert record.progress.fraction == 0.75
    scan = store.add(InspectJob(source="x"))
    store.cancel(scan)
    assert Store(store.path).get(scan).state == "cancelled"


def test_results_and_errors_are_kept(store, tmp_path):
    from core.jobs import ScanJob

    done, failed = store.add(ScanJob(paths=("a",))), store.add(JOB)
    store.finish(done, ScanResult(models=()))
    store.fail(failed, ErrorReport.of(DiskFull("b.gguf", 10, 5)))
    assert store.get(done).result == ScanResult(models=())
    assert store.get(failed).error.kind == "DiskFull"
    assert store.get(failed).finished >= store.get(failed).created


def test_retry_forgets_how_it_ended_and_goes_to_the_end(store):
    first, second = store.add(JOB), store.add(JOB)
    store.fail(first, ErrorReport.of(DiskFull("b.gguf", 10, 5)))
    store.requeue(first, store.get(first).job)
    record = store.get(first)
    assert (record.state, record.error, record.finished) == ("queued", None, None)
    assert [row.id for row in store.jobs("queued")] == [second, first]


def test_order_can_be_changed(store):
    a, b, c = (store.add(JOB) for _ in range(3))
    store.move(c, before=b)
    assert [row.id for row in store.jobs()] == [a, c, b]
    store.move(b, before=a)
    assert [row.id for row in store.jobs()] == [b, a, c]


def test_removed_jobs_are_gone(store):
    job_id = store.add(JOB)
    store.remove(job_id)
    with pytest.raises(KeyError):
        store.get(job_id)


def test_jobs_of_a_process_that_died_are_interrupted(store):
    script = "from pathlib import Path; from core.store import Store; from core.jobs import InspectJob; "
    script += f"s = Store(Path({str(store.path)!r})); i = s.add(InspectJob(source='x')); s.start(i); print(i)"
    child = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    mine = store.add(JOB)
    store.start(mine)
    reopened = Store(store.path)
    assert reopened.get(child.stdout.strip()).state == "interrupted"
    assert reopened.get(mine).state == "running"


def test_data_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("BITWRIGHT_DATA_DIR", str(tmp_path / "mine"))
    assert Store().path == tmp_path / "mine" / "jobs.sqlite3"


def test_a_damaged_file_is_an_error_of_sqlite_not_a_crash(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Store(path)


def test_jobs_of_a_newer_version_are_left_alone(store):
    known = store.add(JOB)
    foreign, odd = store.add(JOB), store.add(JOB)
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE jobs SET job = ? WHERE id = ?", ('{"kind": "quantize", "telepathy": true}', foreign))
        db.execute("UPDATE jobs SET kind = 'dream', job = ? WHERE id = ?", ('{"kind": "dream"}', odd))
    for listed in (store.jobs(), store.summaries(), Store(store.path).jobs("queued")):
        assert [record.id for record in listed] == [known]
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (3,)

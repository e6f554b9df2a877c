"""Downloads in the window's queue, from a Hub on this machine: beside each other, paused, gone on with, discarded."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from app.main_window import MainWindow
from core.hub.leftovers import find_unfinished
from core.jobs import DownloadJob
from tests.hub_server import HubServer, Repo

WAIT_MS = 180_000
WEIGHTS = random.Random(3).randbytes(3_000_000)
SLOW = 400_000


def repo(seed: int) -> Repo:
    return Repo({"config.json": b"{}", "model.safetensors": WEIGHTS[seed:]}, tags=("safetensors",))


@pytest.fixture(scope="module")
def server():
    with HubServer({f"owner/{name}": repo(number) for number, name in enumerate(("one", "two", "three"))}) as made:
        yield made


@pytest.fixture
def hub(server: HubServer, monkeypatch, tmp_path: Path):
    """The server at full speed, and an empty cache of this test's own."""
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    server.faults.rate = 0
    yield server
    server.faults.rate = 0


@pytest.fixture
def queue(context, hub):
    context.jobs.set_room("network", 2)
    return context.jobs


def state(queue, job_id: str) -> str:
    return queue._store.get(job_id).state


def wait_for_bytes(qtbot, queue, job_id: str) -> None:
    def some() -> bool:
        snapshot = queue.snapshot(job_id) if queue.is_running(job_id) else None
        return bool(snapshot and snapshot.stage == "Downloading" and 0 < snapshot.done < snapshot.total)

    qtbot.waitUntil(some, timeout=WAIT_MS)


def test_one_is_paused_while_others_go_on_and_is_resumed(queue, hub, qtbot):
    hub.faults.rate = SLOW
    ids = [queue.submit(DownloadJob(repo=f"owner/{name}", connections=2)) for name in ("one", "two", "three")]
    assert [state(queue, job_id) for job_id in ids] == ["running", "running", "queued"]
    wait_for_bytes(qtbot, queue, ids[0])
    queue.pause(ids[0])
    queue.pause(ids[2])
    qtbot.waitUntil(lambda: state(queue, ids[0]) == "paused", timeout=WAIT_MS)
    assert state(queue, ids[1]) == "running"
    assert state(queue, ids[2]) == "paused"
    assert "Paused" in queue.log(ids[0])
    left = queue.leftover(ids[0])
    assert left.bytes > 0
    hub.faults.rate = 0
    before = hub.sent
    queue.go_on(ids[0])
    qtbot.waitUntil(lambda: [state(queue, job) for job in ids[:2]] == ["done", "done"], timeout=WAIT_MS)
    assert queue._store.get(ids[0]).result.fetched < len(WEIGHTS)
    assert hub.sent - before < 2 * len(WEIGHTS)
    assert queue.leftover(ids[0]) is None


def test_what_a_cancelled_one_left_is_discarded(queue, hub, qtbot):
    hub.faults.rate = SLOW
    job_id = queue.submit(DownloadJob(repo="owner/one"))
    wait_for_bytes(qtbot, queue, job_id)
    assert find_unfinished("owner/one") is None, "a file that is being filled is nobody's leftover"
    queue.cancel(job_id)
    qtbot.waitUntil(lambda: state(queue, job_id) == "cancelled", timeout=WAIT_MS)
    other = queue._store.add(DownloadJob(repo="owner/one", include=("*.json",)), "paused")
    assert queue.leftover(job_id) is None, "the other download may go on with it"
    queue.remove(other)
    queue.discard(job_id)
    assert find_unfinished("owner/one") is None


def test_what_the_end_of_the_program_interrupts_is_offered(window: MainWindow, hub, qtbot):
    hub.faults.rate = SLOW
    jobs, store = window.context.jobs, window.context.store
    job_id = jobs.submit(DownloadJob(repo="owner/one"))
    wait_for_bytes(qtbot, jobs, job_id)
    window.context.settings.set("confirm_quit_with_jobs", True)
    assert window._may_close(), "a download loses nothing, so nothing is asked"
    jobs._lane_of(job_id).shutdown()
    assert store.get(job_id).state == "interrupted"
    hub.faults.rate = 0
    window.offer_downloads()
    assert "Download owner/one was interrupted" in window.banner.words()
    window.banner._action.click()
    assert not window.banner.isVisible()
    qtbot.waitUntil(lambda: store.get(job_id).state == "done", timeout=WAIT_MS)

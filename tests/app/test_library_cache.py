"""The Hub's cache in the library: its models under their names, what is unfinished, what is watched, and the trash."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from app.library_watch import LibraryWatch, folders_between
from app.models.library import location, shown_name
from core.hub.cache import RepoCache, cache_root, repo_in
from core.jobs import DownloadJob, TrashItem, TrashResult, Use

WAIT_MS = 180_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_cached(repo: str, name: str, source: Path) -> Path:
    """A file of a model in the cache, as every program leaves it there."""
    cache = RepoCache(cache_root(), repo)
    blob, link = cache.blob("a" * 64), cache.snapshot(COMMIT) / name
    for path in (blob, link, cache.ref("main")):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, blob)
    link.symlink_to(os.path.relpath(blob, link.parent))
    cache.ref("main").write_text(COMMIT)
    return link


def put_partial(repo: str, name: str, done: int, total: int) -> Path:
    """What an interrupted download of ours leaves."""
    part = RepoCache(cache_root(), repo).blob("b" * 64 + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(bytes(done))
    of = {"repo": repo, "commit": COMMIT, "name": name}
    state = {"bytes": total, "pieces": [[0, total, done]], "of": of}
    part.with_name(f"{part.name}.json").write_text(json.dumps(state))
    return part


def rescan(library, qtbot) -> None:
    with qtbot.waitSignal(library.changed, timeout=WAIT_MS):
        library.rescan()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No Hub answers."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def local(window):
    return window.page("models").local


def test_what_lies_in_the_cache_is_listed_marked_resumed_and_discarded(window, local, qtbot, sample):
    link = put_cached("owner/small-GGUF", "small-Q4_1.gguf", sample)
    part = put_partial("owner/begun", "begun-00001-of-00002.gguf", 300, 1000)
    library = window.context.library
    rescan(library, qtbot)
    model = library.find(str(link))
    assert (shown_name(model), location(model)) == ("small-Q4_1", "cache, owner/small-GGUF")
    rows = [[local.table.rows.index(row, column).data() for column in range(6)] for row in range(3)]
    assert rows[2][0] == "owner/begun"
    assert rows[2][3] == "partial, 30 %"
    # the partial one
    assert local.select(library.partial()[0].name)
    assert "300 B of 1000 B are here" in local.partial.words.text()
    with qtbot.waitSignal(local.job_requested) as heard:
        local.partial.resume.click()
    assert heard.args[0] == DownloadJob(repo="owner/begun", include=("begun-*-of-00002.gguf",))
    window.context.jobs.cancel(window.context.store.jobs()[0].id)
    qtbot.waitUntil(lambda: not window.context.store.jobs("queued", "running"), timeout=WAIT_MS)
    with qtbot.waitSignal(library.changed, timeout=WAIT_MS):
        local.partial.discard.click()
    assert not part.exists()
    assert library.partial() == ()


def test_the_trash_is_asked_for_and_told_what_else_uses_it(window, local, qtbot, sample, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    copy = tmp_path / "mine.gguf"
    shutil.copy(sample, copy)
    with qtbot.waitSignal(window.context.library.arrived, timeout=WAIT_MS):
        window.add_models([str(copy)])
    asked = []
    monkeypatch.setattr("app.dialogs.confirm.confirm_trash", lambda parent, name, what: asked.append((name, what)))
    local._trash()
    qtbot.waitUntil(lambda: bool(asked), timeout=WAIT_MS)
    assert asked[0][0] == "mine"
    assert asked[0][1].dry_run
    assert copy.exists(), "the question alone moves nothing"
    monkeypatch.setattr("app.dialogs.confirm.confirm_trash", lambda parent, name, what: True)
    with qtbot.waitSignal(local.said, timeout=WAIT_MS):
        local._trash()
    assert not copy.exists()
    assert list((tmp_path / "share" / "Trash" / "files").iterdir())
    qtbot.waitUntil(lambda: window.context.library.find(str(copy)) is None, timeout=WAIT_MS)


def test_the_question_names_what_uses_it(qtbot, monkeypatch):
    from PySide6.QtWidgets import QMessageBox

    from app.dialogs.confirm import confirm_trash

    said = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: said.append(f"{box.text()}\n{box.informativeText()}"))
    uses = (Use(kind="result", name="quantize of small.gguf"), Use(kind="job", name="chat", blocks=True))
    for blocking in (uses[:1], uses):
        item = TrashItem(path="/x/models--a--b", bytes=2048, kept=1024, files=2, uses=blocking)
        assert not confirm_trash(None, "small", TrashResult(items=(item,), bytes=2048, dry_run=True))
    assert "Move small to the trash?" in said[0]
    assert "Used by: quantize of small.gguf." in said[0]
    assert "another revision shares them" in said[0]
    assert "in use now" in said[1]


def test_a_new_file_in_a_watched_folder_is_found(window, qtbot, sample, tmp_path):
    library = window.context.library
    library._watch._timer.setInterval(50)
    with qtbot.waitSignal(library.changed, timeout=WAIT_MS):
        window.context.settings.set("model_folders", (str(tmp_path),))
    shutil.copy(sample, tmp_path / "new.gguf")
    qtbot.waitUntil(lambda: library.find(str(tmp_path / "new.gguf")) is not None, timeout=WAIT_MS)
    (tmp_path / "new.gguf").unlink()
    qtbot.waitUntil(lambda: library.find(str(tmp_path / "new.gguf")) is None, timeout=WAIT_MS)


def test_hidden_and_other_files_are_no_reason_to_look(qtbot, tmp_path):
    watch, heard = LibraryWatch(), []
    watch._timer.setInterval(10)
    watch.changed.connect(lambda: heard.append(True))
    watch.watch([str(tmp_path), str(tmp_path / "not there")])
    assert watch.folders() == [str(tmp_path)]
    (tmp_path / ".model.gguf.part-1").touch()
    (tmp_path / "notes.md").touch()
    with qtbot.waitSignal(watch._timer.timeout, timeout=WAIT_MS):
        pass
    (tmp_path / "model.gguf").touch()
    qtbot.waitUntil(lambda: bool(heard), timeout=WAIT_MS)
    assert heard == [True]


def test_names_in_the_cache():
    place = f"/home/me/.cache/huggingface/hub/models--owner--a-name/snapshots/{COMMIT}"
    assert repo_in(place) == repo_in(f"{place}/sub/file.gguf") == "owner/a-name"
    assert repo_in("/home/me/models/models--owner--a-name") == ""
    assert folders_between("/a/b/c/d.gguf", "/a") == ["/a/b/c", "/a/b", "/a"]
    assert folders_between("/x/d.gguf", "/a") == ["/x"]

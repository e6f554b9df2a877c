"""Publishing from the window: what would go is seen first, then a job of the queue sends it."""

from __future__ import annotations

import shutil

import pytest
from PySide6.QtCore import Qt

from app.dialogs.publish import PublishDialog
from app.main_window import MainWindow
from core.jobs import UploadJob
from tests.app.values import add_finished, make_result
from tests.hub_server import HubServer

WAIT_MS = 180_000
TOKEN = "hf_TokenThatMayWrite0123456789"


@pytest.fixture
def hub(monkeypatch):
    with HubServer({}) as made:
        made.tokens = {TOKEN}
        monkeypatch.setenv("HF_ENDPOINT", made.endpoint)
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield made


def open_form(window: MainWindow, path: str, qtbot) -> PublishDialog:
    window.publish(path)
    form = window.findChildren(PublishDialog)[-1]
    qtbot.waitUntil(lambda: form.preview is not None and form._account is not None, timeout=WAIT_MS)
    return form


def test_a_model_is_published_after_a_look(window: MainWindow, hub, qtbot, sample, tmp_path, monkeypatch):
    path = tmp_path / "my-model.gguf"
    shutil.copy(sample, path)
    form = open_form(window, str(path), qtbot)
    assert "has to know whose repository" in form.note.text()
    assert "Made from" in form.warning.text()
    assert "--" not in form.warning.text()
    assert not form.button.isEnabled()
    form.close()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    window.context.hub.renew()
    form = open_form(window, str(path), qtbot)
    assert not form.isModal()
    assert [form.owner.itemText(at) for at in range(form.owner.count())] == ["me", "our-lab"]
    assert {row.name for row in form.files.rows} == {"my-model.gguf", "README.md"}
    assert "my-model" in form.card.toPlainText()
    assert form.private.isChecked()
    assert not hub.repos, "looking sends nothing"
    form.name.setText("not a name")
    assert not form.button.isEnabled()
    form.name.setText("mine")
    form.base.setText("owner/original")
    qtbot.waitUntil(lambda: "owner/original" in form.card.toPlainText(), timeout=WAIT_MS)
    form.card.appendPlainText("Written by hand.")
    qtbot.waitUntil(form.button.isEnabled, timeout=WAIT_MS)
    with qtbot.waitSignal(window.context.jobs.finished, timeout=WAIT_MS):
        qtbot.mouseClick(form.button, Qt.MouseButton.LeftButton)
    (record,) = window.context.store.jobs()
    assert record.state == "done", record.error
    assert isinstance(record.job, UploadJob)
    assert hub.repos["me/mine"].private
    assert hub.repos["me/mine"].files["my-model.gguf"] == path.read_bytes()
    assert "Written by hand." in hub.repos["me/mine"].files["README.md"].decode()
    assert TOKEN not in window.context.store.path.read_bytes().decode("latin-1")


def test_a_result_is_published_from_its_page(window: MainWindow, hub, qtbot, sample):
    job_id = add_finished(window.context.store, make_result(output=str(sample)))
    window.show_result(job_id)
    head = window.page("results").head
    qtbot.mouseClick(head.publish, Qt.MouseButton.LeftButton)
    assert window.findChildren(PublishDialog)[-1].source == str(sample)


def test_what_cannot_be_published_is_said(window: MainWindow, hub, qtbot, tmp_path):
    (tmp_path / "empty").mkdir()
    window.publish(str(tmp_path / "empty"))
    form = window.findChildren(PublishDialog)[-1]
    qtbot.waitUntil(lambda: bool(form.problem.text()), timeout=WAIT_MS)
    assert "nothing to publish" in form.problem.text().lower()
    assert not form.button.isEnabled()

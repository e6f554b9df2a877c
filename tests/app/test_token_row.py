"""The Hub's token in the window: entered once, kept in the keyring, checked, removed; in no file of the program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit

from app.main_window import MainWindow
from app.widgets.token_row import TokenRow
from core.errors import ErrorReport, KeyringMissing
from core.jobs import AccountResult
from tests.hub_server import HubServer

WAIT_MS = 180_000
SECRET = "hf_SecretThatNobodyMayFind0123456789"


@pytest.fixture
def kept(monkeypatch) -> dict[str, str]:
    """A keyring in this process; the worker is given what it keeps by the environment, as it has another one."""
    found: dict[str, str] = {}

    def keep(token: str) -> None:
        found["token"] = token
        monkeypatch.setenv("HF_TOKEN", token)

    def forget() -> None:
        found.clear()
        monkeypatch.delenv("HF_TOKEN", raising=False)

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("app.token_keeper.keep_token", keep)
    monkeypatch.setattr("app.token_keeper.forget_token", forget)
    monkeypatch.setattr("app.token_keeper.kept_token", lambda: found.get("token", ""))
    monkeypatch.setattr("app.token_keeper.environment_token", lambda: "")
    monkeypatch.setattr("app.token_keeper.keyring_problem", lambda: "")
    return found


def test_a_token_is_entered_checked_and_removed(window: MainWindow, kept, qtbot, monkeypatch, own_folders):
    with HubServer({}) as hub:
        hub.tokens = {SECRET}
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("NO_PROXY", "*")
        window.enter_token()
        row = window.page("settings").token
        qtbot.waitUntil(lambda: "No token is in use" in row.state.text(), timeout=WAIT_MS)
        assert hub.log == [], "looking at the settings asks the Hub nothing"
        assert row.field.echoMode() is QLineEdit.EchoMode.Password
        qtbot.keyClicks(row.field, SECRET)
        with qtbot.waitSignal(window.page("settings").token_accepted, timeout=WAIT_MS):
            qtbot.mouseClick(row.keep, Qt.MouseButton.LeftButton)
        assert row.field.text() == ""
        assert kept == {"token": SECRET}
        qtbot.waitUntil(lambda: "of the account me" in row.state.text(), timeout=WAIT_MS)
        assert {request.authorization for request in hub.log} == {f"Bearer {SECRET}"}
        row.removed.emit()
        qtbot.waitUntil(lambda: "No token is in use" in row.state.text(), timeout=WAIT_MS)
        assert kept == {}
    assert not [path for path in files_below(own_folders) if SECRET.encode() in path.read_bytes()]


def files_below(folder: Path) -> list[Path]:
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "No token is in use"),
        ("environment", "from the variable HF_TOKEN"),
        ("login", "hf auth login"),
        ("keyring", "from the keyring"),
    ],
)
def test_the_state_says_where_the_token_is_from(qtbot, context, source, words):
    row = TokenRow(context.theme)
    qtbot.addWidget(row)
    row.show()
    row.show_state(AccountResult(endpoint="https://x", source=source, name="me", may_write=False), None, "")
    assert words in row.state.text()
    assert row.remove.isVisible() == (source == "keyring")
    assert ("read only" in row.state.text()) == bool(source)


def test_without_a_keyring_it_says_what_to_do(qtbot, context):
    row = TokenRow(context.theme)
    qtbot.addWidget(row)
    row.show_state(AccountResult(endpoint="https://x", source=""), None, "no service that keeps secrets answers")
    assert not row.field.isEnabled()
    assert "HF_TOKEN" in row.state.text()
    row.show_state(None, ErrorReport.of(KeyringMissing("it fails")), "")
    assert "keyring cannot be used" in row.state.text()

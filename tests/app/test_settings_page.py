"""The Settings page shows every row of the table, and what is edited there is saved and applied at once."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from app.pages.settings import SettingsPage
from app.settings import ROWS, Settings

NEW = {
    "theme": "dark",
    "model_folders": ("/a", "/b"),
    "output_folder": "/out",
    "threads": 1,
    "device": "cpu",
    "chat_context": 4096,
    "chat_max_tokens": 7,
    "chat_temperature": 0.25,
    "chat_top_p": 0.5,
    "chat_top_k": 3,
    "chat_seed": 42,
    "chat_system_prompt": "Be brief.",
    "confirm_quit_with_jobs": False,
    "converter": "CONV",
    "downloads_at_once": 3,
    "download_limit": 3,
}


@pytest.fixture
def page(context, qtbot) -> SettingsPage:
    made = SettingsPage(context)
    qtbot.addWidget(made)
    made.resize(1000, 900)
    made.show()
    return made


def test_every_row_of_a_section_has_an_editor_with_a_name(page):
    shown = {row.key for row in ROWS if row.section}
    assert set(page.editors) == shown == set(NEW)
    for key, editor in page.editors.items():
        assert editor.focus_target().accessibleName(), key
        assert editor.focus_target().accessibleDescription(), key


@pytest.mark.parametrize("key", sorted(NEW))
def test_what_is_edited_is_saved(page, key):
    page.editors[key].edited.emit(NEW[key])
    assert page.context.settings.value(key) == NEW[key]
    assert Settings().value(key) == NEW[key]


@pytest.mark.parametrize("key", sorted(NEW))
def test_what_is_set_elsewhere_is_shown(page, key):
    page.context.settings.set(key, NEW[key])
    shown = []
    page.editors[key].edited.connect(shown.append)
    page.editors[key].show_value(NEW[key])
    assert shown == []
    page.context.settings.reset()


def test_typing_into_the_boxes(page, qtbot):
    threads = page.editors["threads"].focus_target()
    threads.setValue(1)
    assert page.context.settings.value("threads") == 1
    prompt = page.editors["chat_system_prompt"].focus_target()
    prompt.setFocus()
    qtbot.keyClicks(prompt, "Be brief.")
    page.editors["threads"].focus_target().setFocus()
    prompt.clearFocus()
    assert page.context.settings.value("chat_system_prompt") == "Be brief."
    quit_ = page.editors["confirm_quit_with_jobs"].focus_target()
    qtbot.mouseClick(quit_, Qt.MouseButton.LeftButton, pos=quit_.rect().center() / 4)
    assert page.context.settings.value("confirm_quit_with_jobs") is False


def test_the_theme_is_applied_at_once(window):
    page = window.page("settings")
    page.editors["theme"].edited.emit("dark")
    assert window.context.theme.is_dark
    page.editors["theme"].edited.emit("light")
    assert not window.context.theme.is_dark


def test_folders_can_be_taken_away(page):
    page.context.settings.set("model_folders", ("/a", "/b"))
    editor = page.editors["model_folders"]
    assert editor.paths() == ("/a", "/b")
    assert not editor.remove.isEnabled()
    editor.list.setCurrentRow(0)
    editor.remove.click()
    assert page.context.settings.value("model_folders") == ("/b",)


def test_a_disk_that_fails_is_explained(window, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    window.page("settings").editors["threads"].edited.emit(1)
    assert window.context.settings.value("threads") == 1
    assert "No space left on device" in window.banner.words()


def test_reset_gives_the_defaults_after_a_question(page, monkeypatch):
    page.context.settings.set("chat_top_k", 3)
    monkeypatch.setattr("app.dialogs.confirm.confirm_reset", lambda parent: False)
    page._reset()
    assert page.context.settings.value("chat_top_k") == 3
    monkeypatch.setattr("app.dialogs.confirm.confirm_reset", lambda parent: True)
    page._reset()
    assert page.context.settings.value("chat_top_k") == 40

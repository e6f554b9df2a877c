"""The table of settings, and the file that keeps their values."""

from __future__ import annotations

import json

import pytest

from app.settings import ROW, ROWS, Settings, config_dir, delete_settings


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_every_row_accepts_its_default_and_explains_itself(row):
    assert row.accepts(row.default)
    assert not row.accepts(object())
    if row.section:
        assert row.label
        assert row.help.endswith(".")
    if row.kind == "choice":
        assert row.default in dict(row.choices)
    if row.limits:
        low, high = row.limits
        assert not row.accepts(low - 1)
        assert not row.accepts(high + 1)


def test_keys_are_unique():
    assert len(ROW) == len(ROWS)


@pytest.mark.parametrize(("key", "value"), [("theme", "pink"), ("threads", 1.5), ("threads", True), ("chat_top_p", 7)])
def test_a_value_that_is_not_allowed_is_refused(qapp, key, value):
    settings = Settings()
    with pytest.raises(ValueError, match=key):
        settings.set(key, value)
    assert settings.value(key) == ROW[key].default


def test_values_survive_a_restart_and_are_announced_once(qapp, qtbot, tmp_path):
    settings = Settings()
    with qtbot.waitSignal(settings.changed) as heard:
        settings.set("model_folders", [str(tmp_path)])
    assert heard.args == ["model_folders"]
    with qtbot.assertNotEmitted(settings.changed):
        settings.set("model_folders", (str(tmp_path),))
    again = Settings()
    assert again.value("model_folders") == (str(tmp_path),)
    assert again.value("theme") == "system"


def test_the_file_has_a_version_and_keeps_what_it_does_not_know(qapp):
    path = config_dir() / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 1, "values": {"from_the_future": 7, "threads": -3, "chat_top_k": 5}}))
    settings = Settings()
    assert settings.value("threads") == 0
    assert settings.value("chat_top_k") == 5
    settings.set("theme", "dark")
    stored = json.loads(path.read_text())
    assert stored["version"] == 1
    assert stored["values"] == {"from_the_future": 7, "chat_top_k": 5, "theme": "dark"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"values": 3}', '{"version": 1}'])
def test_a_damaged_file_is_set_aside(qapp, content):
    path = config_dir() / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert Settings().value("theme") == "system"
    assert path.with_suffix(".damaged.json").read_text() == content
    assert not path.exists()


def test_reset_keeps_the_list_of_models(qapp, tmp_path):
    settings = Settings()
    settings.set("theme", "dark")
    settings.set("model_folders", (str(tmp_path),))
    settings.set("model_files", ("/a.gguf",))
    settings.reset()
    assert settings.value("theme") == "system"
    assert settings.value("model_folders") == (str(tmp_path),)
    assert settings.value("model_files") == ("/a.gguf",)


def test_deleting_the_settings_also_forgets_the_geometry(qapp):
    Settings().set("theme", "dark")
    (config_dir() / "window.ini").write_text("[window]\n")
    delete_settings()
    assert list(config_dir().iterdir()) == []
    delete_settings()
    assert Settings().value("theme") == "system"


def test_a_failing_disk_leaves_the_old_file(qapp, qtbot, monkeypatch):
    settings = Settings()
    settings.set("theme", "dark")
    before = settings.path.read_text()
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with qtbot.waitSignal(settings.not_saved) as heard:
        settings.set("theme", "light")
    assert heard.args == ["No space left on device"]
    assert settings.value("theme") == "light"
    assert settings.path.read_text() == before
    assert list(settings.path.parent.iterdir()) == [settings.path]

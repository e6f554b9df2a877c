"""The list of models: the sample, folders, single files, what cannot be read, and what was taken off the list."""

from __future__ import annotations

import shutil

import pytest

from app.library import Library
from core.catalog import SAMPLE_NAME

WAIT_MS = 180_000


@pytest.fixture
def library(context) -> Library:
    return context.library


def rescan(library: Library, qtbot) -> None:
    with qtbot.waitSignal(library.changed, timeout=WAIT_MS):
        library.rescan()


def names(library: Library) -> list[str]:
    return [model.name for model in library.models()]


def test_the_sample_is_known_from_the_start(library, qtbot):
    assert not library.is_scanned
    rescan(library, qtbot)
    assert names(library) == [SAMPLE_NAME]
    assert library.models()[0].is_sample
    assert library.find(library.models()[0].path) == library.models()[0]
    assert not library.is_busy


def test_a_folder_is_searched_and_remembered(library, qtbot, sample, tmp_path):
    shutil.copy(sample, tmp_path / "copy.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(40))
    with qtbot.waitSignal(library.arrived, timeout=WAIT_MS) as heard:
        library.add(str(tmp_path))
    assert heard.args == [str(tmp_path / "copy.gguf")]
    assert len(library.models()) == 2
    assert library.models()[0].is_sample
    assert [problem.path for problem in library.problems()] == [str(tmp_path / "broken.gguf")]
    assert library._settings.value("model_folders") == (str(tmp_path),)


def test_a_file_can_be_taken_off_the_list_and_added_again(library, qtbot, sample, tmp_path):
    copy = tmp_path / "copy.gguf"
    shutil.copy(sample, copy)
    with qtbot.waitSignal(library.arrived, timeout=WAIT_MS):
        library.add(str(copy))
    with qtbot.waitSignal(library.changed, timeout=WAIT_MS):
        library.remove(str(copy))
    assert names(library) == [SAMPLE_NAME]
    assert copy.exists()
    with qtbot.waitSignal(library.arrived, timeout=WAIT_MS):
        library.add(str(copy))
    assert library.find(str(copy)) is not None


def test_a_model_of_a_folder_stays_off_the_list(library, qtbot, sample, tmp_path):
    copy = tmp_path / "copy.gguf"
    shutil.copy(sample, copy)
    with qtbot.waitSignal(library.arrived, timeout=WAIT_MS):
        library.add(str(tmp_path))
    with qtbot.waitSignal(library.changed, timeout=WAIT_MS):
        library.remove(str(copy))
    rescan(library, qtbot)
    assert library.find(str(copy)) is None
    with qtbot.waitSignal(library.arrived, timeout=WAIT_MS):
        library.add(str(tmp_path))
    assert library.find(str(copy)) is not None


def test_what_is_no_model_is_refused_with_a_reason(library, qtbot, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model at all")
    with qtbot.waitSignal(library.refused, timeout=WAIT_MS) as heard:
        library.add(str(broken))
    assert heard.args[0] == str(broken)
    assert heard.args[1]


def test_an_empty_folder_is_refused_with_a_reason(library, qtbot, tmp_path):
    with qtbot.waitSignal(library.refused, timeout=WAIT_MS) as heard:
        library.add(str(tmp_path))
    assert "no model" in heard.args[1]


def test_a_place_that_is_gone_does_not_spoil_the_list(library, qtbot, tmp_path):
    library._settings.set("model_folders", (str(tmp_path / "unplugged"),))
    rescan(library, qtbot)
    assert names(library) == [SAMPLE_NAME]
    assert library.error() is None


def test_a_link_to_a_model_that_is_known_leads_to_that_model(library, qtbot, sample, tmp_path):
    link = tmp_path / "link.gguf"
    link.symlink_to(sample)
    with qtbot.waitSignal(library.arrived, timeout=WAIT_MS) as heard:
        library.add(str(link))
    assert heard.args == [str(sample)]

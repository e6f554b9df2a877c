"""Where texts come from: files and data sets of the Hub, offered wherever texts are chosen."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QFileDialog, QPushButton

from app.theme import Theme
from app.widgets.imatrix_row import ImatrixRow
from app.widgets.text_row import TextRow
from app.widgets.texts import DatasetDialog, dataset_of, text_word

PAGE = "https://huggingface.co/datasets/owner/name"


@pytest.mark.parametrize(
    ("words", "dataset"),
    [
        ("owner/name", "dataset:owner/name"),
        (" dataset:owner/name/ ", "dataset:owner/name"),
        ("owner/name/data/a file.jsonl", "dataset:owner/name/data/a file.jsonl"),
        (PAGE, "dataset:owner/name"),
        (f"{PAGE}?row=3", "dataset:owner/name"),
        (f"{PAGE}/viewer", "dataset:owner/name"),
        (f"{PAGE}/viewer/default/train", "dataset:owner/name"),
        (f"{PAGE}/tree/main", "dataset:owner/name"),
        (f"{PAGE}/tree/main/en", "dataset:owner/name/en"),
        (f"{PAGE}/blob/main/data/a%20file.jsonl", "dataset:owner/name/data/a file.jsonl"),
        ("https://huggingface.co/owner/name", ""),
        ("https://elsewhere.example/datasets/owner/name", ""),
        ("owner", ""),
        ("owner/name/../other", ""),
        ("", ""),
    ],
)
def test_what_is_meant(words: str, dataset: str) -> None:
    assert dataset_of(words) == dataset


def test_a_text_has_a_short_name() -> None:
    assert text_word("dataset:owner/name") == "owner/name"
    assert text_word("/a/b.txt") == "b.txt"


@pytest.fixture(params=[TextRow, ImatrixRow])
def row(request, qtbot):
    row = request.param(Theme("light"))
    qtbot.addWidget(row)
    return row


def chosen(row, number: int) -> None:
    row.menu.actions()[number].trigger()


def test_a_data_set_is_chosen_by_its_id(row, qtbot) -> None:
    chosen(row, 2)
    dialog = row.findChild(DatasetDialog)
    assert dialog.isVisible()
    assert not dialog.ok.isEnabled()
    dialog.line.setText("owner")
    assert not dialog.ok.isEnabled()
    dialog.line.setText(PAGE)
    with qtbot.waitSignal(row.changed):
        dialog.ok.click()
    assert row.text == ("dataset:owner/name",)
    assert "owner/name" in [button.text() for button in row.findChildren(QPushButton)]


def test_files_are_chosen(row, monkeypatch) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (["/x/a.txt", "/x/b.parquet"], ""))
    chosen(row, 1)
    assert row.text == ("/x/a.txt", "/x/b.parquet")
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([], ""))
    chosen(row, 1)
    assert row.text == ("/x/a.txt", "/x/b.parquet")
    chosen(row, 0)
    assert row.text == ()

"""Rows of JSONL files: every form of data sets, damaged ones, and how many are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import ReadFailed, TextTooShort
from core.text_rows import BadRow, row_of
from core.texts import files_as_texts, windows_of

HELLO = [("user", "Hello"), ("assistant", "Good day")]


class Written:
    """A tokenizer of bytes whose template marks the roles."""

    bos = None
    has_template = True

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, text: str, *, special: bool = False) -> np.ndarray:
        self.encoded.append(text)
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def chat(self, messages, *, answer: bool = False) -> str:
        return "".join(f"<{message.role}>{message.content}" for message in messages)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]},
        {"id": 3, "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day"}]},
        [{"role": "USER", "content": [{"type": "text", "text": "Hello"}]}, {"role": "model", "content": "Good day"}],
    ],
)
def test_conversations(row: object) -> None:
    assert [(turn.role, turn.content) for turn in row_of(json.dumps(row))] == HELLO


def test_texts() -> None:
    assert row_of('{"text": "a b", "source": "x"}') == "a b"
    assert row_of('{"content": "a b"}') == "a b"
    assert row_of('{"messages": null, "text": "a"}') == "a"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hello", "completion": "Good day"},
        {"question": "Hello", "answer": "Good day", "text": "both"},
        {"instruction": "Hello", "input": "", "output": "Good day"},
        {
            "prompt": [{"role": "user", "content": "Hello"}],
            "completion": [{"role": "assistant", "content": "Good day"}],
        },
    ],
)
def test_questions_with_their_answers(row: object) -> None:
    assert [(turn.role, turn.content) for turn in row_of(json.dumps(row))] == HELLO


def test_what_belongs_to_a_question_follows_it() -> None:
    (asked, _) = row_of('{"instruction": "Add.", "input": "1 and 2", "output": "3"}')
    assert asked.content == "Add.\n\n1 and 2"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("3", "neither"),
        ('{"prompt": "a"}', "none of the keys"),
        ('{"messages": []}', "empty"),
        ('{"messages": [3]}', "no object"),
        ('{"messages": [{"role": "user"}]}', "needs `role`"),
    ],
)
def test_damaged_rows(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadRow, match=reason):
        row_of(line)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line)
    with pytest.raises(ReadFailed, match="line 3"):
        windows_of(files_as_texts((str(path),)), Written(), 4)


def test_no_more_rows_are_read_than_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"{number:08}"}) + "\n" for number in range(100)))
    tokenizer = Written()
    found, names = windows_of(files_as_texts((str(path),)), tokenizer, 16, 3)
    assert found.shape == (3, 16)
    assert names == (str(path),)
    assert len(tokenizer.encoded) == 5
    path.write_text("\n")
    with pytest.raises(TextTooShort):
        windows_of(files_as_texts((str(path),)), tokenizer, 16)


def test_conversations_go_through_the_template(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n{"text": "plain\\u2028text"}\n')
    tokenizer = Written()
    windows_of(files_as_texts((str(path),)), tokenizer, 4)
    assert tokenizer.encoded == ["<user>Hi", "plain\u2028text\n\n"]


def test_windows_are_of_all_texts_where_fewer_are_wanted_than_they_give(tmp_path: Path) -> None:
    for name, count in (("a", 100), ("b", 3), ("c", 40)):
        (tmp_path / f"{name}.txt").write_text(name * count)
    texts = files_as_texts(tuple(str(tmp_path / f"{name}.txt") for name in "abc"))
    found = ["".join(map(chr, row)) for row in windows_of(texts, Written(), 4, 6)[0]]
    assert found == ["aaaa", "bbbc", "cccc", "aaaa", "cccc", "aaaa"]
    everything = ["".join(map(chr, row)) for row in windows_of(texts, Written(), 4)[0]]
    assert "".join(everything) == ("a" * 100 + "b" * 3 + "c" * 40)[:140]
    assert ["".join(map(chr, row)) for row in windows_of(texts, Written(), 4, 35)[0]] == everything

"""Files of texts: every form gives the same rows, only what is asked for is read, damage is told in words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow.parquet import write_table

from core import text_packed
from core.errors import ReadFailed
from core.text_files import plain_text, rows_in
from core.text_rows import BadRow
from core.texts import files_as_texts, tokens_of

ROWS = [{"messages": [{"role": "user", "content": f"Question {number}"}], "id": number} for number in range(3)]
LINES = "\n".join(map(json.dumps, ROWS)).encode()


def table(path: Path, rows: list[dict], **options) -> None:
    write_table(pyarrow.Table.from_pylist(rows), path, **options)


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, "zstd", asbytes=True)


FORMS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(LINES),
    "a.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "A.JSONL.GZ": lambda path: path.write_bytes(gzip.compress(LINES)),
    "a.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "a.jsonl.zst": lambda path: path.write_bytes(zstd(LINES)),
    "a.parquet": lambda path: table(path, ROWS),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    FORMS[name](tmp_path / name)
    rows = list(rows_in(tmp_path / name))
    assert [[(turn.role, turn.content) for turn in row] for row in rows] == [
        [("user", f"Question {number}")] for number in range(3)
    ]


@pytest.mark.parametrize(("name", "pack"), [("a.txt", bytes), ("a.txt.gz", gzip.compress), ("a.md.zst", zstd)])
def test_plain_text_may_be_packed(name: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack("Zwölf".encode()))
    assert plain_text(tmp_path / name) == "Zwölf"


def test_of_a_table_only_the_first_groups_of_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table(path, [{"text": f"{number} " + "x" * 4096} for number in range(256)], row_group_size=64, compression=None)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) * 3 // 4] = bytes(len(content) * 3 // 4 - len(content) // 2)
    path.write_bytes(content)
    assert [row[:3] for row in islice(rows_in(path), 64)] == [f"{number} x"[:3] for number in range(64)]
    with pytest.raises(BadRow, match="cannot be read as Parquet"):
        list(rows_in(path))


def test_of_lines_only_the_first_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES + b"\n" + b"not json\n" * 100_000)[:-9])
    assert len(list(islice(rows_in(path), 3))) == 3


def test_a_file_that_unpacks_to_too_much_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_packed, "LARGEST_UNPACKED", 1 << 16)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"x" * (1 << 17)))
    with pytest.raises(BadRow, match="unpacks to more"):
        plain_text(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl.gz", b"no gzip", "not what gzip packed"),
        ("a.jsonl.gz", gzip.compress(LINES)[:-12], "damaged"),
        ("a.jsonl.zst", b"no zstd", "not what zstd packed"),
        ("a.jsonl.zst", zstd(LINES)[:-5], "damaged"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.jsonl", b'{"text": "a"}\n\xff', "no text in UTF-8"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n{"label": 1}'), "line 2: it has none of the keys"),
    ],
    ids=["gzip", "gzip cut", "zstd", "zstd cut", "parquet", "letters", "keys"],
)
def test_damage_is_told_in_words(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    (text,) = files_as_texts((str(tmp_path / name),))
    with pytest.raises(ReadFailed, match=words):
        tokens_of(text, Bytes())


def test_a_table_without_texts_tells_its_columns(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [{"label": 1, "image": "x"}])
    with pytest.raises(BadRow, match="its columns are label, image; none is one of"):
        list(rows_in(tmp_path / "a.parquet"))


def test_rows_without_their_text_are_left_out(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [{"text": "one"}, {"text": None}, {"text": "two"}])
    (text,) = files_as_texts((str(tmp_path / "a.parquet"),))
    assert bytes(tokens_of(text, Bytes()).tolist()) == b"one\n\ntwo\n\n"


class Bytes:
    """A tokenizer of which each byte is a token."""

    bos = None
    has_template = False

    def encode(self, text, *, special=False):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def chat(self, messages, *, answer=False):
        raise AssertionError("it has no template")

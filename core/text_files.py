"""Files of texts, read only as far as somebody asks: plain text, and rows as lines, as an array or as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, Any

from core.jobs import Message
from core.text_packed import ending, opened
from core.text_rows import BadRow, row_from, row_of
from core.text_tables import TABLE, table_rows

LINES = (".jsonl", ".json")
# Endings of files that hold rows; others hold plain text.
ROWS = (*LINES, TABLE)
Row = str | list[Message]


def plain_text(path: Path) -> str:
    """All of a file in UTF-8. Raises OSError, UnicodeDecodeError, and BadRow where it cannot be unpacked."""
    with opened(path) as stream:
        return stream.read().decode("utf-8")


def rows_in(path: Path) -> Iterator[Row]:
    """The rows of a file: those of a table, the members of a JSON file's one array, else its lines.

    Raises OSError, UnicodeDecodeError, and BadRow, which says where.
    """
    if ending(path) == TABLE:
        yield from (_placed("row", number, row_from, row) for number, row in enumerate(table_rows(path), 1))
        return
    with opened(path) as stream, TextIOWrapper(stream, "utf-8", newline="\n") as lines:
        yield from _rows(lines)


def _rows(stream: IO[str]) -> Iterator[Row]:
    begin: list[str] = []
    for line in stream:
        begin.append(line)
        if line.strip():
            break
    if begin and begin[-1].lstrip().startswith("["):
        content = "".join(begin) + stream.read()
        array = _array(content)
        if array is not None:
            yield from (_placed("row", number, row_from, row) for number, row in enumerate(array, 1))
            return
        yield from _lines(content.split("\n"))
    else:
        yield from _lines(chain(begin, stream))


def _lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _placed("line", number, row_of, line)


def _placed(word: str, number: int, read: Any, row: Any) -> Row:
    try:
        found: Row = read(row)
    except BadRow as error:
        raise BadRow(f"{word} {number}: {error}") from error
    return found


def _array(content: str) -> list[Any] | None:
    """The rows of a file that is one array of them; None for lines, one of which may be a conversation alone."""
    try:
        rows: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    is_one_row = (
        isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and not {"role", "from"}.isdisjoint(rows[0])
    )
    return [rows] if is_one_row else rows

"""Rows of JSONL and JSON files as texts and conversations, in the forms in which data sets for chat models come.

{"messages": [{"role": …, "content": …}, …]}           OpenAI's; content may be a list of parts with a `text`
{"conversations": [{"from": …, "value": …}, …]}         ShareGPT's
{"text": …}                                             plain text
[{"role": …, "content": …}, …]                          a conversation alone
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from core.jobs import Message

TEXT_KEYS = ("text", "content")
CHAT_KEYS = ("messages", "conversations", "conversation")
# What programs call those who speak, by the names that templates know.
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


class BadRow(ValueError):
    """A row that is neither text nor a conversation; says why."""


def rows_in(content: str) -> Iterator[str | list[Message]]:
    """The rows of a JSON file: the members of its one array, else its lines. Raises BadRow, which says where."""
    rows = _array(content)
    numbered = enumerate(content.split("\n") if rows is None else rows, 1)
    for number, row in numbered:
        if rows is None and not row.strip():
            continue
        try:
            yield row_of(row) if rows is None else _row_of(row)
        except BadRow as error:
            raise BadRow(f"{'line' if rows is None else 'row'} {number}: {error}") from error


def _array(content: str) -> list[Any] | None:
    """The rows of a file that is one array of them; None for lines, one of which may be a conversation alone."""
    if not content.lstrip().startswith("["):
        return None
    try:
        rows: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    is_one_row = (
        isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and not {"role", "from"}.isdisjoint(rows[0])
    )
    return [rows] if is_one_row else rows


def row_of(line: str) -> str | list[Message]:
    """A line of a JSONL file: a text, or the turns of a conversation. Raises BadRow."""
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"it is no JSON ({error})") from error
    return _row_of(row)


def _row_of(row: Any) -> str | list[Message]:
    if isinstance(row, list):
        return _turns(row)
    if not isinstance(row, dict):
        raise BadRow("it is neither an object nor a list of turns")
    for key in CHAT_KEYS:
        if isinstance(row.get(key), list):
            return _turns(row[key])
    for key in TEXT_KEYS:
        if isinstance(row.get(key), str):
            return str(row[key])
    raise BadRow(f"it has none of the keys {', '.join((*CHAT_KEYS, *TEXT_KEYS))}")


def _turns(rows: list[Any]) -> list[Message]:
    if not rows:
        raise BadRow("its conversation is empty")
    return [_turn(row) for row in rows]


def _turn(row: Any) -> Message:
    """One turn. Turns of tools and of others whom templates do not know are the user's."""
    if not isinstance(row, dict):
        raise BadRow("a turn is no object")
    role = row.get("role", row.get("from"))
    content = row.get("content", row.get("value"))
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(role, str) or not isinstance(content, str):
        raise BadRow("a turn needs `role` and `content`, or `from` and `value`")
    return Message.model_validate({"role": ROLES.get(role.lower(), "user"), "content": content})

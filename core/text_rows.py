"""Rows of data sets as texts and conversations, in the forms in which data sets for chat models come.

{"messages": [{"role": …, "content": …}, …]}           OpenAI's; content may be a list of parts with a `text`
{"conversations": [{"from": …, "value": …}, …]}         ShareGPT's
{"prompt": …, "completion": …}                          a question and its answer, also under other names
{"text": …}                                             plain text
[{"role": …, "content": …}, …]                          a conversation alone
"""

from __future__ import annotations

import json
from typing import Any

from core.jobs import Message

TEXT_KEYS = ("text", "content")
CHAT_KEYS = ("messages", "conversations", "conversation")
# A question, what belongs to it ("": nothing does), and its answer. Questions and answers may be turns themselves.
PAIRS = (
    ("prompt", "", "completion"),
    ("prompt", "", "response"),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("question", "", "answer"),
)
KEYS = tuple(dict.fromkeys((*CHAT_KEYS, *(key for pair in PAIRS for key in pair if key), *TEXT_KEYS)))
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
    """A row that is neither text nor a conversation, or a file of which no rows can be read; says why."""


def row_of(line: str) -> str | list[Message]:
    """A line of a JSONL file: a text, or the turns of a conversation. Raises BadRow."""
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"it is no JSON ({error})") from error
    return row_from(row)


def row_from(row: Any) -> str | list[Message]:
    """The same of a value of JSON, or of a table's columns by their names."""
    if isinstance(row, list):
        return _turns(row)
    if not isinstance(row, dict):
        raise BadRow("it is neither an object nor a list of turns")
    for key in CHAT_KEYS:
        if isinstance(row.get(key), list):
            return _turns(row[key])
    for question, more, answer in PAIRS:
        if all(isinstance(row.get(key), str | list) for key in (question, answer)):
            return [*_said("user", row[question], row.get(more)), *_said("assistant", row[answer])]
    for key in TEXT_KEYS:
        if isinstance(row.get(key), str):
            return str(row[key])
    if any(key in row and row[key] is None for key in KEYS):
        return ""  # a row of which the text is missing
    raise BadRow(f"it has none of the keys {', '.join(KEYS)}")


def _said(role: str, what: str | list[Any], more: Any = None) -> list[Message]:
    """A question or an answer as turns. more: what belongs to it."""
    if isinstance(what, list):
        return _turns(what)
    text = f"{what}\n\n{more}" if isinstance(more, str) and more else what
    return [Message.model_validate({"role": role, "content": text})]


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

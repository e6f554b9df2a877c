"""Texts that models are run on: the user's files or the program's own, as windows of token numbers.

The program's own lie in resources/calibration (importance, methods) and resources/evaluation (figures), disjoint, one
file for each category; a JSONL file, theirs or the user's, has a text or a conversation a line, and conversations go
through the model's own chat template.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import CannotRun, DatasetUnusable, ReadFailed, SourceNotFound, TextTooShort
from core.jobs import Message
from core.text_files import ROWS, plain_text, rows_in
from core.text_packed import ending
from core.text_rows import BadRow

# Tokens of a window where nothing is said.
USUAL_LENGTH = 512
RESOURCES = Path(__file__).resolve().parents[1] / "resources"


class TextTokenizer(Protocol):
    """What is asked of a tokenizer here; core.network.tokenizer is one."""

    bos: int | None
    has_template: bool

    def encode(self, text: str, *, special: bool = False) -> NDArray[np.int64]:
        """Token numbers of a text."""

    def chat(self, messages: Sequence[Message], *, answer: bool = False) -> str:
        """A conversation as the model's template writes it."""


@dataclass(frozen=True, slots=True)
class Text:
    """One text: its category, file or dataset's name, and the file. is_fetched: it is of a dataset on the Hub.

    enough_letters: so many of its rows' are read where no limit of tokens comes first; 0: all.
    """

    name: str
    path: Path
    is_fetched: bool = False
    enough_letters: int = 0

    @property
    def is_chat(self) -> bool:
        """Whether it holds rows, texts or conversations, instead of plain text."""
        return ending(self.path) in ROWS


def window_length(path: str, wanted: int | None, context: int | None) -> int:
    """Tokens of a window that methods look at: those asked for, else the usual number as far as the context reaches.

    wanted: None where nothing was asked for. context: what the model was trained for, None or 0 where it does not say.
    Raises CannotRun for more than that.
    """
    if wanted is None:
        return min(USUAL_LENGTH, context or USUAL_LENGTH)
    if context and wanted > context:
        problem = f"windows of {wanted} tokens are longer than its context of {context}"
        raise CannotRun(path, problem, f"Use --length {context}")
    return wanted


def shortened(wanted: int | None, length: int) -> Iterator[str]:
    """What a plan says of windows that are shorter than usual without being asked for."""
    if wanted is None and length < USUAL_LENGTH:
        yield f"Windows of {length} tokens are looked at: the model's context is no longer."


def own_texts(purpose: str) -> tuple[Text, ...]:
    """The program's own texts for a purpose, `calibration` or `evaluation`, one for each category."""
    folder = RESOURCES / purpose
    files = sorted(path for path in folder.iterdir() if path.suffix in (".txt", ".jsonl"))
    return tuple(Text(path.stem, path) for path in files)


def files_as_texts(paths: Sequence[str]) -> tuple[Text, ...]:
    """Files of the user's as texts by their paths."""
    return tuple(Text(path, Path(path)) for path in paths)


def tokens_of(text: Text, tokenizer: TextTokenizer, enough: int = 0) -> NDArray[np.int64]:
    """All token numbers of a text; of rows, none are read any more once there are `enough` (0: all are read).

    Raises SourceNotFound, ReadFailed, DatasetUnusable, and what the tokenizer raises.
    """
    try:
        if not text.is_chat:
            return tokenizer.encode(plain_text(text.path))
        return _of_rows(rows_in(text.path), tokenizer, enough, text.enough_letters)
    except FileNotFoundError as error:
        raise SourceNotFound(str(text.path)) from error
    except OSError as error:
        raise ReadFailed(str(text.path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ReadFailed(str(text.path), f"it is no text in UTF-8 (byte {error.start})") from error
    except BadRow as error:
        if text.is_fetched:
            raise DatasetUnusable(text.name, str(error)) from error
        raise ReadFailed(str(text.path), str(error)) from error


def _of_rows(
    rows: Iterable[str | list[Message]], tokenizer: TextTokenizer, enough: int, letters: int
) -> NDArray[np.int64]:
    """Tokens of rows until there are `enough`, or so many letters have been read; 0: no such end."""
    found: list[NDArray[np.int64]] = []
    total = read = 0
    for row in rows:
        if not row:
            continue
        found.append(_row(row, tokenizer))
        total += len(found[-1])
        read += len(row) if isinstance(row, str) else sum(len(turn.content) for turn in row)
        if (enough and total >= enough) or (letters and read >= letters):
            break
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _row(row: str | list[Message], tokenizer: TextTokenizer) -> NDArray[np.int64]:
    """A text as it is; a conversation through the template, and of a model that has none as plain text."""
    if isinstance(row, str):
        return tokenizer.encode(row + "\n\n")
    messages = row
    if tokenizer.has_template:
        return tokenizer.encode(tokenizer.chat(messages), special=True)
    return tokenizer.encode("\n\n".join(message.content for message in messages) + "\n\n")


def windows(tokens: NDArray[np.int64], context: int, bos: int | None) -> NDArray[np.int64]:
    """Cuts (n,) into (windows, context); what is left over is dropped.

    The first token of every window gives way to the beginning token where the model has one, as in llama-imatrix and
    llama-perplexity.
    """
    count = len(tokens) // context
    cut = tokens[: count * context].reshape(count, context).copy()
    if bos is not None:
        cut[:, 0] = bos
    return cut


def windows_of(
    given: Sequence[Text], tokenizer: TextTokenizer, context: int, most: int = 0, purpose: str = "calibration"
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """(windows, context) of the user's texts one after another, or where there are none of the program's own texts.

    Of the latter's categories windows are taken in turns, so that a few of them are of all kinds, and so they are of
    several texts of the user's that give more than are wanted. most: how many windows at most, 0 = all. Also answers
    the names of the texts. Raises TextTooShort, SourceNotFound, ReadFailed.
    """
    texts = tuple(given) or own_texts(purpose)
    found = [tokens_of(text, tokenizer, most * context if given else 0) for text in texts]
    if given:
        # A text begins with the beginning token, as llama.cpp's programs have it.
        begin = [] if tokenizer.bos is None else [np.array([tokenizer.bos])]
        cut = windows(np.concatenate([*begin, *found]), context, tokenizer.bos)
        if most and len(cut) > most:
            cut = _in_turns(_by_text(cut, list(map(len, found))), context)
    else:
        cut = _in_turns([windows(tokens, context, tokenizer.bos) for tokens in found], context)
    if not len(cut):
        raise TextTooShort(", ".join(text.name for text in texts), sum(map(len, found)), context)
    return (cut[:most] if most else cut), tuple(
        f"{purpose}/{text.path.name}" if not given else text.name for text in texts
    )


def _by_text(cut: NDArray[np.int64], lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """Windows (windows, context) of texts one after another, by the text that each begins in."""
    owners = np.searchsorted(np.cumsum(lengths), np.arange(len(cut)) * cut.shape[1], side="right")
    return [cut[owners == number] for number in range(len(lengths))]


def _in_turns(categories: Sequence[NDArray[np.int64]], context: int) -> NDArray[np.int64]:
    turns: Iterator[NDArray[np.int64] | None] = chain.from_iterable(zip_longest(*categories))
    rows = [row for row in turns if row is not None]
    return np.stack(rows) if rows else np.empty((0, context), np.int64)

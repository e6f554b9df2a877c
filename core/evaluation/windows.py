"""Which windows of tokens are evaluated, and of what kind each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from core.errors import TextTooShort
from core.jobs import EvaluateJob, SensitivityJob
from core.texts import Text, TextTokenizer, own_texts, tokens_of, windows


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """ids: (windows, context). categories: one for each window. texts: what they are from. short: what gave none."""

    ids: NDArray[np.int64]
    categories: tuple[str, ...]
    texts: tuple[str, ...]
    short: tuple[str, ...]


def first_scored(context: int) -> int:
    """The first position whose prediction counts: like llama-perplexity, those of the second half of a window."""
    return context // 2


def read_windows(job: EvaluateJob | SensitivityJob, tokenizer: TextTokenizer, given: Sequence[Text] = ()) -> Windows:
    """The windows of the texts given, or of the program's own, each text cut by itself, in turns.

    So a few of them are of every kind. A text of the user's is its own category, by its name. Raises TextTooShort where
    no text gives a window, or one of the user's gives none; SourceNotFound, ReadFailed, and what the tokenizer raises.
    """
    own = [text for text in own_texts("evaluation") if text.name in job.categories or not job.categories]
    texts = given or own
    cut: list[list[tuple[str, NDArray[np.int64]]]] = []
    short: list[str] = []
    for text in texts:
        tokens = tokens_of(text, tokenizer, job.chunks * job.context if given else 0)
        if given and tokenizer.bos is not None:  # as llama.cpp's programs begin a text
            tokens = np.concatenate([np.array([tokenizer.bos]), tokens])
        cut.append([(text.name, window) for window in windows(tokens, job.context, tokenizer.bos)])
        if not cut[-1]:
            short.append(text.name)
            if given or len(short) == len(texts):
                raise TextTooShort(text.name, len(tokens), job.context)
    turns = [turn for turn in chain.from_iterable(zip_longest(*cut)) if turn is not None]
    taken = turns[: job.chunks] if job.chunks else turns
    return Windows(
        ids=np.stack([window for _, window in taken]),
        categories=tuple(name for name, _ in taken),
        texts=tuple(text.name if given else f"evaluation/{text.path.name}" for text in texts),
        short=tuple(short),
    )

"""Which windows of tokens are evaluated, and of what kind each is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

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


def read_windows(job: EvaluateJob | SensitivityJob, tokenizer: TextTokenizer) -> Windows:
    """The windows of the job's texts, each text cut by itself, in turns, so that a few of them are of every kind.

    A file of the user's is its own category, by its path. Raises TextTooShort where no text gives a window, or one of
    the user's gives none; SourceNotFound, ReadFailed, and what the tokenizer raises.
    """
    own = [text for text in own_texts("evaluation") if text.name in job.categories or not job.categories]
    texts = [Text(path, Path(path)) for path in job.text] or own
    cut: list[list[tuple[str, NDArray[np.int64]]]] = []
    short: list[str] = []
    for text in texts:
        tokens = tokens_of(text, tokenizer)
        if job.text and tokenizer.bos is not None:  # as llama.cpp's programs begin a text
            tokens = np.concatenate([np.array([tokenizer.bos]), tokens])
        cut.append([(text.name, window) for window in windows(tokens, job.context, tokenizer.bos)])
        if not cut[-1]:
            short.append(text.name)
            if job.text or len(short) == len(texts):
                raise TextTooShort(text.name, len(tokens), job.context)
    turns = [turn for turn in chain.from_iterable(zip_longest(*cut)) if turn is not None]
    taken = turns[: job.chunks] if job.chunks else turns
    return Windows(
        ids=np.stack([window for _, window in taken]),
        categories=tuple(name for name, _ in taken),
        texts=tuple(text.name if job.text else f"evaluation/{text.path.name}" for text in texts),
        short=tuple(short),
    )

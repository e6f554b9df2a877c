"""Scores checkpoints against their original on held-out text, with plain transformers and nothing of this program.

The texts are those of resources/evaluation by category, each cut into windows, of which every position counts. Of the
original the log-probabilities are kept in half precision, in a file, so that any number of checkpoints, one after
another or in another process, are held against the same numbers: a folder that has them already keeps them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

RESOURCES = Path(__file__).resolve().parents[1] / "resources"
CATEGORIES = ("prose", "code", "chat")
LENGTH = 512
TAIL = 99


@dataclass(frozen=True, slots=True)
class Score:
    """Of one category. ppl: perplexity. kld: mean KL divergence from the original in nats, tail: its 99th percentile.

    same_top: how often both take the same token for the likeliest, in percent.
    """

    ppl: float
    kld: float
    tail: float
    same_top: float


Scores = dict[str, Score]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Of every scored token of a category, float32 (tokens,). kld: KL divergence from the original, in nats.

    surprise: minus the log-probability of the token that came. same: 1 where both take the same for the likeliest.
    """

    kld: np.ndarray
    surprise: np.ndarray
    same: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Tokens]) -> Tokens:
        """All of several."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def score(self) -> Score:
        """Their figures."""
        return Score(
            ppl=float(np.exp(self.surprise.mean(dtype=np.float64))),
            kld=max(float(self.kld.mean(dtype=np.float64)), 0.0),  # what half precision takes away
            tail=float(np.percentile(self.kld, TAIL)),
            same_top=100 * float(self.same.mean(dtype=np.float64)),
        )


def texts(tokenizer: Any, purpose: str, category: str) -> list[int]:
    """Token numbers of one of the program's own texts; conversations through the model's template."""
    path = next(path for path in (RESOURCES / purpose).iterdir() if path.stem == category)
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".jsonl":
        return list(tokenizer(content)["input_ids"])
    chats = [json.loads(line) for line in content.splitlines() if line.strip()]
    found = [tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False) for chat in chats]
    return [number for numbers in found for number in numbers]


def windows(tokenizer: Any, purpose: str, category: str, length: int = LENGTH) -> torch.Tensor:
    """A text as (windows, length)."""
    numbers = texts(tokenizer, purpose, category)
    count = len(numbers) // length
    return torch.tensor(numbers[: count * length]).view(count, length)


class Judge:
    """Holds checkpoints against `original`. most: so many windows of each category. folder: for the numbers kept."""

    def __init__(self, original: Path, folder: Path, most: int) -> None:
        logging.disable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(original)
        self._windows = {name: windows(tokenizer, "evaluation", name)[:most] for name in CATEGORIES}
        self._kept = folder / f"original-{most}.npy"
        self._vocabulary = len(tokenizer)
        if not self._kept.exists():
            self._keep(original)

    @property
    def tokens(self) -> int:
        """How many are scored."""
        return sum(ids.numel() - len(ids) for ids in self._windows.values())

    @property
    def ids(self) -> torch.Tensor:
        """All windows, (windows, length)."""
        return torch.cat(list(self._windows.values()))

    def score(self, checkpoint: Path) -> Scores:
        """Of a folder that transformers loads."""
        return self.scores_of(load(checkpoint))

    def scores_of(self, model: Any) -> Scores:
        """Of a model of transformers'."""
        return {name: tokens.score() for name, tokens in self.tokens_of(model).items()}

    def tokens_of(self, model: Any) -> dict[str, Tokens]:
        """The same, token by token."""
        kept = np.load(self._kept, mmap_mode="r")
        found, first = {}, 0
        for name, ids in self._windows.items():
            parts = []
            for window, own in zip(ids, log_probabilities(model, ids), strict=True):
                reference = torch.from_numpy(np.array(kept[first : first + len(own)])).float()
                first += len(own)
                parts.append(_window(reference, own, window))
            found[name] = Tokens.joined(parts)
        return found

    def _keep(self, original: Path) -> None:
        shape = (self.tokens, self._vocabulary)
        unfinished = self._kept.with_suffix(".part")
        kept = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
        first = 0
        for own in log_probabilities(load(original), self.ids):
            kept[first : first + len(own)] = own.numpy()
            first += len(own)
        kept.flush()
        os.replace(unfinished, self._kept)


def load(folder: Path) -> Any:
    """A checkpoint in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def log_probabilities(model: Any, ids: torch.Tensor) -> Iterator[torch.Tensor]:
    """Of each window (length - 1, vocabulary), float32."""
    for window in ids:
        with torch.no_grad():
            yield torch.log_softmax(model(window[None]).logits[0, :-1].float(), dim=-1)


def _window(reference: torch.Tensor, own: torch.Tensor, window: torch.Tensor) -> Tokens:
    """Of a window (length,), from log-probabilities (length - 1, vocabulary)."""
    return Tokens(
        (reference.exp() * (reference - own)).sum(dim=-1).numpy(),
        -own.gather(1, window[1:, None])[:, 0].numpy(),
        (reference.argmax(dim=-1) == own.argmax(dim=-1)).float().numpy(),
    )

"""What one token's logits say of a model beside its base, gathered tile by tile of the vocabulary.

With a, b the logits of base and model, KL(base || model) = Σ p_a (a - b) - (ln Σ exp a - ln Σ exp b). The three sums
are kept relative to the largest logit so far (Milakov, Gimelshein: Online normalizer calculation for softmax, 2018), so
that no more than a tile of logits is in memory. Elements are float32, sums float64.
"""

from __future__ import annotations

import torch


class Softmax:
    """ln Σ exp, the likeliest token and the logit of the token that came, for every one of n tokens.

    targets: (n,), the tokens that came.
    """

    def __init__(self, targets: torch.Tensor) -> None:
        self._targets = targets
        count, device = len(targets), targets.device
        self._rows = torch.arange(count, device=device)
        self.largest = torch.full((count,), -torch.inf, device=device)
        self.sums = torch.zeros(count, dtype=torch.float64, device=device)
        self.top = torch.zeros(count, dtype=torch.long, device=device)
        self._came = torch.zeros(count, device=device)

    def add(self, first: int, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes logits (n, tile) of the tokens from `first` on.

        Answers exp(logits - largest so far) and (n,) what earlier sums relative to that shrink by.
        """
        value, place = logits.max(dim=-1)
        higher = value > self.largest
        self.top = torch.where(higher, place + first, self.top)
        largest = torch.maximum(value, self.largest)
        shrink = torch.exp(self.largest.double() - largest.double())
        weights = torch.exp(logits - largest[:, None])
        self.sums = self.sums * shrink + weights.sum(-1, dtype=torch.float64)
        self.largest = largest
        here = (self._targets >= first) & (self._targets < first + logits.shape[-1])
        self._came[here] = logits[self._rows[here], self._targets[here] - first]
        return weights, shrink

    @property
    def log_sum(self) -> torch.Tensor:
        """Logarithm of Σ exp over all logits, float64 (n,)."""
        return self.largest.double() + self.sums.log()

    @property
    def nll(self) -> torch.Tensor:
        """-ln p of the tokens that came, float64 (n,)."""
        return self.log_sum - self._came.double()


class Divergence:
    """KL(base || model) of every one of n tokens; `add` comes after the base's and the model's own."""

    def __init__(self, base: Softmax, model: Softmax) -> None:
        self._base, self._model = base, model
        self._sums = torch.zeros_like(base.sums)

    def add(self, weights: torch.Tensor, shrink: torch.Tensor, logits_base: torch.Tensor, logits: torch.Tensor) -> None:
        """Takes a tile of both, (n, tile), and what the base's `Softmax.add` answered for it."""
        self._sums = self._sums * shrink + (weights * (logits_base - logits)).sum(-1, dtype=torch.float64)

    @property
    def kld(self) -> torch.Tensor:
        """In nats, float64 (n,)."""
        return self._sums / self._base.sums - (self._base.log_sum - self._model.log_sum)

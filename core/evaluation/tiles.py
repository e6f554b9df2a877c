"""What one token's logits say of a model beside its base, gathered tile by tile of the vocabulary.

With a, b the logits of base and model, KL(base || model) = Σ p_a (a - b) - (ln Σ exp a - ln Σ exp b). The three sums
are kept relative to the largest logit so far (Milakov, Gimelshein: Online normalizer calculation for softmax, 2018), so
that no more than a tile of logits is in memory. Elements and the sums of a tile are float32, what they add up to is
float64. What is computed of a tile lies in rooms that serve the next tile again: memory that is given back and taken
anew for every tile costs more than the arithmetic.
"""

from __future__ import annotations

import torch


class Room:
    """Memory for one tile, taken with the first and used again for all that follow."""

    def __init__(self) -> None:
        self._held = torch.empty(0)

    def like(self, tile: torch.Tensor) -> torch.Tensor:
        """Room for a tile (n, tokens), with what was left there; the first tile must be the largest."""
        if not self._held.numel():
            self._held = torch.empty_like(tile)
        return self._held[:, : tile.shape[1]]


class Softmax:
    """ln Σ exp, the likeliest token and the logit of the token that came, for every one of n tokens.

    targets: (n,), the tokens that came. room: for what `add` answers, where that must not be changed by others.
    """

    def __init__(self, targets: torch.Tensor, room: Room) -> None:
        self._targets, self._room = targets, room
        count, device = len(targets), targets.device
        self._rows = torch.arange(count, device=device)
        self.largest = torch.full((count,), -torch.inf, device=device)
        self.sums = torch.zeros(count, dtype=torch.float64, device=device)
        self.top = torch.zeros(count, dtype=torch.long, device=device)
        self._came = torch.zeros(count, device=device)

    def add(self, first: int, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes logits (n, tile) of the tokens from `first` on.

        Answers exp(logits - largest so far), in the room, and (n,) what earlier sums relative to that shrink by.
        """
        value, place = logits.max(dim=-1)
        higher = value > self.largest
        self.top = torch.where(higher, place + first, self.top)
        largest = torch.maximum(value, self.largest)
        shrink = torch.exp(self.largest.double() - largest.double())
        weights = torch.sub(logits, largest[:, None], out=self._room.like(logits)).exp_()
        self.sums = self.sums * shrink + weights.sum(-1).double()
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
    """KL(base || model) of every one of n tokens; `add` comes after the base's and the model's own.

    room: not that of the base.
    """

    def __init__(self, base: Softmax, model: Softmax, room: Room) -> None:
        self._base, self._model, self._room = base, model, room
        self._sums = torch.zeros_like(base.sums)

    def add(self, weights: torch.Tensor, shrink: torch.Tensor, logits_base: torch.Tensor, logits: torch.Tensor) -> None:
        """Takes a tile of both, (n, tile), and what the base's `Softmax.add` answered for it."""
        apart = torch.sub(logits_base, logits, out=self._room.like(logits)).mul_(weights)
        self._sums = self._sums * shrink + apart.sum(-1).double()

    @property
    def kld(self) -> torch.Tensor:
        """In nats, float64 (n,)."""
        return self._sums / self._base.sums - (self._base.log_sum - self._model.log_sum)

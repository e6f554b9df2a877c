"""Experts of a mixture as modules of their own, so that what meets each one's weights can be watched."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn


class Expert(nn.Module):
    """A feed-forward network with a gate: down(act(gate(x)) * up(x)), x (tokens, width)."""

    def __init__(self, width: int, inner: int, act: nn.Module) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, width) -> (tokens, width)."""
        inner = self.act(self.gate_proj(x)) * self.up_proj(x)
        return cast("torch.Tensor", self.down_proj(inner))


class Experts(nn.ModuleList):
    """Stands in for transformers' module that holds the weights of all experts in two tensors."""

    def forward(self, hidden: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Each token through its chosen experts, weighted and added.

        hidden: (tokens, width). chosen, weights: (tokens, experts per token). Experts nobody chose are not called.
        """
        out = torch.zeros_like(hidden)
        for number in torch.unique(chosen).tolist():
            token, place = torch.where(chosen == number)
            out.index_add_(0, token, self[number](hidden[token]) * weights[token, place, None])
        return out


def separated(fused: Any) -> Experts:
    """The stand-in for one of transformers' modules of experts, on the current default device, weights unset."""
    width, inner = int(fused.hidden_dim), int(fused.intermediate_dim)
    return Experts([Expert(width, inner, fused.act_fn) for _ in range(int(fused.num_experts))])

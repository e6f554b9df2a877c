"""Half-quadratic quantization: steps that keep outliers from spoiling a group, without any calibration data.

Minimises sum |w - w'|^p with p = 0.7, by splitting off the error as a variable of its own that is shrunk towards 0
while the grid follows in closed form. Source: Badri and Shaji, Half-Quadratic Quantization of Large Machine Learning
Models, 2023 (p, beta, kappa and 20 iterations are theirs). They move a fractional zero point and keep the scale; the
checkpoints written here hold whole zero points, which are as good as fixed by the range, so here the scale is fitted
too: a straight line through (code, weight without its error), its offset rounded to a whole zero point, then the scale
for that zero point. No group ends with a larger error than it began with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from core.methods.linear import Floats, Linear, Scheme, assembled, grid
from kernels.reference.scales import rounded

P = 0.7
BETA = 10.0
KAPPA = 1.01
ITERATIONS = 20
CHUNK_ELEMENTS = 1 << 22
TINY = 1e-30


def quantize(w: Floats, scheme: Scheme) -> Linear:
    """A matrix (rows, columns) as asymmetric integers.

    Raises ValueError for a symmetric scheme and where groups do not divide the rows.
    """
    if scheme.symmetric:
        raise ValueError("half-quadratic quantization moves zero points, and a symmetric scheme has none")
    groups = scheme.grouped(w)
    scales, zeros = grid(groups.min(axis=1), groups.max(axis=1), scheme)
    step = max(1, CHUNK_ELEMENTS // groups.shape[1])
    for first in range(0, len(groups), step):
        part = slice(first, first + step)
        scales[part], zeros[part] = better_grid(groups[part], scales[part], zeros[part], scheme)
    return assembled(w, scales, zeros, scheme)


@dataclass(frozen=True, slots=True)
class _Half:
    """One chunk's weights (m, g), and what the integers are."""

    x: torch.Tensor
    scheme: Scheme

    def codes(self, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        """The integers (m, g) of a grid (m, 1)."""
        return torch.clamp(torch.round(self.x / scale) + zero, self.scheme.lowest, self.scheme.highest)

    def error(self, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        """Sum |w - w'|^p of each group: (m, 1)."""
        values = (self.codes(scale, zero) - zero) * scale
        return (self.x - values).abs().pow(P).sum(1, keepdim=True)

    def refit(self, codes: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The grid nearest to `target` (m, g) with these codes, by least squares; its zero point whole."""
        code, value = codes.mean(1, keepdim=True), target.mean(1, keepdim=True)
        spread = (codes - code).square().sum(1, keepdim=True).clamp_min(TINY)
        slope = ((codes - code) * (target - value)).sum(1, keepdim=True) / spread
        zero = torch.round(code - value / slope.clamp_min(TINY)).clamp(self.scheme.lowest_zero, self.scheme.highest)
        steps = codes - zero
        scale = (steps * target).sum(1, keepdim=True) / steps.square().sum(1, keepdim=True).clamp_min(TINY)
        stored = rounded(scale.numpy(), self.scheme.scale_type)
        return torch.from_numpy(np.where(scale.numpy() > 0, stored, np.float32(1))), zero


def better_grid(groups: Floats, scales: Floats, zeros: Floats, scheme: Scheme) -> tuple[Floats, Floats]:
    """Scales and whole zero points (m,) with no larger error than the given ones. groups: (m, g)."""
    problem = _Half(torch.from_numpy(groups), scheme)
    scale, zero = torch.from_numpy(scales)[:, None].clone(), torch.from_numpy(zeros)[:, None].clone()
    best_scale, best_zero, least = scale, zero, problem.error(scale, zero)
    size = problem.x.abs().amax(1, keepdim=True).clamp_min(TINY)  # beta is made for weights of about 1
    beta = BETA
    for _ in range(ITERATIONS):
        codes = problem.codes(scale, zero)
        error = shrunk((problem.x - (codes - zero) * scale) / size, beta) * size
        scale, zero = problem.refit(codes, problem.x - error)
        now = problem.error(scale, zero)
        best_scale, best_zero = torch.where(now < least, scale, best_scale), torch.where(now < least, zero, best_zero)
        least = torch.minimum(now, least)
        beta *= KAPPA
    return best_scale[:, 0].numpy().astype(np.float32), best_zero[:, 0].numpy().astype(np.float32)


def shrunk(error: torch.Tensor, beta: float) -> torch.Tensor:
    """The generalised soft threshold sign(e) * max(|e| - |e|^(p-1) / beta, 0)."""
    size = error.abs()
    return torch.sign(error) * torch.relu(size - size.clamp_min(1e-12).pow(P - 1) / beta)

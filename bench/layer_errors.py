"""What quantization does to a model's matrices: squared errors of their weights, and of what they make of a text.

The inputs are those of the original model on held-out text, as second moments: with H = X X', the squared error of a
layer's output is tr(dW H dW'). Only every third layer is looked at, which is enough to compare methods by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from bench.judge import load

EVERY = 3
MATRICES = {
    "self_attn.q_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}
# A row is skewed where the middle of its range lies so far from zero, as a share of the range.
SKEWED = 0.1


@dataclass(frozen=True, slots=True)
class Errors:
    """Squared errors over squares, in percent: of the weights, of skewed rows' weights, and of outputs (mean)."""

    weights: float
    skewed: float
    output: float

    @classmethod
    def mean(cls, parts: Sequence[Errors | None]) -> Errors | None:
        """Of several; None where one of them could not be measured."""
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return cls(*(sum(getattr(part, name) for part in known) / len(known) for name in cls.__slots__))


class LayerErrors:
    """Holds the matrices of checkpoints against those of `original`, on windows of tokens (windows, length)."""

    def __init__(self, original: Path, ids: torch.Tensor) -> None:
        self._original = original
        model = load(original)
        self._moments = {
            f"model.layers.{number}.{name}": torch.zeros(columns, columns)
            for number in range(0, len(model.model.layers), EVERY)
            for name in MATRICES
            for columns in [model.get_submodule(f"model.layers.{number}.{name}").in_features]
        }
        handles = [
            model.get_submodule(name).register_forward_pre_hook(_counter(moments))
            for name, moments in self._moments.items()
        ]
        with torch.no_grad():
            for window in ids:
                model.model(window[None])
        for handle in handles:
            handle.remove()

    def of(self, checkpoint: Path) -> Errors | None:
        """Of a folder in 16 bits; None where its norms are others, so that weights cannot be compared."""
        squares = {"weights": [0.0, 0.0], "skewed": [0.0, 0.0]}
        outputs = []
        with _opened(self._original) as original, _opened(checkpoint) as made:
            if any(not torch.equal(original.get_tensor(name), made.get_tensor(name)) for name in _norms(original)):
                return None
            for first, name in self._matrices():
                w = original.get_tensor(f"{name}.weight").float()
                difference = made.get_tensor(f"{name}.weight").float() - w
                rows = _is_skewed(w)
                _add(squares["weights"], difference, w)
                _add(squares["skewed"], difference[rows], w[rows])
                moments = self._moments[first]
                outputs.append(_energy(difference, moments) / _energy(w, moments))
        weights, skewed = (100 * error / max(whole, 1e-30) for error, whole in squares.values())
        return Errors(weights, skewed, 100 * sum(outputs) / len(outputs))

    def _matrices(self) -> Iterator[tuple[str, str]]:
        for first in self._moments:
            layer = ".".join(first.split(".")[:3])
            for part in MATRICES[first.removeprefix(f"{layer}.")]:
                yield first, f"{layer}.{part}"


def _opened(folder: Path) -> Any:
    return safe_open(folder / "model.safetensors", framework="pt")


def _norms(file: Any) -> list[str]:
    return [name for name in file.keys() if "norm" in name]  # noqa: SIM118 - not a mapping


def _counter(moments: torch.Tensor) -> Any:
    def count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        moments.addmm_(x.T, x)

    return count


def _is_skewed(w: torch.Tensor) -> torch.Tensor:
    low, high = w.amin(dim=1), w.amax(dim=1)
    return (low + high).abs() > SKEWED * (high - low)


def _add(sums: list[float], difference: torch.Tensor, w: torch.Tensor) -> None:
    sums[0] += float(difference.square().sum())
    sums[1] += float(w.square().sum())


def _energy(w: torch.Tensor, moments: torch.Tensor) -> float:
    return float(((w @ moments) * w).sum(dtype=torch.float64))

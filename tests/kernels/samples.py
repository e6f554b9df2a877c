"""Weights to quantize in tests: distributions, rows of the bundled sample model, and rows at the edges."""

from __future__ import annotations

import functools

import gguf
import numpy as np

from core.catalog import sample_path
from kernels.blocks import FORMATS
from kernels.measure import ErrorSums
from kernels.reference.measure import measure
from tests import ggml_oracle

ELEMENTS = 1 << 20
SAMPLE_TENSORS = ("blk.0.attn_q.weight", "blk.14.ffn_down.weight", "blk.29.ffn_up.weight", "token_embd.weight")


def normal() -> np.ndarray:
    """Gaussian weights of a size usual in language models."""
    return np.random.default_rng(1).standard_normal(ELEMENTS) * 0.02


def student(freedom: float) -> np.ndarray:
    """Heavy tails: a few weights are tens of deviations away."""
    return np.random.default_rng(2).standard_t(freedom, ELEMENTS) * 0.02


def real() -> np.ndarray:
    """Pieces of the sample model's tensors, as they decode."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(sample_path()).tensors}
    pieces = []
    for name in SAMPLE_TENSORS:
        tensor = tensors[name]
        values = gguf.quants.dequantize(np.array(tensor.data[:512]), tensor.tensor_type)
        pieces.append(values.ravel()[: ELEMENTS // len(SAMPLE_TENSORS)])
    return np.concatenate(pieces)


DISTRIBUTIONS = {
    "normal": normal,
    "student-t 3": lambda: student(3),
    "student-t 4": lambda: student(4),
    "real": real,
}


@functools.cache
def weights(distribution: str) -> np.ndarray:
    """The weights of a distribution as one float32 row; read-only, since all tests share them."""
    values = DISTRIBUTIONS[distribution]().astype(np.float32)
    values.flags.writeable = False
    return values


def blocks_of(name: str, values: np.ndarray) -> np.ndarray:
    """Values cut into the blocks of a format."""
    return values.reshape(-1, FORMATS[name].elements)


@functools.cache
def judged(name: str, distribution: str) -> tuple[np.ndarray, ErrorSums]:
    """What ggml makes of a distribution: blocks, and their error sums."""
    x = blocks_of(name, weights(distribution))
    encoded = ggml_oracle.encode(name, x)
    return encoded, measure(x, ggml_oracle.decode(name, encoded))


ROWS = (256, 512)  # of an edge made at random: 512 super-blocks


def _noise(scale: float | np.ndarray, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(ROWS) * scale + offset


def _outlier(outlier: float, scale: float) -> np.ndarray:
    """One weight in 256, at any place and of either sign, is `outlier`; the others are noise."""
    rng = np.random.default_rng(5)
    rows = _noise(scale).reshape(-1, 256)
    rows[np.arange(len(rows)), rng.integers(0, 256, len(rows))] = outlier * rng.choice([-1, 1], len(rows))
    return rows.reshape(ROWS)


def _constants(repeats: int) -> np.ndarray:
    """One value for so many neighbours, then another."""
    values = np.random.default_rng(6).standard_normal(ROWS[0] * ROWS[1] // repeats)
    return np.repeat(values, repeats).reshape(ROWS)


def _chosen(share: float) -> np.ndarray:
    """Whether a group of 32 is chosen, for every weight."""
    groups = np.random.default_rng(7).random(ROWS[0] * ROWS[1] // 32) < share
    return np.repeat(groups, 32).reshape(ROWS)


EDGES = {
    "zeros": np.zeros((3, 512)),
    "one positive value": np.full((3, 512), 0.3),
    "one negative value": np.full((3, 512), -0.3),
    "constant blocks": _constants(256),
    "constant groups": _constants(32),
    "constant but for the last bit": _constants(256) * (1 + 2.0**-23 * np.random.default_rng(8).integers(0, 3, ROWS)),
    "few normal weights": _noise(0.02),
    "few heavy tails": np.random.default_rng(4).standard_t(3, ROWS) * 0.02,
    "all positive": abs(_noise(0.02)),
    "away from zero": _noise(0.1, -1.0),
    "far above zero": _noise(0.01, 5.0),
    "far below zero": _noise(0.01, -5.0),
    "farther below zero": _noise(1e-4, -5.0),
    "one outlier in weights": _outlier(5.0, 0.02),
    "one outlier in noise": _outlier(50.0, 1e-3),
    "one huge outlier in noise": _outlier(1e4, 1e-3),
    "one outlier in zeros": _outlier(50.0, 0.0),
    "mostly zeros": np.where(np.random.default_rng(9).random(ROWS) < 0.05, _noise(0.02), 0),
    "three values": np.random.default_rng(10).integers(-1, 2, ROWS) * 0.02,
    "rows of the sample model": weights("real")[: ROWS[0] * ROWS[1]].reshape(ROWS),
    "groups of many sizes": _noise(10 ** np.random.default_rng(11).uniform(-12, 0, (ROWS[0], 16)).repeat(32, axis=1)),
    "denormal groups": _noise(np.where(_chosen(0.3), 1e-42, 0.02)),
    "small": _noise(1e-7),
    "below the halves": _noise(1e-14),
    "squares underflow": _noise(1e-25),
    "denormal": _noise(1e-42),
    "some scales beyond the halves": _noise(3e6),
    "beyond the halves": _noise(1e10),
    "squares overflow": _noise(1e30),
    "alternating signs": np.tile([0.5, -0.5], (3, 256)),
    "integers": np.arange(-256, 256) * np.ones((2, 1)),
}


def edge(name: str) -> np.ndarray:
    """Rows of 512 at an edge, float32."""
    return EDGES[name].astype(np.float32)


@functools.cache
def judged_edge(name: str, edge_name: str) -> tuple[np.ndarray, np.ndarray]:
    """What ggml makes of rows at an edge: blocks, and their values."""
    encoded = ggml_oracle.encode(name, blocks_of(name, edge(edge_name)))
    return encoded, ggml_oracle.decode(name, encoded)

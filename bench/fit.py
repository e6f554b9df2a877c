"""What the levels of search gain: errors of `fast` and `best` against ggml's own C functions, on a model's weights.

Usage: `python -m bench.fit [--json] [FORMAT ...]`. Weights are tensors of the bundled sample. They lie on the grid that
the sample is stored in, which would flatter every search, so they are moved off it: each column is multiplied by a
number of its own (log-normal, σ 0.35) and each weight by chance moved by up to half a step of four bits. Importance
is made up in the likeness of what a text gives: log-normal (σ 0.6), and one column in a hundred counts 30 times as
much; it is divided by the square of the column's number, as activations would be.

An error is Σ importance·sqrt(σ² + x²)·(x - y)², σ² being the mean square of the row, which is what ggml's searches
minimise; "bare" leaves out the root; "plain" is Σ (x - y)² of encodings without importance. Every tensor's error is
taken relative to its energy, and their sum is divided by ggml's. Then the nanoseconds that a weight takes on one core.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import gguf
import numpy as np
import numpy.typing as npt

from bench.kernels import one_core, seconds_per_call
from bench.report import machine
from core.catalog import sample_path
from kernels import dispatch
from kernels.best_levels import LEVEL_SEARCHES
from kernels.codecs import CODECS, Codec, Fit
from tests import ggml_oracle

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Encoder = Callable[[str, Floats, Floats | None], Bytes]

TENSORS = ("blk.3.attn_q.weight", "blk.14.ffn_down.weight", "blk.20.attn_output.weight", "blk.29.ffn_up.weight")
ROWS = 32  # of each tensor
TIMED = 16  # rows of the longest tensor, for the times
ROUNDS = 3
# What rounding in another order may change.
AT_MOST = 1.001
# The types of which `best` makes the bare error small, as ggml weighs none in them.
BARE = {name for name, search in LEVEL_SEARCHES.items() if search.spread is None}


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a tensor and the importance of its columns."""

    x: Floats
    importance: Floats

    def errors(self, y: Floats) -> tuple[float, float, float]:
        """The error, the bare error and the plain error of y, each relative to what y = 0 would have."""
        x, importance = self.x.astype(np.float64), self.importance.astype(np.float64)
        root = np.sqrt(np.square(x).mean(axis=1, keepdims=True) + x * x)
        weights = importance * root, np.broadcast_to(importance, x.shape), np.ones_like(x)
        weighed, bare, plain = (float((w * np.square(x - y)).sum() / (w * x * x).sum()) for w in weights)
        return weighed, bare, plain


@functools.cache
def samples() -> tuple[Sample, ...]:
    """Rows of the sample model, moved off their grid, with made-up importance."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(sample_path()).tensors}
    rng = np.random.default_rng(0)
    found = []
    for name in TENSORS:
        values = gguf.quants.dequantize(np.array(tensors[name].data[:ROWS]), tensors[name].tensor_type)
        values = values[:, : values.shape[1] // 256 * 256]
        step = np.ptp(values.reshape(ROWS, -1, 32), axis=2).repeat(32, axis=1) / 15
        columns = np.exp(rng.normal(0, 0.35, values.shape[1]))
        x = (values + step * rng.uniform(-0.5, 0.5, values.shape)) * columns
        means = np.exp(rng.normal(0, 0.6, len(columns))) * np.where(rng.random(len(columns)) < 0.01, 30, 1)
        found.append(Sample(x.astype(np.float32), (means / np.square(columns)).astype(np.float32)))
    return tuple(found)


def ours(fit: Fit) -> Encoder:
    """Our encoder at a level of search, on one core."""

    def encode(name: str, x: Floats, importance: Floats | None) -> Bytes:
        return dispatch.encode(name, x, importance=importance, fit=fit, backend="cpu", threads=1)

    return encode


def relative_errors(name: str, encode: Encoder, weighted: bool) -> npt.NDArray[np.float64]:
    """The three errors of an encoder, summed over the tensors."""
    total = np.zeros(3)
    for sample in samples():
        data = encode(name, sample.x, sample.importance if weighted else None)
        blocks = np.ascontiguousarray(data).reshape(-1, CODECS[name].format.bytes)
        total += sample.errors(ggml_oracle.decode(name, blocks).reshape(sample.x.shape))
    return total


def nanoseconds(name: str, encoders: Sequence[Encoder], weighted: bool) -> list[float]:
    """Processor time of every encoder for a weight: medians of rounds in turns."""
    sample = max(samples(), key=lambda sample: sample.x.shape[1])
    x, importance = sample.x[:TIMED], sample.importance if weighted else None

    def seconds(encode: Encoder) -> float:
        return seconds_per_call(lambda: encode(name, x, importance), time.thread_time)

    rounds = [[seconds(encode) for encode in encoders] for _ in range(ROUNDS)]
    return [statistics.median(column) * 1e9 / x.size for column in zip(*rounds, strict=True)]


@dataclass(frozen=True, slots=True)
class Row:
    """One format: errors as multiples of ggml's (None where the format needs importance), and nanoseconds a weight."""

    format: str
    fast: float
    best: float
    best_bare: float
    best_plain: float | None
    ggml_ns: float
    fast_ns: float
    best_ns: float

    @property
    def is_met(self) -> bool:
        """Whether neither level is worse than ggml, best in the error that it makes small."""
        return self.fast <= AT_MOST and (self.best_bare if self.format in BARE else self.best) <= AT_MOST

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        plain = "" if self.best_plain is None else f"{self.best_plain:.3f}"
        times = (f"{self.ggml_ns:.1f}", f"{self.fast_ns:.1f}", f"{self.best_ns:.1f}")
        verdict = "met" if self.is_met else "MISSED"
        return self.format, f"{self.fast:.3f}", f"{self.best:.3f}", f"{self.best_bare:.3f}", plain, *times, verdict


def measure(codec: Codec) -> Row:
    """All figures of a format."""
    name = codec.format.name
    encoders = ggml_oracle.quantize_chunk, ours("fast"), ours("best")
    ggml, fast, best = (relative_errors(name, encode, weighted=True) for encode in encoders)
    plain = None
    if codec.importance != "required":
        plain = relative_errors(name, encoders[2], weighted=False)[2] / relative_errors(name, encoders[0], False)[2]
    return Row(
        name,
        float(fast[0] / ggml[0]),
        float(best[0] / ggml[0]),
        float(best[1] / ggml[1]),
        None if plain is None else float(plain),
        *nanoseconds(name, encoders, weighted=True),
    )


def print_table(rows: Sequence[Row]) -> None:
    """The rows as a table."""
    print(f"Levels of search: error as a multiple of ggml's, with importance, and time of one core\n  {machine()}")
    header = ("format", "fast", "best", "best, bare", "best, plain", "ggml ns", "fast ns", "best ns", "")
    lines = [header, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    bare = ", ".join(sorted(BARE))
    print(f"  fast and best at most {AT_MOST}, of {bare} best, bare; plain: without importance, squared errors")


def main(as_json: bool, names: Sequence[str]) -> int:
    """Measures and prints; returns 1 where a level is worse than ggml."""
    chosen = [row for row in CODECS.values() if row.format.quantized and (not names or row.format.name in names)]
    with one_core():
        rows = [measure(row) for row in chosen]
    if as_json:
        print(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print_table(rows)
    return int(not all(row.is_met for row in rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Errors of the levels of search against ggml's C functions.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help="only these formats")
    arguments = parser.parse_args()
    sys.exit(main(arguments.json, arguments.formats))

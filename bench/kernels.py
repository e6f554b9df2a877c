"""Speed of the CPU kernels per core against ggml's own C functions, on the same data in the same run.

Usage: `python -m bench.kernels [--json] [FORMAT ...]`. For every format: millions of weights per second of one core,
ours and ggml's (what llama-quantize calls, in xllamacpp's shared object), measured in turns, medians; the quotient
beside its target; and the error of ours as a multiple of ggml's. Formats that use importance are measured without and
with it, those that cannot do without it only with. Ours allocate their results, ggml's write into given arrays. Fewer
weights are given to whoever is slow. Then what more threads give, and what compiling costs at the first start and at
the second.

Everything is processor time, which hardly depends on what else the machine does. A missed quotient fails the run; a
missed start is printed, no more.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.report import Figure, machine, show
from kernels.codecs import CODECS, Codec
from tests import ggml_oracle

ELEMENTS, ROW = 1 << 21, 2048
ROUNDS = 5
# A measurement repeats its call until this long, so that the clock does not matter; and none of its calls is longer.
MIN_SECONDS, MAX_SECONDS = 0.02, 0.04
PROBE = 8 * ROW
THREADS_TYPE = "Q4_K"

# How many times ggml's speed encoding should reach, without importance and with it; formats without a row have no
# target.
ENCODE_TARGETS = {
    **dict.fromkeys(("Q4_0", "Q8_0"), 1.5),
    **dict.fromkeys(("Q4_1", "Q5_0", "Q5_1"), 1),
    **dict.fromkeys(("Q2_K", "Q4_K", "Q5_K", "IQ3_XXS", "IQ3_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_S", "IQ1_M"), 8),
    "Q3_K": 5,
    "Q6_K": 6,
    **dict.fromkeys(("IQ4_NL", "IQ4_XS"), 15),
    **dict.fromkeys(("MXFP4", "NVFP4", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"), 3),
}
WEIGHTED_TARGETS = ENCODE_TARGETS | dict.fromkeys(("Q4_0", "Q4_1", "Q5_0", "Q5_1"), 5)
ERROR_TARGET = 1.001

FIRST_CALL = """
import sys, time, numba, numpy, platformdirs
start = time.process_time()
from kernels.cpu import kquants
kquants.encode_q4_k(numpy.ones((2, 256), numpy.float32))
print(time.process_time() - start)
"""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One operation on one format: millions of weights per second on one core, and their quotient."""

    operation: str
    format: str
    ours: float
    ggml: float
    target: float | None
    error_ratio: float | None = None

    @property
    def ratio(self) -> float:
        """Our speed as a multiple of ggml's."""
        return self.ours / self.ggml

    def verdict(self) -> str:
        """Whether the targets are met, in words; empty where there is none."""
        if self.target is None:
            return ""
        slow = self.ratio < self.target
        wrong = self.error_ratio is not None and self.error_ratio > ERROR_TARGET
        return "MISSED" if slow or wrong else "met"

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        target = "" if self.target is None else f">= {self.target:g}x"
        error = "" if self.error_ratio is None else f"{self.error_ratio:.5f}"
        speeds = f"{self.ours:.0f}", f"{self.ggml:.0f}", f"{self.ratio:.1f}x"
        return self.operation, self.format, *speeds, target, error, self.verdict()


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep the calling thread on one core, where the system offers that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def seconds_per_call(call: Call, clock: Callable[[], float]) -> float:
    """Mean of as many calls as fill the shortest measurement."""
    calls, start = 0, clock()
    while (elapsed := clock() - start) < MIN_SECONDS or calls == 0:
        call()
        calls += 1
    return elapsed / calls


def limited(call: Callable[[int], object], elements: int) -> tuple[Call, int]:
    """A call with as many of `elements` weights, whole rows, as take at most MAX_SECONDS; and how many those are."""
    call(PROBE)
    start = time.thread_time()
    call(PROBE)
    affordable = int(MAX_SECONDS / max(time.thread_time() - start, 1e-9) * PROBE)
    fewer = max(PROBE, min(elements, affordable // ROW * ROW))
    return lambda: call(fewer), fewer


def speeds(ours: Callable[[int], object], ggml: Callable[[int], object]) -> tuple[float, float]:
    """Median speeds in millions of weights per second of calls with a number of weights, measured in turns."""
    calls = [limited(call, ELEMENTS) for call in (ours, ggml)]
    # Time of this thread on its core, so that other programs do not count.
    times = [[seconds_per_call(call, time.thread_time) for call, _ in calls] for _ in range(ROUNDS)]
    columns = zip(zip(*times, strict=True), calls, strict=True)
    own, other = (elements / statistics.median(column) / 1e6 for column, (_, elements) in columns)
    return own, other


def weighted_squared_error(x: Floats, y: Floats, importance: Floats | None) -> float:
    """Σ w·(x - y)² of rows in float64, w being importance or 1."""
    difference = (x.astype(np.float64) - y) ** 2
    return float(np.sum(difference if importance is None else difference * importance))


@dataclass(frozen=True, slots=True)
class Subject:
    """One format with data: rows of weights, importance of their columns or None, our functions and ggml's."""

    codec: Codec
    weights: Floats
    importance: Floats | None

    def function(self, name: str) -> Callable[..., npt.NDArray[Any]]:
        """A function of the compiled backend."""
        found: Callable[..., npt.NDArray[Any]] = getattr(
            importlib.import_module(f"kernels.cpu.{self.codec.module}"), name
        )
        return found

    def encode(self, elements: int) -> Bytes:
        """Our blocks of so many weights."""
        size = self.codec.format.elements
        options = {} if self.importance is None else {"importance": self.importance.reshape(-1, size)}
        blocks = self.weights[: elements // ROW].reshape(-1, size)
        return self.function(self.codec.encode)(blocks, threads=1, **options)

    def encode_by_ggml(self, elements: int) -> Bytes:
        """What ggml makes of so many weights."""
        rows = ggml_oracle.quantize_chunk(self.codec.format.name, self.weights[: elements // ROW], self.importance)
        return rows.reshape(-1, self.codec.format.bytes)

    def error_ratio(self) -> float:
        """Our (weighted) squared error as a multiple of ggml's, on as many weights as ggml encodes in a moment."""
        _, elements = limited(self.encode_by_ggml, ELEMENTS // 4)
        x = self.weights[: elements // ROW]
        blocks = self.encode(elements), self.encode_by_ggml(elements)
        decoded = (ggml_oracle.decode(self.codec.format.name, part).reshape(x.shape) for part in blocks)
        own, other = (weighted_squared_error(x, y, self.importance) for y in decoded)
        return own / other

    def encoding(self) -> Row:
        """How fast and how well blocks are made."""
        name, weighted = self.codec.format.name, self.importance is not None
        target = (WEIGHTED_TARGETS if weighted else ENCODE_TARGETS).get(name)
        operation = "encode, importance" if weighted else "encode"
        return Row(operation, name, *speeds(self.encode, self.encode_by_ggml), target, self.error_ratio())

    def decoding(self) -> Row:
        """How fast blocks are read; random ones, which do not have to be made first."""
        fmt, decode = self.codec.format, self.function(self.codec.decode)
        n_blocks = ELEMENTS // fmt.elements
        blocks = np.random.default_rng(1).integers(0, 256, (n_blocks, fmt.bytes), dtype=np.uint8)
        values = np.empty((n_blocks, fmt.elements), np.float32)

        def by_ggml(elements: int) -> None:
            part = slice(elements // fmt.elements)
            ggml_oracle.decode_into(fmt.name, blocks[part], values[part])

        def ours(elements: int) -> Floats:
            return decode(blocks[: elements // fmt.elements], threads=1)

        return Row("decode", fmt.name, *speeds(ours, by_ggml), None)


def subjects(names: list[str]) -> list[Subject]:
    """What is measured: the compiled formats, those that use importance without it and with it."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((ELEMENTS // ROW, ROW), dtype=np.float32) * np.float32(0.02)
    importance = (random.gamma(0.5, 1.0, ROW) ** 2).astype(np.float32)
    compiled = [row for row in CODECS.values() if "cpu" in row.backends and row.format.name != "F32"]
    chosen = [row for row in compiled if not names or row.format.name in names]
    plain = [Subject(row, weights, None) for row in chosen if row.importance != "required"]
    able = [row for row in chosen if row.importance != "ignored" and "cpu" in row.weighted]
    return plain + [Subject(row, weights, importance) for row in able]


def compare(names: list[str]) -> list[Row]:
    """Encoding of every subject, then decoding of every format."""
    chosen = subjects(names)
    formats = {subject.codec.format.name: subject for subject in chosen}
    return [*(subject.encoding() for subject in chosen), *(subject.decoding() for subject in formats.values())]


def scaling() -> list[tuple[int, float]]:
    """(threads, millions of weights per second) of encoding with 1, 2, 4, … threads up to all cores."""
    module = importlib.import_module("kernels.cpu.kquants")
    parallel = importlib.import_module("kernels.cpu.parallel")
    cores = parallel.available_threads()
    counts = sorted({cores, *(1 << k for k in range(cores.bit_length()) if 1 << k <= cores)})
    shape = ELEMENTS // CODECS[THREADS_TYPE].format.elements, CODECS[THREADS_TYPE].format.elements
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def speed(threads: int) -> float:
        return ELEMENTS / seconds_per_call(lambda: module.encode_q4_k(x, threads=threads), time.perf_counter) / 1e6

    return [(threads, statistics.median(speed(threads) for _ in range(ROUNDS))) for threads in counts]


def first_calls() -> tuple[float, float]:
    """Seconds of import and first encoding of Q4_K beyond `import numba`: with an empty cache, and with a full one."""
    with tempfile.TemporaryDirectory() as folder:
        command, environment = [sys.executable, "-c", FIRST_CALL], os.environ | {"NUMBA_CACHE_DIR": folder}
        runs = [subprocess.run(command, env=environment, capture_output=True, check=True) for _ in range(4)]
    cold, *warm = (float(run.stdout) for run in runs)
    return cold, min(warm)


def print_table(rows: list[Row]) -> None:
    """The comparison as a table."""
    print(f"CPU kernels, millions of weights per second of one core\n  {machine()}")
    header = ("", "format", "ours", "ggml", "ratio", "target", "error", "")
    lines = [header, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f"  error: squared error (with importance, weighted by it) of ours / ggml's, target at most {ERROR_TARGET}")


def main(as_json: bool, names: list[str]) -> int:
    """Measures and prints; returns 1 where an encoding is slower or worse than its target."""
    with one_core():
        rows = compare(names)
    threads, (cold, warm) = scaling(), first_calls()
    missed = any(row.verdict() == "MISSED" for row in rows)
    if as_json:
        results = [asdict(row) | {"ratio": row.ratio, "verdict": row.verdict()} for row in rows]
        report = {"machine": machine(), "rows": results, "threads": threads, "cold_s": cold, "warm_s": warm}
        print(json.dumps(report, indent=1))
        return int(missed)
    print_table(rows)
    line = ", ".join(f"{count} thread{'s' * (count > 1)} {speed:.0f}" for count, speed in threads)
    print(f"  {THREADS_TYPE} encoding: {line}")
    figures = [
        Figure("first start, code compiled", cold, "s", 6, at_most=True),
        Figure("later starts, code from the cache", warm, "s", 0.2, at_most=True),
    ]
    show("Import and first encoding of Q4_K, beyond `import numba`", figures)
    return int(missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Speed of the CPU kernels against ggml's C functions.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help="only these formats")
    arguments = parser.parse_args()
    sys.exit(main(arguments.json, arguments.formats))

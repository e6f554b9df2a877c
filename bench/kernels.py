"""Speed of the CPU kernels per core against ggml's own C functions, on the same data in the same run.

Usage: `python -m bench.kernels [--json]`. For every format: millions of weights per second of one core, ours and
ggml's (the reference functions in xllamacpp's shared object), measured in turns, medians; the quotient beside its
target; and the squared error of ours as a multiple of ggml's. Ours allocate their results, ggml's write into given
arrays. Then what more threads give, and what compiling costs at the first start and at the second.
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

import numpy as np
import numpy.typing as npt

from bench.report import Figure, machine, show
from kernels.codecs import CODECS, Codec
from tests import ggml_oracle

ELEMENTS = 1 << 21
ROUNDS = 7
# A measurement repeats its call until this long, so that the clock does not matter.
MIN_SECONDS = 0.02
THREADS_TYPE = "Q4_K"

# How many times ggml's speed encoding should reach; formats without a row have no target.
ENCODE_TARGETS = {"Q4_0": 1, "Q4_1": 1, "Q5_0": 1, "Q5_1": 1, "Q8_0": 1, "Q4_K": 5, "Q5_K": 5, "Q6_K": 4}
ERROR_TARGET = 1.001

FIRST_CALL = """
import sys, time, numba, numpy, platformdirs
start = time.perf_counter()
from kernels.cpu import kquants
kquants.encode_q4_k(numpy.ones((2, 256), numpy.float32))
print(time.perf_counter() - start)
"""

Floats = npt.NDArray[np.float32]
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


def speeds(ours: Call, ggml: Call) -> tuple[float, float]:
    """Median speeds in millions of weights per second, measured in turns after one call of each."""
    ours()
    ggml()
    # Time of this thread on its core, so that other programs do not count.
    times = [tuple(seconds_per_call(call, time.thread_time) for call in (ours, ggml)) for _ in range(ROUNDS)]
    median_ours, median_ggml = (statistics.median(column) for column in zip(*times, strict=True))
    return ELEMENTS / median_ours / 1e6, ELEMENTS / median_ggml / 1e6


def squared_error(x: Floats, y: Floats) -> float:
    """Σ (x - y)² in float64."""
    difference = x.astype(np.float64) - y
    return float(np.sum(difference * difference))


def compare(row: Codec, weights: Floats) -> list[Row]:
    """Encoding and decoding of one format, ours and ggml's."""
    name, module = row.format.name, importlib.import_module(f"kernels.cpu.{row.module}")
    encode, decode = getattr(module, row.encode), getattr(module, row.decode)
    x = weights.reshape(-1, row.format.elements)
    theirs, values = ggml_oracle.encode(name, x), np.empty_like(x)
    own, other = (squared_error(x, ggml_oracle.decode(name, blocks)) for blocks in (encode(x), theirs))
    encoding = speeds(lambda: encode(x, threads=1), lambda: ggml_oracle.encode_into(name, x, theirs))
    decoding = speeds(lambda: decode(theirs, threads=1), lambda: ggml_oracle.decode_into(name, theirs, values))
    return [
        Row("encode", name, *encoding, ENCODE_TARGETS.get(name), own / other),
        Row("decode", name, *decoding, None),
    ]


def scaling(weights: Floats) -> list[tuple[int, float]]:
    """(threads, millions of weights per second) of encoding with 1, 2, 4, … threads up to all cores."""
    module = importlib.import_module("kernels.cpu.kquants")
    parallel = importlib.import_module("kernels.cpu.parallel")
    cores = parallel.available_threads()
    counts = sorted({cores, *(1 << k for k in range(cores.bit_length()) if 1 << k <= cores)})
    x = weights.reshape(-1, CODECS[THREADS_TYPE].format.elements)

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
    print(f"  error: squared error of ours / ggml's, target at most {ERROR_TARGET}")


def main(as_json: bool) -> int:
    """Measures and prints; returns 1 where a target is missed."""
    weights = np.random.default_rng(0).standard_normal(ELEMENTS, dtype=np.float32) * np.float32(0.02)
    with one_core():
        pairs = [compare(row, weights) for row in CODECS.values() if "cpu" in row.backends and row.format.name != "F32"]
    rows = [row for column in zip(*pairs, strict=True) for row in column]
    threads, (cold, warm) = scaling(weights), first_calls()
    missed = sum(row.verdict() == "MISSED" for row in rows)
    if as_json:
        results = [asdict(row) | {"ratio": row.ratio, "verdict": row.verdict()} for row in rows]
        report = {"machine": machine(), "rows": results, "threads": threads, "cold_s": cold, "warm_s": warm}
        print(json.dumps(report, indent=1))
        return min(missed, 1)
    print_table(rows)
    line = ", ".join(f"{count} thread{'s' * (count > 1)} {speed:.0f}" for count, speed in threads)
    print(f"  {THREADS_TYPE} encoding: {line}")
    figures = [
        Figure("first start, code compiled", cold, "s", 6, at_most=True),
        Figure("later starts, code from the cache", warm, "s", 0.3, at_most=True),
    ]
    return min(missed + show("Import and first encoding of Q4_K, beyond `import numba`", figures), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Speed of the CPU kernels against ggml's C functions.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    sys.exit(main(parser.parse_args().json))

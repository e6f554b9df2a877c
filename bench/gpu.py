"""What a GPU does: gigabytes of F16 weights a second from main memory to codes, against what its memory can copy.

Usage: `python -m bench.gpu [--json] [--gigabytes N] [--fit fast|best] [FORMAT ...]`. As many bytes as an 8B model's
weights have (16 GB) go through in chunks, as with `quantize --device cuda`: to the device, decoded, searched,
measured, the codes back. Beside that: the search alone, of weights that are on the device, by Triton's kernels and by
torch; each without importance and with it. Nothing is read or written, and no figure takes longer than half a minute.
Without a CUDA device the benchmark says so and ends.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch

from bench.report import Figure, machine, show
from kernels import dispatch
from kernels.codecs import CODECS, Fit, Level
from kernels.gpu import fusing
from kernels.gpu.transfer import device, to_device

FORMATS = ("Q4_0", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "IQ3_S", "IQ2_S", "MXFP4", "TQ2_0")
# As the pipeline cuts a tensor.
ROW = 4096
CHUNK = dispatch.BACKENDS["gpu"].chunk_elements // ROW * ROW
GIGABYTES = 16.0
LONGEST_S = 30.0
F16_BYTES = 2
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One format: gigabytes of F16 a second through everything, and through the search alone by Triton and by torch."""

    format: str
    weighted: bool
    whole: float
    search: float
    search_torch: float


def wait() -> None:
    """Until the device has done what it was asked to."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def rate(call: Call, bytes_per_call: int, total: float) -> float:
    """Gigabytes a second of a call repeated for so many bytes, or for as long as is allowed."""
    call()  # compiles, and takes memory
    wait()
    began, calls = time.perf_counter(), 0
    while calls * bytes_per_call < total and time.perf_counter() - began < LONGEST_S:
        call()
        calls += 1
    wait()
    return calls * bytes_per_call / 1e9 / (time.perf_counter() - began)


@contextmanager
def without_triton() -> Iterator[None]:
    """Every search in torch."""
    before, fusing.DEVICE = fusing.DEVICE, "none"
    try:
        yield
    finally:
        fusing.DEVICE = before


def measure(name: str, fit: Fit, weighted: bool, total: float) -> Row:
    """All figures of a format."""
    level = CODECS[name].at(fit)
    x = (np.random.default_rng(0).standard_normal((CHUNK // ROW, ROW), np.float32) * 0.02).astype(np.float16)
    means = np.random.default_rng(1).gamma(0.5, 2.0, ROW).astype(np.float32) if weighted else None

    def everything() -> object:
        there = dispatch.decode_in_place("F16", x.view(np.uint8), ROW, backend="gpu")
        return dispatch.encode_measured(name, there, importance=means, fit=fit, backend="gpu")

    search = _search(name, level, x.astype(np.float32), means)
    whole, alone = rate(everything, x.nbytes, total), rate(search, x.nbytes, total)
    with without_triton():
        return Row(name, weighted, whole, alone, rate(search, x.nbytes, total))


def _search(name: str, level: Level, x: np.ndarray, means: np.ndarray | None) -> Call:
    elements = CODECS[name].format.elements
    function = getattr(importlib.import_module(f"kernels.gpu.{level.module}"), CODECS[name].encode)
    tensors = [to_device(each.reshape(-1, elements)) for each in (x, means) if each is not None]
    return lambda: function(*tensors)


def cases(fit: Fit, names: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The formats that the device searches for, without importance and with it."""
    for name in names:
        level = CODECS[name].at(fit)
        if "gpu" in level.backends and level.importance != "required":
            yield name, False
        if "gpu" in level.weighted and level.importance != "ignored":
            yield name, True


def copies(total: float) -> dict[str, float]:
    """Gigabytes a second that are copied within the device's memory, and into it from arrays."""
    host = np.ones(CHUNK, np.float32)
    there = to_device(host)
    return {
        "copies within the device's memory": rate(there.clone, host.nbytes, total),
        "copies of arrays to the device": rate(lambda: to_device(host), host.nbytes, total),
    }


def main(arguments: Sequence[str]) -> int:
    """Measures and prints; 0, since there is no target."""
    parser = argparse.ArgumentParser(prog="bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES, help="of F16 weights, for every figure (16)")
    parser.add_argument("--fit", choices=("fast", "best"), default="fast", help="how hard is searched (fast)")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", default=FORMATS, help="only these formats")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("\nGPU: not measured, because PyTorch finds no CUDA device")
        return 0
    total = options.gigabytes * 1e9
    rows = [measure(name, options.fit, weighted, total) for name, weighted in cases(options.fit, options.formats)]
    found = {"device": torch.cuda.get_device_name(device()), "copies": copies(total)}
    if options.json:
        print(json.dumps(found | {"machine": machine(), "formats": [asdict(row) for row in rows]}))
        return 0
    figures = [Figure(name, value, "GB/s") for name, value in found["copies"].items()]
    figures += [figure for row in rows for figure in _figures(row)]
    return show(f"{found['device']}: F16 weights, level {options.fit}", figures)


def _figures(row: Row) -> list[Figure]:
    name = f"{row.format}, with importance" if row.weighted else row.format
    return [
        Figure(f"{name}: from main memory to codes", row.whole, "GB/s"),
        Figure(f"{name}: the search alone", row.search, "GB/s"),
        Figure(f"{name}: the search alone, in torch", row.search_torch, "GB/s"),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

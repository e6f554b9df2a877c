"""A short measurement of this machine: seconds per weight of every type a quantization needs, and per byte of disk.

Each operation is timed on one chunk of made-up weights, after a first call that compiles or loads its code; the best
of a few calls counts. What was timed is kept in the store, under keys that name processor, cores and kernels.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np

import kernels
from core import methods
from core.estimate.timing import How, Operation
from core.jobs import Fit
from core.progress import Progress
from core.store import Store, data_dir
from kernels import dispatch
from kernels.blocks import FORMATS
from kernels.codecs import CODECS

ROW = 4096
ROWS = 256
CALLS, SOME_CALLS = 5, 3
ENOUGH_S = 0.8
DISK_BYTES = 32 << 20
SEED = 5


@cache
def machine_name() -> str:
    """Processor, cores and the state of the algorithms' source, in a few words: others are another machine."""
    digest = hashlib.sha256()
    for path in sorted(file for package in (kernels, methods) for file in Path(package.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return f"{_processor()}, {os.cpu_count()} cores, kernels {digest.hexdigest()[:8]}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def time_missing(wanted: Iterable[Operation], how: How, store: Store, progress: Progress) -> dict[str, float]:
    """Times what of `wanted` the store does not have yet, keeps it, and returns all speeds by their keys."""
    speeds = store.speeds()
    missing = sorted(operation for operation in wanted if how.key(operation) not in speeds)
    progress.stage("Timing this machine", len(missing), unit="measurements")
    for number, operation in enumerate(missing):
        progress.update(number, operation.type_name or operation.kind)
        seconds = {how.key(operation): time_operation(operation, how)}
        store.keep_speeds(seconds)
        speeds |= seconds
    return speeds


def time_operation(operation: Operation, how: How) -> float:
    """Seconds per weight, or per byte of the disk."""
    if operation.kind == "disk":
        return _disk_seconds() / DISK_BYTES
    if operation.kind not in ("decode", "encode", "measure"):
        from core.walk_speed import seconds_each  # torch, which the others do without

        return seconds_each(operation, how, _best_of_some)
    call = _calls(operation, how)
    call()
    return _best_of(call) / (ROW * ROWS)


def _best_of_some(call: Callable[[], object]) -> float:
    """The shortest of a few calls, however slow: what uses all cores is slow at times where others use them, too."""
    return _best_of(call, SOME_CALLS)


def _best_of(call: Callable[[], object], least: int = 1) -> float:
    """The shortest of a few calls; fewer of slow ones, but at least so many."""
    taken: list[float] = []
    while len(taken) < CALLS and (len(taken) < least or sum(taken) < ENOUGH_S):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _calls(operation: Operation, how: How) -> Callable[[], object]:
    """The operation on a chunk of weights, as the pipeline would call it."""
    x = np.random.default_rng(SEED).standard_normal((ROWS, ROW), np.float32) * np.float32(0.02)
    name, threads = operation.type_name, how.threads
    if operation.kind == "measure":
        return lambda: dispatch.measure(x, x, backend="auto", threads=threads)
    if operation.kind == "decode":
        if name not in FORMATS:
            return lambda: None  # cannot be read here, so it is copied as it is
        raw = np.zeros((ROWS, FORMATS[name].row_bytes(ROW)), np.uint8)
        return lambda: dispatch.decode(name, raw, ROW, backend=_backend(how, name, False), threads=threads)
    importance = np.linspace(0.5, 2, ROW, dtype=np.float32) if operation.weighted else None
    backend = _backend(how, name, operation.weighted)
    fit = _fit(how)
    return lambda: dispatch.encode_measured(name, x, importance=importance, fit=fit, backend=backend, threads=threads)


def _fit(how: How) -> Fit:
    return how.fit  # type: ignore[return-value]  # a How is made from options, whose levels these are


def _backend(how: How, name: str, weighted: bool) -> str:
    """The backend that the pipeline would take."""
    if how.device == "cpu":
        return "auto"
    level = CODECS[name].at(_fit(how))
    able = level.weighted if weighted else level.backends
    return "gpu" if "gpu" in able else "auto"


def _disk_seconds() -> float:
    """Writing, hashing, syncing and reading back a file in the data folder, as an output is."""
    folder = data_dir()
    folder.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(SEED).bytes(DISK_BYTES)
    began = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(data)
        hashlib.sha256(data).digest()
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        hashlib.sha256(file.read()).digest()
    return time.perf_counter() - began

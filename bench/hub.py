"""Downloads from a Hub on this computer beside `hf download` of the same file: throughput, and memory for a large one.

Usage: `python -m bench.hub [--gigabytes N] [--rounds N]`. Both are timed as processes, start included, one after
another in each round, and the best of each counts. Ours also checks every byte by SHA-256, and waits for the disk;
theirs does neither. The Hub is a process of its own and serves a file of zeros from the memory of the system
(`--serve FILE`). Downloads go into memory, too (/dev/shm) where there is room: a disk would be what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

import psutil

from bench.report import Figure, show
from tests.hub_server import HubServer, Repo

MEMORY = Path("/dev/shm")
ROOT = Path(__file__).parents[1]
REPO, FILE = "bench/large", "model.gguf"
PIECE = 1 << 20
# The targets of the project.
LEAST_SPEED, MOST_MEMORY_MB = 1.0, 150.0

MEASURED = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([done.returncode, done.stderr[-2000:], seconds, peak]))
"""


def serve(path: Path) -> None:
    """A Hub with one file, until standard input ends; prints its address."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        hub = HubServer({REPO: Repo({FILE: content, "README.md": b"# Large"}, tags=("gguf",))})
        hub.chunk = PIECE
        with hub:
            hub.repos[REPO].digest(FILE)
            print(hub.endpoint, flush=True)
            sys.stdin.read()


@contextmanager
def server(path: Path) -> Iterator[str]:
    """The address of a Hub in a process of its own."""
    command = [sys.executable, "-m", "bench.hub", "--serve", str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            assert process.stdin is not None
            process.stdin.close()


def timed(command: Sequence[str], endpoint: str, cache: Path) -> tuple[float, int]:
    """Seconds and peak memory of a download into an empty cache. Raises RuntimeError where it fails."""
    shutil.rmtree(cache, ignore_errors=True)
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], env=environment, capture_output=True, text=True, check=True
    )
    code, said, seconds, peak = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{command[0]} ended with {code}: {said}")
    return seconds, peak


def main() -> int:
    """Prints the figures; 1 where one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the file (4)")
    parser.add_argument("--rounds", type=int, default=2, help="of both, one after another (2)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    n_bytes = round(options.gigabytes * 1e9)
    ours = [sys.executable, str(ROOT / "main.py"), "download", REPO]
    theirs = [str(Path(sysconfig.get_path("scripts")) / "hf"), "download", REPO, FILE]
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    peaks = []
    in_memory = has_room(n_bytes)
    with (
        tempfile.NamedTemporaryFile(prefix="bitwright-bench-") as served,
        tempfile.TemporaryDirectory(prefix="bitwright-bench-", dir=MEMORY if in_memory else None) as folder,
    ):
        place = Path(folder)
        served.truncate(n_bytes)
        with server(Path(served.name)) as endpoint:
            for _ in range(options.rounds):
                seconds, _ = timed(theirs, endpoint, place / "cache")
                times["theirs"].append(seconds)
                seconds, peak = timed(ours, endpoint, place / "cache")
                times["ours"].append(seconds)
                peaks.append(peak)
    best = {name: min(found) for name, found in times.items()}
    figures = [
        Figure("hf download", n_bytes / best["theirs"] / 1e6, "MB/s"),
        Figure("ours, SHA-256 checked", n_bytes / best["ours"] / 1e6, "MB/s"),
        Figure("ours against hf download", best["theirs"] / best["ours"], "times as fast", LEAST_SPEED),
        Figure(f"peak memory for {options.gigabytes:g} GB", max(peaks) / 1e6, "MB", MOST_MEMORY_MB, at_most=True),
    ]
    where = "into memory" if in_memory else "onto the disk"
    return 1 if show(f"Downloads of {options.gigabytes:g} GB {where}, best of {options.rounds}", figures) else 0


def has_room(n_bytes: int) -> bool:
    """Whether a download fits into memory beside everything else."""
    return MEMORY.is_dir() and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > 2 * n_bytes


if __name__ == "__main__":
    sys.exit(main())

"""Whole files side by side with llama-quantize: the same F16 model, the same types, the same threads, in one run.

Usage: `python -m bench.whole [--llama-quantize PATH] [--threads N] [--rounds N] [--types A,B] [--json]`. PATH is
llama.cpp's program; without it the one on the search path is taken, and without any the benchmark says so and ends.
Both programs are timed as processes, start included; ours also measures every tensor's error, waits for the disk, reads
the file back from it and compares, which llama-quantize does not. Each round runs both one after another, and the best
of each counts. A small model of the same shape goes first, so that compiling kernels is not part of the figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.memory import GIGABYTE, SMALL, Measured, quantize, write_model
from bench.report import Figure, machine, show

PROGRAM = "llama-quantize"
TYPES = ("Q4_K_M", "Q8_0", "Q6_K", "Q3_K_M", "IQ4_XS")
# The target of the project: a quarter of llama-quantize's time, for the type that most people take.
TARGET_TYPE, TARGET_SHARE = "Q4_K_M", 0.25


@dataclass(frozen=True, slots=True)
class Compared:
    """One type: our figures, and the seconds that llama-quantize took."""

    type: str
    ours: Measured
    theirs_seconds: float

    @property
    def share(self) -> float:
        """Our time as a share of llama-quantize's, both from start to end of the process."""
        return self.ours.wall_seconds / self.theirs_seconds


def compare(program: str, source: Path, kind: str, threads: int, rounds: int) -> Compared:
    """The best times of several rounds in which both programs take turns."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(llama_quantize(program, source, kind, threads))
        ours.append(quantize(source, threads, kind))
    return Compared(kind, min(ours, key=lambda one: one.wall_seconds), min(theirs))


def llama_quantize(program: str, source: Path, kind: str, threads: int) -> float:
    """Seconds that llama-quantize takes. Raises CalledProcessError where it fails."""
    output = source.with_suffix(".theirs.gguf")
    command = [program, str(source), str(output), kind, str(threads)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    output.unlink()
    return seconds


def measure(program: str, types: list[str], threads: int, rounds: int) -> list[Compared]:
    """Writes both models into a temporary folder and compares all types on the large one."""
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as folder:
        small, large = Path(folder) / "small.gguf", Path(folder) / "gigabyte.gguf"
        write_model(small, SMALL)
        write_model(large, GIGABYTE)
        for kind in types:
            quantize(small, threads, kind)
        return [compare(program, large, kind, threads, rounds) for kind in types]


def figures(compared: Compared) -> list[Figure]:
    """The rows of one type."""
    target = TARGET_SHARE if compared.type == TARGET_TYPE else None
    return [
        Figure(f"{compared.type}: llama-quantize", compared.theirs_seconds, "s"),
        Figure(f"{compared.type}: this program, verified", compared.ours.wall_seconds, "s"),
        Figure(f"{compared.type}: share of llama-quantize's time", compared.share, "", target, at_most=True),
    ]


def main(arguments: list[str]) -> int:
    """Measures and prints; returns 1 where the target was missed."""
    parser = argparse.ArgumentParser(prog="bench.whole", description=__doc__.splitlines()[0])
    parser.add_argument("--llama-quantize", default=shutil.which(PROGRAM), metavar="PATH", help="llama.cpp's program")
    parser.add_argument("--threads", type=int, default=2, help="threads of both programs (2)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is run (2)")
    parser.add_argument("--types", default=",".join(TYPES), help="types or mixes, separated by commas")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(arguments)
    if options.llama_quantize is None:
        print(f"\nWhole files: not compared, because {PROGRAM} was not found (name it: --llama-quantize PATH)")
        return 0
    compared = measure(options.llama_quantize, options.types.split(","), options.threads, options.rounds)
    if options.json:
        print(json.dumps({"machine": machine(), "types": [asdict(one) | {"share": one.share} for one in compared]}))
        return 0
    title = f"Whole F16 file of {compared[0].ours.source_bytes / 1e9:.2f} GB with {options.threads} threads"
    return int(show(title, [row for one in compared for row in figures(one)]) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

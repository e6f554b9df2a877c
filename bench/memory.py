"""Peak memory and speed of quantizing a model of about 1 GB to Q4_K_M, as a user would on the command line.

Usage: `python -m bench.memory [--json] [--threads N] [--gigabytes N] [--to A,B]`.

The model is written to a temporary folder first: a Llama shape whose rows fit every block format, F16, weights drawn
from a normal distribution with a fixed seed. It is quantized by `main.py quantize` in a child process, whose peak is
the largest resident set that the system's wait4 reports. A small model of the same shape goes first, so that compiling
the kernels (once per installation) is not part of the figures.
With --gigabytes the model gets as many layers as make it that large, on a disk that has room for it and the output.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import gguf
import numpy as np

from bench.report import Figure, machine, show

ROOT = Path(__file__).resolve().parents[1]
TARGET_TYPE = "Q4_K_M"
SEED = 20
# Weights made at a time: this process has to stay smaller than the one it measures.
CHUNK = 1 << 20
# As large as weights of this width usually are.
SCALE = 0.02
# What the program itself may take, and what it may take for each weight of the largest tensor.
ALLOWED_BYTES, ALLOWED_PER_WEIGHT = 700e6, 10
KIB = 1024 if sys.platform == "linux" else 1  # the unit of ru_maxrss


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers that fix a Llama model's tensors."""

    width: int
    feed_forward: int
    kv_width: int
    vocabulary: int
    layers: int
    head: int = 64

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape, numpy order."""
        yield "token_embd.weight", (self.vocabulary, self.width)
        for layer in range(self.layers):
            for name, shape in self.layer_tensors():
                yield f"blk.{layer}.{name}.weight", shape
        yield "output_norm.weight", (self.width,)
        yield "output.weight", (self.vocabulary, self.width)

    def layer_tensors(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of one layer's tensors."""
        return (
            ("attn_norm", (self.width,)),
            ("attn_q", (self.width, self.width)),
            ("attn_k", (self.kv_width, self.width)),
            ("attn_v", (self.kv_width, self.width)),
            ("attn_output", (self.width, self.width)),
            ("ffn_norm", (self.width,)),
            ("ffn_gate", (self.feed_forward, self.width)),
            ("ffn_up", (self.feed_forward, self.width)),
            ("ffn_down", (self.width, self.feed_forward)),
        )


GIGABYTE = Shape(width=2048, feed_forward=5632, kv_width=256, vocabulary=32_000, layers=9)
LAYER_WEIGHTS = sum(int(np.prod(shape)) for _, shape in GIGABYTE.layer_tensors())
SMALL = Shape(width=512, feed_forward=1536, kv_width=256, vocabulary=512, layers=1)


@dataclass(frozen=True, slots=True)
class Measured:
    """What quantizing took. seconds: the job alone; wall_seconds: the whole process, start included."""

    source_bytes: int
    bytes: int
    weights: int
    peak_bytes: int
    seconds: float
    wall_seconds: float

    @property
    def weights_per_second(self) -> float:
        """Weights per second of the job."""
        return self.weights / self.seconds


def shape_of(gigabytes: float) -> Shape:
    """The shape with as many layers as make an F16 file of about this size; at least one."""
    outside = 2 * GIGABYTE.vocabulary * GIGABYTE.width
    return replace(GIGABYTE, layers=max(1, round((gigabytes * 1e9 / 2 - outside) / LAYER_WEIGHTS)))


def allowed_bytes(shape: Shape) -> float:
    """How much memory a job may take, whatever the size of the file."""
    return ALLOWED_BYTES + ALLOWED_PER_WEIGHT * max(int(np.prod(dimensions)) for _, dimensions in shape.tensors())


def write_model(path: Path, shape: Shape) -> int:
    """Writes a model tensor by tensor and returns the number of its weights."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape.layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.width // shape.head)
    writer.add_head_count_kv(shape.kv_width // shape.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, dimensions in shape.tensors():
        kind = np.dtype(np.float32 if len(dimensions) == 1 else np.float16)
        writer.add_tensor_info(name, dimensions, kind, int(np.prod(dimensions)) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    # Behind the header, the tensors stand one after another, each padded to the alignment.
    generator = np.random.default_rng(SEED)
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % writer.data_alignment))
        for _, dimensions in shape.tensors():
            write_tensor(file, generator, dimensions)
            file.write(bytes(-file.tell() % writer.data_alignment))
    return sum(int(np.prod(dimensions)) for _, dimensions in shape.tensors())


def write_tensor(file: IO[bytes], generator: np.random.Generator, dimensions: tuple[int, ...]) -> None:
    """Writes one tensor's data: norms of ones in F32, everything else in F16, a chunk at a time."""
    left = int(np.prod(dimensions))
    if len(dimensions) == 1:
        file.write(np.ones(left, np.float32).data)
        return
    while left:
        weights = generator.standard_normal(min(left, CHUNK), np.float32)
        file.write((weights * np.float32(SCALE)).astype(np.float16).data)
        left -= weights.size


def quantize(source: Path, threads: int, kind: str = TARGET_TYPE) -> Measured:
    """Quantizes in a child process, into several types where `kind` names some, separated by commas.

    Raises CalledProcessError where that fails.
    """
    output = source.with_suffix("")
    output.mkdir()
    command = [sys.executable, str(ROOT / "main.py"), "quantize", str(source), "--to", kind]
    command += ["--out", str(output), "--threads", str(threads), "--json"]
    own = {f"BITWRIGHT_{name}_DIR": str(source.parent / name.lower()) for name in ("DATA", "CONFIG", "LOG")}
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile() as answer,
        subprocess.Popen(command, env=os.environ | own, stdout=answer, stderr=subprocess.DEVNULL) as child,
    ):
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
        answer.seek(0)
        results = json.load(answer)
    shutil.rmtree(output)
    results = results.get("results", [results])
    return Measured(
        source_bytes=source.stat().st_size,
        bytes=sum(result["bytes"] for result in results),
        weights=sum(tensor["elements"] for tensor in results[0]["tensors"]),
        peak_bytes=usage.ru_maxrss * KIB,
        seconds=results[0]["seconds"],
        wall_seconds=wall,
    )


def measure(shape: Shape, threads: int, kind: str) -> Measured:
    """Writes both models into a temporary folder, quantizes them, and returns the figures of the large one."""
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as folder:
        for name, made in (("small.gguf", SMALL), ("large.gguf", shape)):
            path = Path(folder) / name
            write_model(path, made)
            measured = quantize(path, threads, kind)
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    # A child's figure begins with the size of the process that started it.
    assert own_peak < measured.peak_bytes, "the benchmark itself was larger than what it measured"
    return measured


def main(arguments: list[str]) -> int:
    """Measures and prints; returns 1 where more memory was taken than is allowed."""
    parser = argparse.ArgumentParser(prog="bench.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--threads", type=int, default=0, help="0, the default, uses all cores")
    parser.add_argument("--gigabytes", type=float, metavar="N", help="size of the model (about 1)")
    parser.add_argument("--to", default=TARGET_TYPE, metavar="A,B", help=f"one or several types ({TARGET_TYPE})")
    options = parser.parse_args(arguments)
    shape = shape_of(options.gigabytes) if options.gigabytes else GIGABYTE
    measured = measure(shape, options.threads, options.to)
    if options.json:
        figures = asdict(measured) | {"weights_per_second": measured.weights_per_second, "machine": machine()}
        print(json.dumps(figures))
        return 0
    missed = show(
        f"Quantizing an F16 model of {measured.source_bytes / 1e9:.2f} GB to {options.to}",
        [
            Figure("peak memory", measured.peak_bytes / 2**20, "MiB", allowed_bytes(shape) / 2**20, at_most=True),
            Figure("share of the model in memory", 100 * measured.peak_bytes / measured.source_bytes, "%"),
            Figure("speed", measured.weights_per_second / 1e6, "M weights/s"),
            Figure("time of the job", measured.seconds, "s"),
            Figure("time of the process", measured.wall_seconds, "s"),
        ],
    )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

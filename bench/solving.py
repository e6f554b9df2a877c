"""Peak memory and time of GPTQ on a model of gigabytes, as a user would run it on the command line, beside its plan.

Usage: `python -m bench.solving [--layers N] [--samples N] [--length N] [--json]`.

The model is a wide Llama in bf16 with random weights, in shards, and the sample's tokenizer, in a temporary folder on a
disk that has room for it and the output. It is quantized by `main.py quantize --method gptq` in a child process, whose
peak is the largest resident set that the system's wait4 reports; what was planned is what `--dry-run` said before.
Allowed are two layers in float32, the largest moments three times, the hidden states, and what the program takes.
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.report import Figure, machine, show
from tests.core.hf_sample import build_hf_sample
from tests.core.hf_tiny import layer_shapes

ROOT = Path(__file__).resolve().parents[1]
WIDTH, FEED_FORWARD, HEADS, KV_HEADS, HEAD, VOCABULARY = 2048, 4096, 16, 4, 128, 49152
# Deep rather than wide: the weights must be more than what two layers and their moments take.
LAYERS, SAMPLES, LENGTH = 24, 4, 512
SEED, SCALE = 29, 0.02
# What Python takes with torch, transformers, numba and llama.cpp's tokenizer, and the activations of a few windows.
PROGRAM_BYTES = 900 << 20
FURTHEST_TIMES = 2.0
KIB = 1024 if sys.platform == "linux" else 1  # the unit of ru_maxrss
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the job took, in bytes and seconds, beside what was planned and what is allowed."""

    source_bytes: int
    peak_bytes: int
    planned_bytes: int
    allowed_bytes: int
    seconds: float
    planned_seconds: float


def shapes_of(number: int) -> Shapes:
    """The tensors of a layer by their names."""
    return layer_shapes(number, WIDTH, FEED_FORWARD, HEADS * HEAD, KV_HEADS * HEAD)


def files(layers: int) -> Iterator[tuple[str, Shapes]]:
    """Every shard with its tensors: one for each layer, and the ends."""
    count = layers + 1
    for number in range(layers):
        yield f"model-{number + 1:05}-of-{count:05}.safetensors", shapes_of(number)
    table = (VOCABULARY, WIDTH)
    ends: Shapes = {"model.embed_tokens.weight": table, "model.norm.weight": (WIDTH,), "lm_head.weight": table}
    yield f"model-{count:05}-of-{count:05}.safetensors", ends


def write_model(folder: Path, layers: int) -> None:
    """Writes the model; the sample's folder gives the tokenizer."""
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as place:
        sample = build_hf_sample(Path(place) / "sample")
        shutil.copytree(sample, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "num_hidden_layers": layers,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    random = torch.Generator().manual_seed(SEED)
    places: dict[str, str] = {}
    for file, shapes in files(layers):
        tensors = {name: _numbers(shape, random) for name, shape in shapes.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shapes, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _numbers(shape: tuple[int, ...], random: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return (SCALE * torch.randn(shape, generator=random)).to(torch.bfloat16)


def allowed(samples: int, length: int) -> int:
    """Bytes that a job may take: two layers in float32, the largest moments three times, hidden states, the program."""
    layer = sum(shape[0] * shape[1] for shape in shapes_of(0).values() if len(shape) > 1)
    return 4 * (2 * layer + 3 * FEED_FORWARD**2 + samples * length * WIDTH) + PROGRAM_BYTES


def measure(folder: Path, samples: int, length: int) -> Measured:
    """Plans and quantizes in child processes. Raises CalledProcessError where that fails."""
    words = ["quantize", str(folder / "model"), "--method", "gptq", "--export", "gptq", "--out", str(folder / "made")]
    words += ["--samples", str(samples), "--length", str(length), "--json"]
    plan = _run([*words, "--dry-run"], folder)[0]
    result, peak = _run(words, folder)
    return Measured(
        source_bytes=result["source_bytes"],
        peak_bytes=peak,
        planned_bytes=plan["memory_bytes"],
        allowed_bytes=allowed(samples, length),
        seconds=result["seconds"],
        planned_seconds=plan["preflight"]["seconds"] or 0.0,
    )


def _run(words: list[str], folder: Path) -> tuple[dict[str, Any], int]:
    """A command's answer and its peak."""
    command = [sys.executable, str(ROOT / "main.py"), *words]
    own = {f"BITWRIGHT_{name}_DIR": str(folder / name.lower()) for name in ("DATA", "CONFIG", "LOG")}
    with (
        tempfile.TemporaryFile() as answer,
        subprocess.Popen(command, env=os.environ | own, stdout=answer, stderr=subprocess.DEVNULL) as child,
    ):
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
        answer.seek(0)
        return json.load(answer), usage.ru_maxrss * KIB


def main(arguments: list[str]) -> int:
    """Measures and prints; 1 where more memory was taken than was planned or is allowed, or the time was far off."""
    parser = argparse.ArgumentParser(prog="bench.solving", description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=LAYERS, metavar="N", help=f"of the model ({LAYERS})")
    parser.add_argument("--samples", type=int, default=SAMPLES, metavar="N", help=f"windows of the text ({SAMPLES})")
    parser.add_argument("--length", type=int, default=LENGTH, metavar="N", help=f"tokens of a window ({LENGTH})")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as name:
        # In a process of its own: a child's figure begins with the size of the process that started it.
        code = "import sys, pathlib, bench.solving as own; own.write_model(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
        model = str(Path(name) / "model")
        subprocess.run([sys.executable, "-c", code, model, str(options.layers)], check=True, cwd=ROOT)
        measured = measure(Path(name), options.samples, options.length)
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    assert own_peak < measured.peak_bytes, "the benchmark itself was larger than what it measured"
    if options.json:
        print(json.dumps(asdict(measured) | {"machine": machine()}))
        return 0
    off = max(measured.planned_seconds / measured.seconds, measured.seconds / max(measured.planned_seconds, 1e-9))
    missed = show(
        f"GPTQ on a bf16 model of {measured.source_bytes / 1e9:.2f} GB, {options.samples} x {options.length} tokens",
        [
            Figure("peak memory", measured.peak_bytes / 2**20, "MiB", measured.allowed_bytes / 2**20, at_most=True),
            Figure("the same against the plan", measured.peak_bytes / measured.planned_bytes, "times", 1.0, True),
            Figure("its weights, of the memory allowed", measured.source_bytes / measured.allowed_bytes, "times", 1.0),
            Figure("share of the model in memory", 100 * measured.peak_bytes / measured.source_bytes, "%"),
            Figure("time of the job", measured.seconds, "s"),
            Figure("time planned before any job", off, "times off", FURTHEST_TIMES, at_most=True),
        ],
    )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

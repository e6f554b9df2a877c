"""Predicted against measured memory of real loads, and predicted against measured time of real quantizations.

Usage: `python -m bench.estimate [--json]`. Each model is loaded by llama.cpp in a worker process of its own, as the
Chat page does it; measured is the resident memory after loading, predicted what the estimate says without any
correction by earlier loads. The models: the bundled sample, and random ones of other families, written to a temporary
folder. Times: the estimate after one job on this machine, against the next jobs; of jobs that look at a text, on the
sample as a folder, both before any job, from a short measurement alone, and after one of the same kind.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.random_model import RandomModel, write_random
from bench.report import Figure, machine, show
from core.catalog import sample_path
from tests.core.hf_sample import build_hf_sample

ROOT = Path(__file__).resolve().parents[1]
QWEN2 = RandomModel("qwen2", 1024, 2816, layers=20, heads=16, kv_heads=4, head=64, biases=True)
GEMMA3 = RandomModel(
    "gemma3",
    width=1024,
    feed_forward=4096,
    layers=18,
    heads=8,
    kv_heads=2,
    head=256,
    extra={"attention.sliding_window": 512},
    norms={"post_attention_norm": 1024, "post_ffw_norm": 1024, "attn_q_norm": 256, "attn_k_norm": 256},
)
CONTEXTS = (2048, 8192)
CACHES = ("f16", "q8_0")
FURTHEST_PERCENT = 10.0
FURTHEST_TIMES = 1.5
FIRST_TYPE = "Q6_K"
TIMED = ("Q8_0", "Q4_K_M", "Q4_0", "Q5_K_M")
# What before any job of its kind is aimed at.
FURTHEST_FIRST = 2.0
# Jobs that look at a text: their name, and the command with SRC, OUT and FILE, the sample quantized before.
WINDOWS = "--samples 8"
WALKS: tuple[tuple[str, str], ...] = (
    ("GPTQ", f"quantize SRC --method gptq --export gptq --group 64 {WINDOWS} --out OUT"),
    ("AWQ", f"quantize SRC --method awq --export awq --group 64 {WINDOWS} --out OUT"),
    ("SmoothQuant", f"quantize SRC --method smoothquant --export compressed-tensors {WINDOWS} --out OUT"),
    ("static activations", "quantize SRC --method int --bits 8 --activations static --export compressed-tensors "
     f"{WINDOWS} --out OUT"),
    ("LLM.int8", f"quantize SRC --method llm-int8 --export bitsandbytes {WINDOWS} --out OUT"),
    ("GPTQ to Q4_0", f"quantize SRC --method gptq --to Q4_0 {WINDOWS} --out OUT.gguf"),
    ("importance matrix", "imatrix SRC --chunks 8 --out OUT.gguf"),
    ("evaluation", "evaluate FILE --against SRC --quick"),
    ("sensitivity", "sensitivity SRC --to Q4_0 --by layer --context 128"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """One prediction beside what was measured, in bytes or seconds."""

    name: str
    predicted: float
    measured: float

    @property
    def off_percent(self) -> float:
        """How far the prediction is off, in percent of what was measured."""
        return 100 * abs(self.predicted - self.measured) / self.measured

    @property
    def off_times(self) -> float:
        """The same as a factor of at least 1."""
        return max(self.predicted / self.measured, self.measured / self.predicted)


def load(path: Path, context: int, cache_type: str, data: Path) -> Compared:
    """Loads a model in a worker. Raises RuntimeError with what the worker says where it cannot."""
    job = {"kind": "chat_session", "model": str(path), "context": context, "cache_type": cache_type}
    own = os.environ | {"BITWRIGHT_DATA_DIR": str(data)}
    command = [sys.executable, str(ROOT / "main.py"), "--worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, env=own, **pipes) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps({"job": job, "id": "load"}) + "\n")
        worker.stdin.flush()
        event = next(event for event in map(json.loads, worker.stdout) if event["event"] != "progress")
        worker.stdin.close()
    if event["event"] != "loaded":
        raise RuntimeError(f"{path.name} could not be loaded: {event}")
    info = event["info"]
    return Compared(f"{path.stem}, {context}, {cache_type}", info["predicted_bytes"], info["memory_bytes"])


def loads(models: list[Path], folder: Path) -> Iterator[Compared]:
    """Every model at every context and type of cache; each with a history of its own, so that nothing is corrected."""
    for model in models:
        for context in CONTEXTS:
            for cache_type in CACHES:
                yield load(model, context, cache_type, folder / f"{model.stem}-{context}-{cache_type}")


def run_json(words: list[str], data: Path) -> dict[str, Any]:
    """One command's answer. Raises CalledProcessError."""
    own = os.environ | {"BITWRIGHT_DATA_DIR": str(data)}
    command = [sys.executable, str(ROOT / "main.py"), *words, "--json"]
    done = subprocess.run(command, env=own, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def times(source: Path, folder: Path) -> Iterator[Compared]:
    """The time of each quantization after the first, as it was predicted just before."""
    data, output = folder / "times", folder / "out.gguf"
    for target in (FIRST_TYPE, *TIMED):
        words = ["quantize", str(source), "--to", target, "--out", str(output)]
        preflight = run_json([*words, "--dry-run"], data)["preflight"]
        seconds = run_json(words, data)["seconds"]
        assert isinstance(preflight, dict)
        assert isinstance(seconds, float)
        assert output.stat().st_size == preflight["bytes"], "the plan's size is not the file's"
        if target != FIRST_TYPE:
            yield Compared(target, preflight["seconds"], seconds)


@dataclass(frozen=True, slots=True)
class Walked:
    """A job that looks at a text, before any of its kind and after one: seconds, and its peak memory in bytes."""

    first: Compared
    second: Compared
    memory: Compared


def walks(source: Path, folder: Path, wanted: list[str]) -> Iterator[Walked]:
    """Each of WALKS twice, with a history of its own beside the speeds that all share."""
    made = folder / "made.gguf"
    run_json(["quantize", str(source), "--to", "Q4_0", "--out", str(made)], folder / "walks")
    for name, command in WALKS:
        if wanted and name not in wanted:
            continue
        found = []
        for again in range(2):
            output = folder / f"walk-{again}"
            places = {"SRC": str(source), "FILE": str(made), "OUT": str(output), "OUT.gguf": f"{output}.gguf"}
            words = [places.get(word, word) for word in command.split()]
            answer = run_json([*words, "--dry-run"], folder / "walks")
            checked = answer.get("preflight", answer)
            result = run_json(words, folder / "walks")
            found.append(Compared(name, checked["seconds"], result["seconds"]))
            memory = Compared(name, checked["memory_bytes"], result["peak_memory_bytes"])
            shutil.rmtree(output, ignore_errors=True)
        yield Walked(found[0], found[1], memory)


def main(arguments: list[str]) -> int:
    """Measures and prints; the number of missed targets."""
    parser = argparse.ArgumentParser(prog="bench.estimate", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--walks", nargs="*", metavar="NAME", help="only jobs that look at a text, or only these")
    options = parser.parse_args(arguments)
    sample = sample_path()
    assert sample is not None, "the bundled sample is not installed: run `make test`"
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as name:
        folder = Path(name)
        walked = list(walks(build_hf_sample(folder / "sample"), folder, options.walks or []))
        if options.walks is not None:
            return show_walks(walked, options.json)
        random = {"qwen2": QWEN2, "gemma3": GEMMA3}
        for family, model in random.items():
            write_random(folder / f"{family}.gguf", model)
        memory = list(loads([sample, *(folder / f"{family}.gguf" for family in random)], folder))
        seconds = list(times(folder / "qwen2.gguf", folder))
    if options.json:
        figures = {"memory": [asdict(one) for one in memory], "seconds": [asdict(one) for one in seconds]}
        figures["walks"] = [asdict(one) for one in walked]
        print(json.dumps(figures | {"machine": machine()}))
        return 0
    return int(bool(_show(memory, seconds) + show_walks(walked, as_json=False)))


def show_walks(walked: list[Walked], as_json: bool) -> int:
    """Prints the figures of jobs that look at a text; 1 where a target was missed."""
    if as_json:
        print(json.dumps({"walks": [asdict(one) for one in walked], "machine": machine()}))
        return 0
    missed = 0
    for title, which, target in (
        ("before any job of its kind", "first", FURTHEST_FIRST),
        ("after one", "second", FURTHEST_TIMES),
    ):
        found = [getattr(one, which) for one in walked]
        rows = [
            Figure(f"{one.name}: {one.predicted:.1f} of {one.measured:.1f} s", one.off_times, "times", target, True)
            for one in found
        ]
        missed += show(f"Time of jobs that look at a text, {title}: predicted of measured", rows)
    rows = [
        Figure(f"{one.memory.name}: {one.memory.predicted / 2**20:.0f} MiB", one.memory.measured / 2**20, "MiB",
               one.memory.predicted / 2**20, at_most=True)
        for one in walked
    ]  # fmt: skip
    return int(missed + show("Peak memory of the same against the plan", rows) > 0)


def _show(memory: list[Compared], seconds: list[Compared]) -> int:
    rows = [
        Figure(f"{one.name}: {one.predicted / 2**20:.0f} of {one.measured / 2**20:.0f} MiB", one.off_percent, "% off",
               FURTHEST_PERCENT, at_most=True)
        for one in memory
    ]  # fmt: skip
    missed = show("Memory of a loaded model: predicted of measured", rows)
    rows = [
        Figure(f"{one.name}: {one.predicted:.1f} of {one.measured:.1f} s", one.off_times, "times", FURTHEST_TIMES, True)
        for one in seconds
    ]
    return 1 if missed + show("Time of a quantization, after a first one: predicted of measured", rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

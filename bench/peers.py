"""GPTQ here against GPTQModel on the same machine: the same model, tokens, bits and groups, symmetric.

Usage: `python -m bench.peers --peer-python PATH [--cases 4:64,3:64] [--samples N] [--windows N]`, or `make bench-peers
PEER_PYTHON=PATH`. PATH is the Python of a virtual environment of its own, made beforehand (`python3 -m venv FOLDER &&
FOLDER/bin/pip install gptqmodel optimum`): GPTQModel is no dependency of this project.

The model is the sample moved off its 4-bit grid, the calibration text the program's own, as windows of token numbers
that both get. Both write GPTQ checkpoints in a process of its own, whose whole time and largest resident set count.
The checkpoints are unpacked here from the published layout, and judged by plain transformers on held-out text. Then
GPTQModel loads ours through transformers, and its logits are compared with those of the unpacked weights.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from bench import off_grid
from bench.judge import Judge, Scores, load
from bench.report import Figure, show
from core.network.network import open_network
from core.sources import open_source
from core.texts import windows_of

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name("peer_gptqmodel.py")
LENGTH, SAMPLES, WINDOWS = 512, 128, 8
CASES = "4:64,4:32,3:64,3:32"
# How often a child's memory is looked at; the system keeps its peak until it ends.
POLL_S = 0.05
AGREEMENT = 1e-2


@dataclass(frozen=True, slots=True)
class Run:
    """What a child took: seconds of the whole process, of all cores together, and its largest resident set."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def run(command: Sequence[str], log: Path) -> Run:
    """Runs a command to its end in the folder of a file that its output goes to, where it may leave what it likes.

    Raises CalledProcessError, and prints the output's end.
    """
    began, peak, before = time.perf_counter(), 0, _processor_seconds()
    settings: dict[str, Any] = {"stderr": subprocess.STDOUT, "cwd": log.parent}
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, **settings) as child:
        while child.poll() is None:
            peak = max(peak, _peak(child.pid))
            time.sleep(POLL_S)
    if child.returncode:
        print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise subprocess.CalledProcessError(child.returncode, command)
    return Run(time.perf_counter() - began, _processor_seconds() - before, peak)


def _processor_seconds() -> float:
    """Of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _peak(pid: int) -> int:
    """The largest resident set of a process so far; 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def unpacked(words: NDArray[np.int32], bits: int) -> NDArray[np.int64]:
    """Numbers of so many bits from columns of words (words, columns): (numbers, columns), lowest bits first."""
    stream = np.unpackbits(np.ascontiguousarray(words.T).view(np.uint8), axis=1, bitorder="little")
    digits = stream.reshape(len(stream), -1, bits).astype(np.int64)
    return (digits << np.arange(bits)).sum(axis=2).T


def weights_of(tensors: dict[str, torch.Tensor], name: str, bits: int) -> torch.Tensor:
    """A matrix (rows, columns) of GPTQ's layout, version 1, whose zero points are stored less one."""
    parts = {kind: tensors[f"{name}.{kind}"] for kind in ("qweight", "qzeros", "scales", "g_idx")}
    codes = unpacked(parts["qweight"].numpy(), bits)
    zeros = unpacked(np.ascontiguousarray(parts["qzeros"].numpy().T), bits).T + 1
    group = parts["g_idx"].numpy()
    values = (codes - zeros[group]) * parts["scales"].float().numpy()[group]
    return torch.from_numpy(np.ascontiguousarray(values.T.astype(np.float32)))


def unpack(checkpoint: Path, original: Path, target: Path, bits: int) -> Path:
    """A GPTQ checkpoint as a folder in 32 bits that plain transformers loads."""
    target.mkdir()
    tensors = {key: tensor for path in checkpoint.glob("*.safetensors") for key, tensor in load_file(path).items()}
    names = [key.removesuffix(".qweight") for key in tensors if key.endswith(".qweight")]
    found = {key: tensor.float() for key, tensor in tensors.items() if key.rpartition(".")[0] not in names}
    found |= {f"{name}.weight": weights_of(tensors, name, bits) for name in names}
    found.pop("lm_head.weight", None)  # the embedding's, which is stored once
    save_file(found, target / "model.safetensors", metadata={"format": "pt"})
    for path in original.glob("*.json"):
        (target / path.name).write_bytes(path.read_bytes())
    return target


class Comparison:
    """The model, the tokens that both get, and a folder for what they make."""

    def __init__(self, folder: Path, peer_python: str, samples: int, most: int) -> None:
        self._folder, self._python, self._samples = folder, peer_python, samples
        self._model = off_grid.build(folder / "model")
        with open_source(str(self._model)) as source, open_network(source) as network:
            ids, _ = windows_of((), network.tokenizer, LENGTH, samples)
        self._ids = folder / "ids.npy"
        np.save(self._ids, ids)
        self.tokens = ids.size
        self._judge = Judge(self._model, folder, most)
        self._probe = folder / "probe.npy"
        np.save(self._probe, self._judge.ids[:2].numpy())
        self._warm(ids[:1])

    def _warm(self, ids: NDArray[np.int64]) -> None:
        """Both compile what they need the first time, once per installation, which is no part of the figures."""
        few = self._folder / "few.npy"
        np.save(few, ids)
        log, target = self._folder / "log", self._folder / "warm"
        run([*self._our_command(target, 4, 64), "--samples", "1"], log)
        run(self._peer_command(few, self._folder / "warm-peer", 4, 64), log)

    def case(self, bits: int, group: int) -> list[Figure]:
        """Both at so many bits in such groups. Raises CalledProcessError."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            ours, theirs = Path(place) / "ours", Path(place) / "theirs"
            log = Path(place) / "log"
            mine = run(self._our_command(ours, bits, group), log)
            peer = run(self._peer_command(self._ids, theirs, bits, group), log)
            pair = [unpack(path, self._model, path.with_suffix(".unpacked"), bits) for path in (ours, theirs)]
            figures = list(_quality(*(self._judge.score(path) for path in pair)))
            figures.append(Figure("time", mine.seconds, "s", peer.seconds / 2, at_most=True))
            times = mine.processor_seconds, peer.processor_seconds / 2
            figures.append(Figure("time of the processor, which others do not change", times[0], "s", times[1], True))
            figures.append(Figure("peak memory", mine.peak_bytes / 2**20, "MiB", peer.peak_bytes / 2**20, at_most=True))
            figures.append(self._agreement(ours, pair[0], log))
        return figures

    def _our_command(self, target: Path, bits: int, group: int) -> list[str]:
        words = f"--method gptq --export gptq --bits {bits} --group {group} --samples {self._samples} --length {LENGTH}"
        return [
            sys.executable,
            str(ROOT / "main.py"),
            "quantize",
            str(self._model),
            *words.split(),
            "--out",
            str(target),
        ]

    def _peer_command(self, ids: Path, target: Path, bits: int, group: int) -> list[str]:
        return [self._python, str(SCRIPT), "quantize", *map(str, (self._model, ids, target, bits, group))]

    def _agreement(self, checkpoint: Path, plain: Path, log: Path) -> Figure:
        """Logits of GPTQModel's kernels through transformers against those of the unpacked weights."""
        out = self._folder / "logits.npy"
        run([self._python, str(SCRIPT), "load", str(checkpoint), str(self._probe), str(out)], log)
        theirs = torch.from_numpy(np.load(out))
        with torch.no_grad():
            own = load(plain)(torch.from_numpy(np.load(self._probe))).logits
        print(next(line for line in log.read_text().splitlines() if line.startswith("quantized modules")))
        error = float((theirs - own).abs().max() / own.abs().max())
        return Figure("our checkpoint in GPTQModel: logits' error", error, "", AGREEMENT, at_most=True)


def _quality(ours: Scores, theirs: Scores) -> Any:
    for name in ours:
        for figure, word in (("ppl", "perplexity"), ("kld", "mean KL divergence"), ("tail", "99 % of it")):
            own, other = getattr(ours[name], figure), getattr(theirs[name], figure)
            yield Figure(f"{name}: {word}", own, "", other, at_most=True)


def main(arguments: Sequence[str]) -> int:
    """Measures and prints; 1 where a target, which is the peer's figure or half of it, was missed."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, metavar="PATH", help="a Python that has gptqmodel")
    parser.add_argument("--cases", default=CASES, metavar="BITS:GROUP,...", help=CASES)
    parser.add_argument("--samples", type=int, default=SAMPLES, metavar="N", help="windows of calibration text")
    parser.add_argument("--windows", type=int, default=WINDOWS, metavar="N", help="of held-out text, of each category")
    options = parser.parse_args(arguments)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as folder:
        peer_python = str(Path(options.peer_python).absolute())
        comparison = Comparison(Path(folder), peer_python, options.samples, options.windows)
        for case in options.cases.split(","):
            bits, group = (int(number) for number in case.split(":"))
            figures = comparison.case(bits, group)
            missed += show(
                f"GPTQ, {bits} bits, groups of {group}, {comparison.tokens} tokens; targets: GPTQModel's", figures
            )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

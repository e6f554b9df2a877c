"""What each method of checkpoints loses, on the sample model: weights, layers' outputs, and answers to held-out text.

Usage: `python -m bench.methods [--quick] [--json FILE] [--windows N] [--samples N] [ROW ...]`.

Each row of ROWS is made by `main.py quantize` in a process of its own, whose time and peak memory are shown, and is
then loaded by plain transformers. The model is the sample moved off its own 4-bit grid
(bench/off_grid.py); the text is that of resources/evaluation, which shares no line with what methods are calibrated
on. Errors are squared errors over squares, in percent. For each category: perplexity, mean KL divergence from the
original and its 99th percentile. Below the table stand the orders that must hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import off_grid
from bench.judge import CATEGORIES, Judge, Scores
from bench.layer_errors import Errors, LayerErrors
from bench.report import machine

ROOT = Path(__file__).resolve().parents[1]
# Windows of each category, and of the calibration text; the quick selection's second.
WINDOWS, SAMPLES = (8, 3), (128, 16)
ERROR_WINDOWS = 4
COMPRESSED = "compressed-tensors"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to quantize. words: the command's options. importance: with an importance matrix of the model.

    quick: also in the quick selection. calibrated: looks at a text. export: the form, which must be one that
    transformers loads; only of bf16 can weights be compared.
    """

    name: str
    words: str
    importance: bool = False
    quick: bool = False
    calibrated: bool = False
    export: str = "bf16"

    def command(self, source: Path, target: Path, imatrix: Path, samples: int) -> list[str]:
        """The whole command line."""
        words = [*self.words.split(), "--export", self.export, "--out", str(target), "--json"]
        words += ["--imatrix", str(imatrix)] if self.importance else []
        words += ["--samples", str(samples)] if self.calibrated else []
        return [sys.executable, str(ROOT / "main.py"), "quantize", str(source), *words]


def _integers(bits: int, group: str, rule: str, more: str = "") -> str:
    return f"--method int --bits {bits} --group {group} --range {rule} {more}"


def _gptq(bits: int, group: str, rule: str, more: str = "") -> str:
    return f"--method gptq --bits {bits} --group {group} --range {rule} {more}"


ROWS: tuple[Row, ...] = (
    Row("int8 tensor", _integers(8, "tensor", "minmax")),
    Row("int8 channel", _integers(8, "channel", "minmax")),
    Row("llm-int8", "--method llm-int8", calibrated=True),
    Row("int8 channel a8", f"{_integers(8, 'channel', 'minmax')} --activations dynamic", export=COMPRESSED),
    Row("smoothquant a8", "--method smoothquant", calibrated=True, export=COMPRESSED),
    Row("int4 tensor", _integers(4, "tensor", "minmax"), quick=True),
    Row("int4 channel", _integers(4, "channel", "minmax"), quick=True),
    Row("int4 g64", _integers(4, "64", "minmax"), quick=True),
    Row("int4 g32", _integers(4, "32", "minmax")),
    Row("int4 channel asym", _integers(4, "channel", "minmax", "--asymmetric"), quick=True),
    Row("int4 g64 asym", _integers(4, "64", "minmax", "--asymmetric")),
    Row("int4 channel percentile", _integers(4, "channel", "percentile:99.5"), quick=True),
    Row("int4 channel entropy", _integers(4, "channel", "entropy")),
    Row("int4 channel mse", _integers(4, "channel", "mse")),
    Row("int4 g64 mse", _integers(4, "64", "mse"), quick=True),
    Row("int4 g64 asym mse", _integers(4, "64", "mse", "--asymmetric")),
    Row("int4 g64 weighted", _integers(4, "64", "mse"), importance=True, quick=True),
    Row("hqq4 g64 asym", "--method hqq --bits 4 --group 64"),
    Row("nf4", "--method nf4"),
    Row("nf4 double", "--method nf4 --double-quant"),
    Row("fp4", "--method fp4"),
    Row("gptq4 g64", _gptq(4, "64", "minmax"), quick=True, calibrated=True),
    Row("gptq4 g64 weighted", _gptq(4, "64", "mse"), quick=True, calibrated=True),
    Row("gptq4 g32 weighted", _gptq(4, "32", "mse"), calibrated=True),
    Row("gptq4 g64 asym weighted", _gptq(4, "64", "mse", "--asymmetric"), calibrated=True),
    Row("gptq4 g64 target", _gptq(4, "64", "mse", "--asymmetric-target 0.5"), calibrated=True),
    Row("awq4 g64 asym", "--method awq --bits 4 --group 64", calibrated=True),
    Row("int3 channel", _integers(3, "channel", "minmax")),
    Row("int3 g64", _integers(3, "64", "minmax")),
    Row("int3 g64 mse", _integers(3, "64", "mse")),
    Row("int3 g64 weighted", _integers(3, "64", "mse"), importance=True),
    Row("hqq3 g64 asym", "--method hqq --bits 3 --group 64"),
    Row("gptq3 g64", _gptq(3, "64", "minmax"), calibrated=True),
    Row("gptq3 g64 weighted", _gptq(3, "64", "mse"), calibrated=True),
    Row("int2 g32 asym weighted", _integers(2, "32", "mse", "--asymmetric"), importance=True),
    Row("gptq2 g32 asym weighted", _gptq(2, "32", "mse", "--asymmetric"), calibrated=True),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A row's figures. seconds, peak_bytes: of the process. errors: None where weights cannot be compared."""

    bits_per_weight: float
    seconds: float
    peak_bytes: int
    errors: Errors | None
    scores: Scores

    def value(self, figure: str, category: str = "") -> float:
        """A figure by its name, of a category where it is one of a text."""
        if category:
            return float(getattr(self.scores[category], figure))
        return float("nan") if self.errors is None else float(getattr(self.errors, figure))


@dataclass(frozen=True, slots=True)
class Order:
    """Rows that must not get worse from the first to the last, in every figure named. strict: each must be better."""

    title: str
    rows: tuple[str, ...]
    figures: tuple[str, ...]
    strict: bool = False

    def misses(self, found: Mapping[str, Measured]) -> list[str]:
        """What does not hold, in words; nothing where all of it does."""
        missed = []
        for better, worse in zip(self.rows, self.rows[1:], strict=False):
            for figure in self.figures:
                for category in CATEGORIES if figure in TEXT_FIGURES else ("",):
                    values = [found[name].value(figure, category) for name in (better, worse)]
                    if not (values[0] < values[1] or (values[0] == values[1] and not self.strict)):
                        at = f" on {category}" if category else ""
                        missed.append(f"{figure}{at}: {better} {values[0]:.4g}, {worse} {values[1]:.4g}")
        return missed


TEXT_FIGURES = ("ppl", "kld", "tail")
QUALITY = ("output", "ppl", "kld", "tail")
ORDERS: tuple[Order, ...] = (
    Order("per group <= per channel <= per tensor, 4 bits", ("int4 g64", "int4 channel", "int4 tensor"), QUALITY),
    Order("smaller groups <= larger ones", ("int4 g32", "int4 g64"), QUALITY),
    Order("per channel <= per tensor, 8 bits", ("int8 channel", "int8 tensor"), ("weights", "output")),
    Order("asymmetric <= symmetric on skewed rows", ("int4 channel asym", "int4 channel"), ("skewed", "output")),
    Order("asymmetric <= symmetric in groups", ("int4 g64 asym", "int4 g64"), ("skewed", "weights")),
    Order("percentile <= min/max, 4 bits", ("int4 channel percentile", "int4 channel"), ("weights", "output")),
    Order("MSE <= min/max, 4 bits, per channel", ("int4 channel mse", "int4 channel"), ("weights", "output")),
    Order("MSE <= min/max, 4 bits, per group", ("int4 g64 mse", "int4 g64"), ("weights", "output")),
    Order("MSE <= min/max, 3 bits", ("int3 g64 mse", "int3 g64"), ("weights", "output")),
    Order("AWQ < rounding, 4 bits with zero points", ("awq4 g64 asym", "int4 g64 asym mse"), ("kld", "tail"), True),
    Order("weighted scales < MSE, 4 bits", ("int4 g64 weighted", "int4 g64 mse"), ("output",), strict=True),
    *(
        Order(
            f"GPTQ with weighted scales < GPTQ < rounding, {bits} bits",
            (f"gptq{bits} g64 weighted", f"gptq{bits} g64", f"int{bits} g64"),
            QUALITY,
            strict=True,
        )
        for bits in (4, 3)
    ),
    *(
        Order(
            f"GPTQ with weighted scales < rounding with weighted scales, {bits} bits",
            (f"gptq{bits} g64 weighted", f"int{bits} g64 weighted"),
            QUALITY,
            strict=True,
        )
        for bits in (4, 3)
    ),
)


class Bench:
    """The model, what judges it, and a folder for what is made."""

    def __init__(self, folder: Path, most: int, samples: int) -> None:
        self._folder, self._samples = folder, samples
        self._model = off_grid.build(folder / "model")
        self._imatrix = folder / "model.imatrix.gguf"
        self.judge = Judge(self._model, folder, most)
        self._errors = LayerErrors(self._model, self.judge.ids[:: max(1, len(self.judge.ids) // ERROR_WINDOWS)])

    def measure(self, row: Row) -> Measured:
        """Makes a row's checkpoint, judges it and removes it. Raises CalledProcessError."""
        if row.importance and not self._imatrix.exists():
            _ran([sys.executable, str(ROOT / "main.py"), "imatrix", str(self._model), "--out", str(self._imatrix)])
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            target = Path(place) / "made"
            answer = json.loads(_ran(row.command(self._model, target, self._imatrix, self._samples)))
            return Measured(
                answer["bpw"],
                answer["seconds"],
                answer["peak_memory_bytes"],
                self._errors.of(target) if row.export == "bf16" else None,
                self.judge.score(target),
            )

    def original(self) -> Scores:
        """The model held against itself."""
        return self.judge.score(self._model)


def _ran(command: Sequence[str]) -> str:
    environment = os.environ | {"BITWRIGHT_DATA_DIR": tempfile.gettempdir()}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def line(name: str, measured: Measured | None, scores: Scores) -> str:
    """A row of the table."""
    cells = [name.ljust(26)]
    if measured is None:
        cells.append(" " * 45)
    else:
        found = measured.errors
        errors = " " * 17 if found is None else f"{found.weights:8.3f} {found.output:8.3f}"
        cells.append(f"{errors} {measured.seconds:8.1f} s {measured.peak_bytes / 2**20:8.0f} MiB")
    cells += [f"{score.ppl:9.2f} {score.kld:.4f} {score.tail:6.3f}" for score in scores.values()]
    return "  ".join(cells)


def header() -> str:
    """The words above the table."""
    texts = "  ".join(f"{name + ' ppl':>9} {'kld':>6} {'99 %':>6}" for name in CATEGORIES)
    return f"{'':26}  {'weights %':>8} {'output %':>8} {'time':>9} {'peak':>11}  {texts}"


def judged(found: Mapping[str, Measured]) -> int:
    """Prints which orders hold, of those whose rows were all made; how many do not."""
    missed = 0
    for order in ORDERS:
        if all(name in found for name in order.rows):
            misses = order.misses(found)
            missed += bool(misses)
            print(f"  {'miss' if misses else 'PASS'}  {order.title}")
            for words in misses:
                print(f"          {words}")
    return missed


def main(arguments: Sequence[str]) -> int:
    """Measures and prints; 1 where an order does not hold."""
    parser = argparse.ArgumentParser(prog="bench.methods", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a selection that takes a few minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--windows", type=int, metavar="N", help=f"at most so many of each category ({WINDOWS[0]})")
    parser.add_argument("--samples", type=int, metavar="N", help=f"windows of calibration text ({SAMPLES[0]})")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only the rows of these names")
    options = parser.parse_args(arguments)
    chosen = [row for row in ROWS if (row.name in options.rows if options.rows else row.quick or not options.quick)]
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as folder:
        most, samples = options.windows or WINDOWS[options.quick], options.samples or SAMPLES[options.quick]
        bench = Bench(Path(folder), most, samples)
        print(f"Methods on the sample, {bench.judge.tokens} tokens of held-out text\n  {machine()}\n{header()}")
        print(line("bf16, the original", None, bench.original()), flush=True)
        for row in chosen:
            found[row.name] = bench.measure(row)
            print(line(row.name, found[row.name], found[row.name].scores), flush=True)
    if options.json:
        options.json.write_text(json.dumps({name: asdict(own) for name, own in found.items()}, indent=1))
    return int(judged(found) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

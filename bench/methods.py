"""What each method of checkpoints loses, on the sample model: weights, layers' outputs, and answers to held-out text.

Usage: `python -m bench.methods [--quick] [--resume] [--folder FOLDER] [--json FILE] [--windows N] [--samples N]
[--draws N] [ROW ...]`.

Each row of bench/method_rows.py is made by `main.py quantize` in a process of its own, whose time and peak memory are
shown, and is then loaded by plain transformers. The model is the sample moved off its own 4-bit grid
(bench/off_grid.py); the text is that of resources/evaluation, which shares no line with what methods are calibrated
on. What one model makes of two ways that are nearly as good is chance, however long the text: with --draws N, each row
is made of N models that were moved by chance anew, and its figures are those of all their tokens, and mean errors.
Errors are squared errors over squares, in percent. For each category: perplexity, mean KL divergence from the
original and its 99th percentile. Below the table, which is Markdown, stand the orders that must hold (bench/orders.py).

What is measured is kept in FOLDER as each row ends: with --resume, rows that are there are not made again. It is up
to you that the program is still the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import off_grid
from bench.judge import Judge, Scores, load
from bench.kept import Kept, figures
from bench.layer_errors import LayerErrors
from bench.method_rows import ROOT, ROWS, Row
from bench.orders import Measured, judged, pooled
from bench.report import machine
from bench.skewed import show_skewed

ORIGINAL = Row("bf16, the original", "")
FOLDER = ROOT / "build" / "bench-methods"
# Windows of each category, and of the calibration text; the quick selection's second.
WINDOWS, SAMPLES = (4, 2), (32, 16)
ERROR_WINDOWS = 4


class Drawn:
    """One model, and what judges checkpoints of it. folder: for what is made and kept of it."""

    def __init__(self, folder: Path, draw: int, most: int, samples: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._samples = folder, samples
        self._model = _model(folder, draw)
        self._imatrix = folder / "model.imatrix.gguf"
        self.judge = Judge(self._model, folder, most)
        self._errors: LayerErrors | None = None

    def measure(self, row: Row) -> Measured:
        """Makes a row's checkpoint, judges it and removes it. Raises CalledProcessError."""
        if row.importance and not self._imatrix.exists():
            _ran([sys.executable, str(ROOT / "main.py"), "imatrix", str(self._model), "--out", str(self._imatrix)])
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            target = Path(place) / "made"
            answer = json.loads(_ran(row.command(self._model, target, self._imatrix, self._samples)))
            tokens = self.judge.tokens_of(load(target))
            return Measured(
                answer["bpw"],
                answer["seconds"],
                answer["peak_memory_bytes"],
                self._layers().of(target) if row.export == "bf16" else None,
                {name: own.score() for name, own in tokens.items()},
                tokens,
            )

    def original(self) -> Measured:
        """The model held against itself: only its scores say something."""
        tokens = self.judge.tokens_of(load(self._model))
        return Measured(16.0, 0.0, 0, None, {name: own.score() for name, own in tokens.items()}, tokens)

    def _layers(self) -> LayerErrors:
        if self._errors is None:
            ids = self.judge.ids
            self._errors = LayerErrors(self._model, ids[:: max(1, len(ids) // ERROR_WINDOWS)])
        return self._errors


class Bench:
    """All models, each in a folder of its own but for the first."""

    def __init__(self, folder: Path, most: int, samples: int, draws: int) -> None:
        folders = [folder, *(folder / f"draw-{draw}" for draw in range(1, draws))]
        self._drawn = [Drawn(own, draw, most, samples) for draw, own in enumerate(folders)]

    @property
    def tokens(self) -> int:
        """How many are scored of each row."""
        return sum(drawn.judge.tokens for drawn in self._drawn)

    def measure(self, row: Row) -> Measured:
        """Of all models. Raises CalledProcessError."""
        return pooled([drawn.measure(row) for drawn in self._drawn])

    def original(self) -> Measured:
        """All models held against themselves."""
        return pooled([drawn.original() for drawn in self._drawn])


def _model(folder: Path, draw: int) -> Path:
    """The original of comparisons, made once for a folder."""
    model, unfinished = folder / "model", folder / "model.part"
    if not model.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        os.replace(off_grid.build(unfinished, draw), model)
    return model


def _ran(command: Sequence[str]) -> str:
    environment = os.environ | {"BITWRIGHT_DATA_DIR": tempfile.gettempdir()}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def line(name: str, measured: Measured | None, scores: Scores) -> str:
    """A row of the table."""
    cells = [name.ljust(28)]
    if measured is None:
        cells += [" " * width for width in (9, 8, 6, 8)]
    else:
        found = measured.errors
        errors = ("", "") if found is None else (f"{found.weights:.3f}", f"{found.output:.3f}")
        cells += [f"{errors[0]:>9}", f"{errors[1]:>8}"]
        cells += [f"{measured.seconds:6.1f}", f"{measured.peak_bytes / 2**20:8.0f}"]
    cells += [cell for own in scores.values() for cell in (f"{own.ppl:9.2f}", f"{own.kld:6.4f}", f"{own.tail:6.3f}")]
    return f"| {' | '.join(cells)} |"


def header(scores: Scores) -> str:
    """The words above the table."""
    words = ["method".ljust(28), "weights %", "output %", "time s", "peak MiB"]
    words += [cell for name in scores for cell in (f"{name + ' ppl':>9}", "   kld", "  99 %")]
    rule = [f"{'-' * (len(word) - 1)}{':' if number else '-'}" for number, word in enumerate(words)]
    return f"| {' | '.join(words)} |\n| {' | '.join(rule)} |"


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.methods", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a selection that takes a few minutes")
    parser.add_argument("--resume", action="store_true", help="take rows that were measured before as they are")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where they are kept (build/bench-methods)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--windows", type=int, metavar="N", help=f"at most so many of each category ({WINDOWS[0]})")
    parser.add_argument("--samples", type=int, metavar="N", help=f"windows of calibration text ({SAMPLES[0]})")
    parser.add_argument("--draws", type=int, default=1, metavar="N", help="models that each row is made of (1)")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only the rows of these names")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measures and prints; 1 where an order does not hold."""
    options = parsed(arguments)
    named = {row.name: row for row in ROWS}
    chosen = [named[name] for name in options.rows] or [row for row in ROWS if row.quick or not options.quick]
    most, samples = options.windows or WINDOWS[options.quick], options.samples or SAMPLES[options.quick]
    kept = Kept(options.folder / "rows", {"windows": most, "samples": samples, "draws": options.draws})
    if not options.resume:
        kept.forget()
    found: dict[str, Measured] = {}
    bench = Bench(options.folder, most, samples, options.draws)
    original = kept.get(ORIGINAL) or kept.put(ORIGINAL, bench.original())
    print(f"Methods on the sample, {bench.tokens} tokens of held-out text\n  {machine()}\n")
    print(f"{header(original.scores)}\n{line(ORIGINAL.name, None, original.scores)}", flush=True)
    for row in chosen:
        measured = kept.get(row) or kept.put(row, bench.measure(row))
        found[row.name] = measured
        print(line(row.name, measured, measured.scores), flush=True)
    if options.json:
        options.json.write_text(json.dumps({name: figures(own) for name, own in found.items()}, indent=1))
    print("\nOrders that must hold")
    return int(judged(found) + show_skewed() > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

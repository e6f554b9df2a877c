"""What an evaluation costs, how it agrees with llama-perplexity, and whether a ranking of sensitivity comes again.

Usage: `python -m bench.evaluation [--json] [PART...]` with the parts `cost`, `memory`, `agreement`, `sensitivity`.

cost: four versions of the sample and the original in one run, against each model run alone; in seconds of all cores
together, so that other programs count less. memory: the largest resident set of a run over a short text and two that
are four and eight times as long, in processes of their own, with a small bound of what hidden states may take in
memory. agreement: KL divergence and perplexity of the sample's types against the recorded figures of llama-perplexity,
on the same weights and as llama.cpp runs the types, there also on a text twenty times as long. What then remains of
perplexity is chance: where a last bit differs, a number of a block is rounded elsewhere and all layers behind it
differ, so that over 510 tokens another build of llama.cpp is itself off from the recorded figures by 0.9 % for Q8_0
(with flash attention 1.9 %) and 3.0 % for IQ4_NL.
sensitivity: the attention and feed-forward parts of the sample's layers ranked twice, on the first and the second half
of every kind of text, each with half of the windows that the program takes by itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.random_model import RandomModel, write_random
from bench.report import Figure, machine, show
from core import engine, memory
from core.catalog import sample_path
from core.jobs import RANKING_CHUNKS, EvaluateJob, QuantizeJob, QuantizeOptions, SensitivityJob, SensitivityResult
from core.texts import Text, own_texts
from tests.golden.make_evaluation import CHUNKS, LONG_CHUNKS, long_text

ROOT = Path(__file__).resolve().parents[1]
TYPES = ("Q8_0", "Q4_0", "Q5_0", "IQ4_NL")
MOST_OF_TEACHER = 1.2
CONTEXT, WINDOWS = 256, 8
# Of which the least is taken: what else runs, and threads that wait for each other, only ever add to it.
ROUNDS = 3
SMALL = RandomModel("llama", 256, 512, layers=2, heads=4, kv_heads=2, head=64)
SHORT, LONGER = 12, (48, 96)
# Smaller than the program's own bound, so that short texts reach it, too.
BOUND = 8 << 20
GROWTH_PERCENT = 3.0
KLD_PERCENT, KLD_NATS, PPL_PERCENT = 3.0, 1e-3, 0.5
GOLDEN = ROOT / "tests" / "golden" / "evaluation.json"
PROSE = ROOT / "resources" / "evaluation" / "prose.txt"
SENSITIVE_TO = "Q4_K_M"
WITHIN_TWO_ERRORS, RANKS_ALIKE = 90.0, 0.9
Found = dict[str, float]


def main(arguments: list[str]) -> int:
    """Measures and prints; 1 where a target was missed."""
    parser = argparse.ArgumentParser(prog="bench.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; else all")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(PARTS)}")
    missed, answers = 0, {}
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as folder:
            answers[name], figures = PARTS[name](Path(folder))
        if not options.json:
            missed += show(f"Evaluation: {name}", figures)
    if options.json:
        print(json.dumps(answers | {"machine": machine()}))
    return 1 if missed else 0


def made(folder: Path, type_name: str) -> Path:
    """The sample in another type, searched as llama-quantize does."""
    path = folder / f"{type_name}.gguf"
    wanted = QuantizeOptions(target=type_name, fit="reference", allow_requantize=True)
    engine.run(QuantizeJob(source=str(sample()), output=str(path), options=wanted))
    return path


def sample() -> Path:
    """The bundled sample."""
    path = sample_path()
    assert path is not None, "the bundled sample is not installed: run `make test`"
    return path


# ---------------------------------------------------------------- cost


def seconds_of(models: Sequence[Path], folder: Path, windows: int) -> float:
    """Seconds of all cores for these models over made-up windows of tokens."""
    from core.evaluation.scores import scores_of
    from core.network.network import open_network
    from core.progress import Progress
    from core.sources import open_source

    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(model)) for model in models]
        networks = [stack.enter_context(open_network(source)) for source in sources]
        ids = np.random.default_rng(5).integers(0, networks[0].vocabulary, (windows, CONTEXT))
        began = time.process_time()
        scores_of(networks, ids, folder, Progress())
        return time.process_time() - began


def cost(folder: Path) -> tuple[Found, list[Figure]]:
    """Five models at once against each alone."""
    models = [sample(), *(made(folder, name) for name in TYPES)]
    seconds_of(models, folder, 1)  # compiles what decodes the types
    rounds = [
        (seconds_of(models, folder, WINDOWS), *(seconds_of([model], folder, WINDOWS) for model in models))
        for _ in range(ROUNDS)
    ]
    together, *alone = (min(column) for column in zip(*rounds, strict=True))
    allowed = MOST_OF_TEACHER * alone[0] + sum(alone[1:])
    found = {"teacher": alone[0], "students": sum(alone[1:]), "together": together, "allowed": allowed}
    figures = [
        Figure("the original alone", alone[0], "s of all cores"),
        Figure("four versions alone, one after another", sum(alone[1:]), "s of all cores"),
        Figure(f"all at once, of {MOST_OF_TEACHER} teacher passes and four student passes", together / allowed, "", 1.0,
               at_most=True),
    ]  # fmt: skip
    return found, figures


# ---------------------------------------------------------------- memory


def peak_of(model: Path, folder: Path, windows: int) -> int:
    """The largest resident set of a process that compares the model with itself four times, in bytes."""
    code = f"from bench.evaluation import peak_here; peak_here({str(model)!r}, {str(folder)!r}, {windows})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


def peak_here(model: str, folder: str, windows: int) -> None:
    """Prints the largest resident set of such a run in this process; what is loaded and compiled first counts too."""
    from core.network import states

    memory.return_large_buffers()
    states.STATES_BYTES = BOUND
    seconds_of([Path(model)] * 5, Path(folder), SHORT)
    memory.reset_peak()
    seconds_of([Path(model)] * 5, Path(folder), windows)
    print(memory.peak_bytes())


def memory_part(folder: Path) -> tuple[Found, list[Figure]]:
    """A text, and texts several times as long."""
    model = folder / "small.gguf"
    write_random(model, SMALL)
    peaks = {windows: peak_of(model, folder, windows) for windows in (SHORT, *LONGER)}
    found: Found = {f"{windows * CONTEXT} tokens": peak for windows, peak in peaks.items()}
    figures = [Figure(f"{SHORT * CONTEXT:,} tokens: peak", peaks[SHORT] / 2**20, "MiB")]
    for windows in LONGER:
        states = 5 * windows * CONTEXT * SMALL.width * 4 / 2**20
        grown = 100 * (peaks[windows] / peaks[SHORT] - 1)
        words = f"{windows * CONTEXT:,} tokens, whose hidden states take {states:.0f} MiB: peak"
        figures += [
            Figure(words, peaks[windows] / 2**20, "MiB"),
            Figure("growth", grown, "%", GROWTH_PERCENT, at_most=True),
        ]
        found[f"{windows * CONTEXT} tokens growth_percent"] = grown
    return found, figures


# ---------------------------------------------------------------- agreement


def agreement(folder: Path) -> tuple[Found, list[Figure]]:
    """Ours against llama-perplexity's recorded figures, on the same weights widened to F32 and as it runs the types."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    base, *models = (str(made(folder, name)) for name in ("F32", *TYPES))
    found: Found = {}
    figures = []
    long = str(long_text(folder))
    for as_run, ending, text, chunks in (
        (False, "/F32", str(PROSE), CHUNKS),
        (True, "", str(PROSE), CHUNKS),
        (True, "/long", long, LONG_CHUNKS),
    ):
        job = EvaluateJob(source=base, models=tuple(models), text=(text,), chunks=chunks, as_run=as_run)
        for name, model in zip(TYPES, engine.run(job).models, strict=True):
            key, theirs = f"{name}{ending}", golden[f"{name}{ending}"]
            ppl = 100 * abs(model.ppl / theirs["ppl"] - 1)
            kld = abs(model.mean_kld - theirs["mean_kld"])
            share = 100 * kld / theirs["mean_kld"]
            found |= {f"{key} ppl_percent": ppl, f"{key} kld_nats": kld, f"{key} kld_percent": share}
            words = f"{key}: mean KLD {model.mean_kld:.6f} of {theirs['mean_kld']:.6f}"
            # Where it is off by less than KLD_NATS, the percentage does not count.
            near = Figure(f"{words}, off", 1000 * kld, "mnats", 1000 * KLD_NATS, at_most=True)
            far = Figure(f"{words}, off", share, "%", KLD_PERCENT, at_most=True)
            perplexity = f"{key}: perplexity {model.ppl:.3f} of {theirs['ppl']:.3f}, off"
            figures += [near if kld <= KLD_NATS else far, Figure(perplexity, ppl, "%", PPL_PERCENT, at_most=True)]
    return found, figures


# ---------------------------------------------------------------- sensitivity


def half(folder: Path, text: Text, number: int) -> Path:
    """The first or the second half of a text's paragraphs or rows."""
    content = text.path.read_text(encoding="utf-8")
    between = "\n" if text.is_chat else "\n\n"
    parts = [part for part in content.split(between) if part.strip()]
    path = folder / f"{number}-{text.path.name}"
    middle = len(parts) // 2
    path.write_text(between.join(parts[middle:] if number else parts[:middle]), encoding="utf-8")
    return path


def ranked(texts: Sequence[Path]) -> SensitivityResult:
    """The sample's pieces ranked on texts, with half of the windows that the program takes by itself."""
    job = SensitivityJob(
        source=str(sample()),
        options=QuantizeOptions(target=SENSITIVE_TO),
        text=tuple(map(str, texts)),
        chunks=RANKING_CHUNKS // 2,
    )
    result = engine.run(job)
    assert isinstance(result, SensitivityResult)
    return result


def sensitivity(folder: Path) -> tuple[Found, list[Figure]]:
    """Two rankings, one on the first half of every kind of text and one on the second."""
    texts = own_texts("evaluation")
    results = [ranked([half(folder, text, number) for text in texts]) for number in range(2)]
    first, second = ({piece.name: piece for piece in result.pieces} for result in results)
    pairs = [(first[name], second[name]) for name in first]
    seconds = sum(result.seconds for result in results) / 2
    head = f"{len(first)} pieces, {results[0].tokens} tokens in {results[0].chunks} windows each: one ranking"
    figures, found = [Figure(head, seconds, "s")], {"seconds": seconds}
    for figure, words in (("mean_kld", "mean KLD"), ("share", "share of what all lose")):
        values = np.array([[getattr(piece, figure) for piece in pair] for pair in pairs])
        errors = np.array([[getattr(piece, f"{figure}_error") for piece in pair] for pair in pairs])
        within = 100 * float(np.mean(abs(values[:, 0] - values[:, 1]) <= 2 * np.hypot(*errors.T)))
        alike = _rank_correlation(*values.T)
        apart, same = _told_apart(values, errors)
        found |= {
            f"{figure} within_percent": within,
            f"{figure} rank_correlation": alike,
            f"{figure} pairs": apart,
            f"{figure} pairs_alike_percent": same,
        }
        figures += [
            Figure(f"{words}: standard error, median of the pieces", 100 * float(np.median(errors / values)), "%"),
            Figure(f"{words}: pieces whose two figures are within two standard errors", within, "%", WITHIN_TWO_ERRORS),
            Figure(f"{words}: rank correlation of the two", alike, "", RANKS_ALIKE),
            Figure(f"{words}: of {apart} pairs whose error bars do not overlap, in the same order", same, "%"),
        ]
    return found, figures


def _told_apart(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[int, float]:
    """How many pairs of pieces a ranking tells apart, and which percentage of them the other has in the same order.

    values, errors: (pieces, 2).
    """
    at, other = np.triu_indices(len(values), 1)
    difference = values[at] - values[other]
    apart = abs(difference) > errors[at] + errors[other]
    same = np.sign(difference[:, 0]) == np.sign(difference[:, 1])
    return int(apart.sum()), 100 * float(same[:, None].repeat(2, 1)[apart].mean()) if apart.any() else 0.0


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


PARTS: dict[str, Callable[[Path], tuple[Any, list[Figure]]]] = {
    "cost": cost,
    "memory": memory_part,
    "agreement": agreement,
    "sensitivity": sensitivity,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

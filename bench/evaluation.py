"""What an evaluation costs, how it agrees with llama-perplexity, and whether a ranking of sensitivity comes again.

Usage: `python -m bench.evaluation [--json] [PART...]` with the parts `cost`, `memory`, `agreement`, `sensitivity`.

cost: four versions of the sample and the original in one run, against each model run alone; in seconds of all cores
together, so that other programs count less. memory: the largest resident set of a run over a short text and one four
times as long, in processes of their own, with a small bound of what hidden states may take in memory. agreement: KL
divergence and perplexity of the sample's types against the recorded figures of llama-perplexity. sensitivity: the
sample's layers ranked twice, on windows that have no token in common.
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

from bench.random_model import RandomModel, write_random
from bench.report import Figure, machine, show
from core import engine, memory
from core.catalog import sample_path
from core.jobs import EvaluateJob, Piece, QuantizeJob, QuantizeOptions, SensitivityJob, SensitivityResult

ROOT = Path(__file__).resolve().parents[1]
TYPES = ("Q8_0", "Q4_0", "Q5_0", "IQ4_NL")
MOST_OF_TEACHER = 1.2
CONTEXT, WINDOWS = 256, 8
SMALL = RandomModel("llama", 256, 512, layers=2, heads=4, kv_heads=2, head=64)
SHORT, LONG = 12, 48
# Smaller than the program's own bound, so that short texts reach it, too.
BOUND = 8 << 20
GROWTH_PERCENT = 3.0
KLD_PERCENT, KLD_NATS, PPL_PERCENT = 3.0, 1e-3, 0.5
GOLDEN = ROOT / "tests" / "golden" / "evaluation.json"
PROSE = ROOT / "resources" / "evaluation" / "prose.txt"
SENSITIVE_TO = "Q4_K_S"
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
    alone = [seconds_of([model], folder, WINDOWS) for model in models]
    together = seconds_of(models, folder, WINDOWS)
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
    from core.evaluation import scores

    scores.STATES_BYTES = BOUND
    seconds_of([Path(model)] * 5, Path(folder), SHORT)
    memory.reset_peak()
    seconds_of([Path(model)] * 5, Path(folder), windows)
    print(memory.peak_bytes())


def memory_part(folder: Path) -> tuple[Found, list[Figure]]:
    """A text and one four times as long."""
    model = folder / "small.gguf"
    write_random(model, SMALL)
    short, long = (peak_of(model, folder, windows) for windows in (SHORT, LONG))
    states = 5 * LONG * CONTEXT * SMALL.width * 4
    grown = 100 * (long - short) / short
    figures = [
        Figure(f"{SHORT * CONTEXT:,} tokens: peak", short / 2**20, "MiB"),
        Figure(
            f"{LONG * CONTEXT:,} tokens, whose hidden states take {states / 2**20:.0f} MiB: peak", long / 2**20, "MiB"
        ),
        Figure("growth", grown, "%", GROWTH_PERCENT, at_most=True),
    ]
    return {"short": short, "long": long, "growth_percent": grown}, figures


# ---------------------------------------------------------------- agreement


def agreement(folder: Path) -> tuple[Found, list[Figure]]:
    """Ours against llama-perplexity's recorded figures: on the weights as F32 widened, and as it runs the types."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    job = EvaluateJob(
        source=str(sample()),
        models=tuple(str(made(folder, name)) for name in TYPES),
        text=(str(PROSE),),
        chunks=2,
    )
    found: Found = {}
    figures = []
    for name, model in zip(TYPES, engine.run(job).models, strict=True):
        for key, targets in ((f"{name}/F32", True), (name, False)):
            theirs = golden[key]
            ppl = 100 * abs(model.ppl / theirs["ppl"] - 1)
            kld = abs(model.mean_kld - theirs["mean_kld"])
            share = 100 * kld / theirs["mean_kld"]
            found |= {f"{key} ppl_percent": ppl, f"{key} kld_nats": kld, f"{key} kld_percent": share}
            words = f"{key}: mean KLD {model.mean_kld:.6f} of {theirs['mean_kld']:.6f}"
            near = share if share <= KLD_PERCENT or kld > KLD_NATS else 0.0
            figures += [
                Figure(f"{words}, off", near if targets else share, "%", KLD_PERCENT if targets else None, True),
                Figure(f"{key}: perplexity {model.ppl:.3f} of {theirs['ppl']:.3f}, off", ppl, "%",
                       PPL_PERCENT if targets else None, True),
            ]  # fmt: skip
    return found, figures


# ---------------------------------------------------------------- sensitivity


def ranked(folder: Path, text: Path) -> SensitivityResult:
    """The sample's layers ranked on a text."""
    options = QuantizeOptions(target=SENSITIVE_TO)
    job = SensitivityJob(
        source=str(sample()), options=options, by="layer", text=(str(text),), context=CONTEXT, chunks=WINDOWS
    )
    result = engine.run(job)
    assert isinstance(result, SensitivityResult)
    return result


def sensitivity(folder: Path) -> tuple[Found, list[Figure]]:
    """Two rankings on the even and the odd paragraphs of one text."""
    paragraphs = [part for part in PROSE.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    results = []
    for number in range(2):
        path = folder / f"{number}.txt"
        path.write_text("\n\n".join(paragraphs[number::2]), encoding="utf-8")
        results.append(ranked(folder, path))
    first, second = ({piece.name: piece for piece in result.pieces} for result in results)
    within = 100 * float(np.mean([_agree(first[name], second[name]) for name in first]))
    alike = _rank_correlation([first[name].mean_kld for name in first], [second[name].mean_kld for name in first])
    seconds = sum(result.seconds for result in results) / 2
    figures = [
        Figure(f"{len(first)} pieces, {results[0].tokens} tokens each: one ranking", seconds, "s"),
        Figure("pieces whose two figures are within two standard errors", within, "%", WITHIN_TWO_ERRORS),
        Figure("rank correlation of the two", alike, "", RANKS_ALIKE),
    ]
    return {"within_percent": within, "rank_correlation": alike, "seconds": seconds}, figures


def _agree(a: Piece, b: Piece) -> bool:
    return bool(abs(a.mean_kld - b.mean_kld) <= 2 * np.hypot(a.mean_kld_error, b.mean_kld_error))


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

"""`make run` without a display: the main job on the bundled sample, from inspection to a chat answer, as text and PNG.

The jobs are those that the window and the command line run. Imports no Qt; the plots are drawn by the window's own
widgets in a child process (app.demo_plots), so that a machine without Qt's system libraries still gets the rest.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from app.cli_running import run_job
from app.cli_text import decibels, facts, table
from core import catalog
from core.errors import BitwrightError, Cancelled, ErrorReport, size
from core.jobs import (
    ChatJob,
    ChatResult,
    InspectJob,
    ModelSummary,
    QuantizeJob,
    QuantizeOptions,
    QuantizeResult,
    Sampling,
    TensorResult,
)

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "demo"
TARGET = "Q4_K_M"
QUESTION = "What is the capital of France?"
WORST = 5
KIND_TITLES = ("kind", "tensors", "types", "MiB before", "after", "bits before", "after", "error", "worst")
WORST_TITLES = ("tensor", "type", "error", "SNR", "why this type")
NO_SAMPLE = "error: The sample model is not installed. Run `make run`, which installs it."
HOW_TO_OPEN = """To open the window, give `make run` a display:
  on this machine's screen          DISPLAY=:0 make run
  over the network                  ssh -X to this machine, then make run
  on a virtual screen               xvfb-run make run"""


def main() -> int:
    """Runs the demo and returns the exit code: 0, that of the failed job, or 130 where it was interrupted."""
    source = catalog.sample_path()
    if source is None:
        print(NO_SAMPLE, file=sys.stderr)
        return 2
    try:
        run_demo(source)
    except BitwrightError as error:
        print(f"error: {error.line}", file=sys.stderr)
        return error.exit_code
    except (Cancelled, KeyboardInterrupt):
        return 130
    except Exception as error:  # the edge of the process: a bug is named in a line, its traceback kept for a report
        report = ErrorReport.of(error)
        log = FOLDER / "error.txt"
        log.write_text(traceback.format_exc(), encoding="utf-8")
        print(f"error: {report.what}. {report.why}. Details: {relative(str(log))}", file=sys.stderr)
        return 1
    return 0


def run_demo(source: Path) -> None:
    """Inspects, quantizes, tabulates, plots and chats; raises the core.errors leaf of the job that fails."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    heading("No display was found, so here is the main job without a window, on the bundled sample model")
    summary = inspect(source)
    heading(f"Quantizing to {TARGET}")
    result = quantize(source)
    show_errors(result)
    show_savings(result, summary.parameters)
    heading("Plots")
    draw_plots(result)
    heading("Chat with the result")
    chat(Path(result.output))
    heading("That was the headless tour")
    print(HOW_TO_OPEN)


def inspect(source: Path) -> ModelSummary:
    """Prints what the headers say."""
    summary = run_job(InspectJob(source=str(source)))
    assert isinstance(summary, ModelSummary)
    types = Counter(tensor.type for tensor in summary.tensors)
    print(
        facts(
            ("Model", f"{summary.name} ({summary.label})"),
            ("File", f"{source.name}, {size(summary.bytes)}"),
            ("Parameters", f"{summary.parameters / 1e6:.1f} million in {len(summary.tensors)} tensors"),
            ("Stored as", f"{counted(types)}; {summary.bits_per_weight:.2f} bits per weight"),
            ("Shape", f"{summary.layers} layers, width {summary.embedding_length}, context {summary.context_length}"),
        )
    )
    return summary


def quantize(source: Path) -> QuantizeResult:
    """Quantizes into build/demo, over the result of an earlier run."""
    job = QuantizeJob(
        source=str(source),
        output=str(FOLDER / catalog.output_name(source, TARGET)),
        # The sample is itself 4-bit (the small download is the point of it), so quantizing again must be allowed.
        options=QuantizeOptions(target=TARGET, allow_requantize=True),
    )
    result = run_job(job)
    assert isinstance(result, QuantizeResult)
    return result


def show_errors(result: QuantizeResult) -> None:
    """Prints the errors by kind of tensor, and the worst tensors."""
    rows = [kind_row(kind, tensors) for kind, tensors in by_kind(result.tensors).items()]
    print(table(KIND_TITLES, rows, " r rrrrrr"))
    print("\nError is the median relative RMSE against the source's weights: 0.05 means 5 % of their RMS size.")
    worst = sorted(result.tensors, key=lambda tensor: tensor.relative_rmse, reverse=True)[:WORST]
    print(f"\nThe {len(worst)} worst tensors:")
    print(table(WORST_TITLES, [worst_row(tensor) for tensor in worst], "  rr"))


def show_savings(result: QuantizeResult, parameters: int) -> None:
    """Prints what the result takes, beside the source and beside 16 bits for each of `parameters` weights."""
    half = 2 * parameters
    print()
    print(
        facts(
            ("Output", f"{relative(result.output)}, {size(result.bytes)}, verified (sha256 {result.sha256[:12]}…)"),
            ("Saved", f"{1 - result.bytes / half:.0%} of the model in 16 bits, {size(half)}"),
            ("Source", f"{size(result.source_bytes)}: it was quantized before, which is why the result is no smaller"),
            ("Bits per weight", f"{result.bpw_before:.2f} before, {result.bpw:.2f} after"),
            ("Error in all", f"{result.total.relative_rmse:.4f} relative RMSE, {decibels(result.total.snr_db)}"),
            ("Took", f"{result.seconds:.1f} s, peak memory {size(result.peak_memory_bytes)}"),
        )
    )


def by_kind(tensors: Iterable[TensorResult]) -> dict[str, list[TensorResult]]:
    """Tensors by their module (`blk.3.attn_q.weight` -> attn_q), in the order of first appearance."""
    kinds: dict[str, list[TensorResult]] = {}
    for tensor in tensors:
        kinds.setdefault(re.sub(r"^blk\.\d+\.|\.weight$", "", tensor.name), []).append(tensor)
    return kinds


def kind_row(kind: str, tensors: Sequence[TensorResult]) -> tuple[str, ...]:
    """One line of the table by kind."""
    before, after = (sum(getattr(tensor, key) for tensor in tensors) for key in ("source_bytes", "bytes"))
    elements = sum(tensor.elements for tensor in tensors)
    errors = [tensor.relative_rmse for tensor in tensors]
    return (
        kind,
        str(len(tensors)),
        counted(Counter(tensor.type for tensor in tensors)),
        f"{before / 2**20:.2f}",
        f"{after / 2**20:.2f}",
        f"{8 * before / elements:.2f}",
        f"{8 * after / elements:.2f}",
        figure(statistics.median(errors)),
        figure(max(errors)),
    )


def worst_row(tensor: TensorResult) -> tuple[str, ...]:
    """One line of the table of worst tensors."""
    return tensor.name, tensor.type, figure(tensor.relative_rmse), decibels(tensor.snr_db), tensor.reason


def draw_plots(result: QuantizeResult) -> None:
    """Draws the result page's plots as PNG in a child process; says so where Qt cannot start here."""
    file = FOLDER / "result.json"
    file.write_text(result.model_dump_json(by_alias=True, indent=1), encoding="utf-8")
    command = [sys.executable, "-m", "app.demo_plots", str(file), str(FOLDER)]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    drawn = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if drawn.returncode:
        reason = (drawn.stderr.strip() or "no reason given").splitlines()[-1]
        print(f"The plots could not be drawn: {reason}")
        return
    for line in drawn.stdout.splitlines():
        print(f"  {relative(line)}")


def chat(model: Path) -> None:
    """Asks the result one question and prints the answer."""
    sampling = Sampling(temperature=0, max_tokens=48, seed=1)
    answer = run_job(ChatJob(model=str(model), prompt=QUESTION, sampling=sampling))
    assert isinstance(answer, ChatResult)
    turn = answer.turns[0]
    speed = f"{turn.tokens} tokens at {turn.tokens_per_second:.0f} per second, {size(turn.memory_bytes)} of memory"
    print(facts(("You", QUESTION), ("Model", turn.text.strip()), ("Speed", speed)))


def counted(types: Counter[str]) -> str:
    """Types with how often each occurs, the most frequent first: '210 Q4_1, 61 F32'; one alone without its number."""
    if len(types) == 1:
        return next(iter(types))
    return ", ".join(f"{n} {name}" for name, n in types.most_common())


def figure(relative_rmse: float) -> str:
    """A relative error with four decimals; a bare 0 where there is none at all."""
    return f"{relative_rmse:.4f}" if relative_rmse else "0"


def relative(path: str) -> str:
    """A path below the checkout as seen from there; another one as it is."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else path


def heading(words: str) -> None:
    """Prints a section's title."""
    print(f"\n{words}\n{'-' * len(words)}", flush=True)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    if code == 0:
        print(f"\nDone in {time.monotonic() - began:.0f} s.")
    sys.exit(code)

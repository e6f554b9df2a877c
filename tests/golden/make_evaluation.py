"""Writes tests/golden/evaluation.json: what llama-perplexity says of types of the sample against its F32 form.

    python -m tests.golden.make_evaluation PATH/TO/llama-perplexity

Run in the project's root. The text is resources/evaluation/prose.txt. Every type is run twice: as it is, when llama.cpp
rounds what meets a quantized matrix to Q8_0, and as the same weights in F32 (TYPE/F32), when it does not. As it is, it
is also run over all plain texts of resources, one after another (TYPE/long): chance makes less of a difference there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from core import engine
from core.catalog import sample_path
from core.jobs import QuantizeJob, QuantizeOptions

ROOT = Path(__file__).parents[2]
TEXT = ROOT / "resources" / "evaluation" / "prose.txt"
FILE = Path(__file__).with_name("evaluation.json")
CONTEXT, CHUNKS, LONG_CHUNKS = 512, 2, 40
PURPOSES = ("evaluation", "calibration")
TYPES = ("Q8_0", "Q4_0", "Q5_0", "IQ4_NL")
# Our names for the lines that llama-perplexity prints; the number behind ± is NAME_error.
LINES = {
    "Mean PPL(Q)": "ppl",
    "Mean PPL(base)": "ppl_base",
    "Cor(ln(PPL(Q)), ln(PPL(base)))": "ppl_correlation",
    "Mean ln(PPL(Q)/PPL(base))": "ln_ratio",
    "Mean PPL(Q)/PPL(base)": "ppl_ratio",
    "Mean PPL(Q)-PPL(base)": "ppl_difference",
    "Mean KLD": "mean_kld",
    "Maximum KLD": "max_kld",
    "99.9% KLD": "kld_99_9",
    "99.0% KLD": "kld_99",
    "95.0% KLD": "kld_95",
    "90.0% KLD": "kld_90",
    "Median KLD": "median_kld",
    "Minimum KLD": "min_kld",
    "Mean Δp": "mean_dp",
    "Maximum Δp": "max_dp",
    "99.0% Δp": "dp_99",
    "Median Δp": "median_dp",
    "1.0% Δp": "dp_1",
    "Minimum Δp": "min_dp",
    "RMS Δp": "rms_dp",
    "Same top p": "same_top_p",
}


def quantized(type_name: str, folder: Path) -> Path:
    """The sample in a type, searched as llama-quantize does."""
    sample = sample_path()
    assert sample is not None
    return _made(sample, type_name, folder / f"{type_name}.gguf")


def long_text(folder: Path) -> Path:
    """All plain texts as one file."""
    path = folder / "long.txt"
    parts = [part for purpose in PURPOSES for part in sorted((ROOT / "resources" / purpose).glob("*.txt"))]
    path.write_text("\n\n".join(part.read_text("utf-8") for part in parts), encoding="utf-8")
    return path


def _made(source: Path, type_name: str, path: Path) -> Path:
    options = QuantizeOptions(target=type_name, fit="reference", allow_requantize=True)
    engine.run(QuantizeJob(source=str(source), output=str(path), options=options))
    return path


def parsed(printed: str) -> dict[str, float]:
    """The figures in what llama-perplexity printed, under our names."""
    found: dict[str, float] = {}
    for line in printed.splitlines():
        label, _, rest = line.partition(" :") if " :" in line else line.partition(":")
        name = LINES.get(" ".join(label.split()))
        numbers = re.findall(r"-?\d+\.\d+", rest)
        if name and numbers:
            found[name] = float(numbers[0])
            if len(numbers) > 1:
                found[f"{name}_error"] = float(numbers[1])
    return found


def _run(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = parsed(done.stdout)
    missing = set(LINES.values()) - set(found)
    assert not missing, f"{missing} not printed:\n{done.stdout}\n{done.stderr}"
    return found


def main(program: str) -> None:
    """Runs `program` on the base and every type, and writes the file."""
    golden: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logits = folder / "logits.dat"
        common = [program, "-c", str(CONTEXT), "-b", str(CONTEXT), "-t", "2", "-fa", "off"]
        common += ["--kl-divergence-base", str(logits)]
        base = ["-m", str(quantized("F32", folder)), "-f", str(TEXT), "--chunks", str(CHUNKS)]
        subprocess.run([*common, *base], check=True, capture_output=True)
        for type_name in TYPES:
            model = quantized(type_name, folder)
            golden[type_name] = _run([*common, "--kl-divergence", "-m", str(model)])
            widened = _made(model, "F32", folder / f"{type_name}.f32.gguf")
            golden[f"{type_name}/F32"] = _run([*common, "--kl-divergence", "-m", str(widened)])
            widened.unlink()
        long = ["-m", str(quantized("F32", folder)), "-f", str(long_text(folder)), "--chunks", str(LONG_CHUNKS)]
        subprocess.run([*common, *long], check=True, capture_output=True)
        for type_name in TYPES:
            model = quantized(type_name, folder)
            golden[f"{type_name}/long"] = _run([*common, "--kl-divergence", "-m", str(model)])
    FILE.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

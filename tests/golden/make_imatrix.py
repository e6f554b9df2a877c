"""Writes tests/golden/imatrix.npz: what llama.cpp's llama-imatrix computes for the sample and for tiny random models.

    python -m tests.golden.make_imatrix PATH/TO/llama-imatrix

Run in the project's root. The text is the file LICENSE. Of the sample a few layers are kept. Sums are stored divided
by their tensor's largest, as F16.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from core import engine
from core.catalog import sample_path
from core.imatrix import read_imatrix
from core.jobs import QuantizeJob, QuantizeOptions
from tests.core import hf_families

ROOT = Path(__file__).parents[2]
TEXT = ROOT / "LICENSE"
FILE = Path(__file__).with_name("imatrix.npz")
SAMPLE_LAYERS = (0, 14, 29)
# Model to (context, windows).
RUNS = {
    "sample": (256, 2),
    "llama-biases-llama3": (64, 8),
    "mistral-sentencepiece": (64, 8),
    "mixtral": (64, 8),
    "qwen2moe": (64, 8),
    "qwen3moe": (64, 8),
    "gemma2": (64, 8),
    "phi4": (64, 8),
    "starcoder2": (64, 8),
    "gpt2": (64, 8),
}


def model_of(name: str, folder: Path) -> Path:
    """The GGUF file of one of RUNS, as F32; the sample as it is."""
    if name == "sample":
        path = sample_path()
        assert path is not None
        return path
    path = folder / f"{name}.gguf"
    source = str(hf_families.build(name, folder / name))
    engine.run(QuantizeJob(source=source, output=str(path), options=QuantizeOptions(target="F32")))
    return path


def main(program: str) -> None:
    """Runs `program` on every model and writes the file."""
    arrays: dict[str, np.ndarray] = {}
    for name, (context, chunks) in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "imatrix.gguf"
            command = [program, "-m", str(model_of(name, Path(folder))), "-f", str(TEXT), "-o", str(out)]
            command += [
                "-c",
                str(context),
                "-b",
                str(context),
                "--chunks",
                str(chunks),
                "--no-ppl",
                "-t",
                "2",
                "-fa",
                "off",
            ]
            subprocess.run(command, check=True, capture_output=True)
            for tensor, entry in read_imatrix(out).entries.items():
                if name == "sample" and int(tensor.split(".")[1]) not in SAMPLE_LAYERS:
                    continue
                arrays[f"{name}|{tensor}|sums"] = (entry.sums / max(entry.sums.max(), 1e-30)).astype(np.float16)
                arrays[f"{name}|{tensor}|counts"] = entry.counts.astype(np.int32)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])

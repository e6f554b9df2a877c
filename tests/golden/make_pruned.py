"""Makes pruned.json: names, types and metadata of what llama-quantize writes with --prune-layers, and with COPY.

Needs llama.cpp's llama-quantize:

    python tests/golden/make_pruned.py PATH-OF-llama-quantize

The models are those of tests/core/mix_models.py; COPY is asked for of their Q4_K_M. Metadata is what a reader gives;
texts and lists are left out, which no option here changes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from core.engine import run  # noqa: E402
from core.jobs import QuantizeJob, QuantizeOptions  # noqa: E402
from core.sources import open_source  # noqa: E402
from tests.core import mix_models  # noqa: E402

MAGIC, VERSION = "bitwright-golden-pruned", 1
COMMAND = "python tests/golden/make_pruned.py PATH-OF-llama-quantize"
# Model, target, layers, whether an importance matrix is given; layers at the beginning, between and at the end.
ASKED: tuple[tuple[str, str, str, bool], ...] = (
    ("llama-grouped", "Q4_K_M", "3,4,5", False),
    ("llama-grouped", "Q4_K_M", "14,0,15,1,7", False),
    ("llama-tied", "Q3_K_M", "2,9", True),
    ("llama-tied", "IQ2_M", "0,8,10", True),
    ("qwen3moe-8", "Q4_K_M", "1,6", False),
    ("qwen3moe-4", "IQ3_XXS", "7", True),
    ("llama-grouped", "COPY", "", False),
    ("llama-grouped", "COPY", "0,4,15", False),
    ("qwen3moe-4", "COPY", "3", False),
)


def contents(path: Path) -> dict[str, Any]:
    """A file's tensor types, written short, and its metadata: every key with its type, numbers with their value."""
    with open_source(path) as source:
        types = mix_models.compact({tensor.name: tensor.type for tensor in source.tensors})
        keys = {
            entry.key: [entry.type, entry.value if isinstance(entry.value, int) else None] for entry in source.metadata
        }
    return {"types": types, "metadata": dict(sorted(keys.items()))}


def prepared(folder: Path, name: str, target: str) -> tuple[Path, str]:
    """The file that is asked for, and an importance matrix of the whole model."""
    blueprint = mix_models.MODELS[name]
    path, matrix = folder / f"{name}.gguf", folder / f"{name}.imatrix"
    if not path.exists():
        mix_models.write_model(path, blueprint)
        mix_models.write_importance(matrix, mix_models.shapes(blueprint))
    if target != "COPY":
        return path, str(matrix)
    quantized = folder / f"{name}-Q4_K_M.gguf"
    if not quantized.exists():
        run(QuantizeJob(source=str(path), output=str(quantized), options=QuantizeOptions(target="Q4_K_M")))
    return quantized, str(matrix)


def main() -> None:
    """Runs llama-quantize and writes the golden file beside this script."""
    parser = argparse.ArgumentParser(description="Makes pruned.json with llama-quantize.")
    parser.add_argument("program", type=Path, help="the path of llama-quantize")
    program = parser.parse_args().program.resolve()
    made = []
    with tempfile.TemporaryDirectory() as work:
        for name, target, layers, weighted in ASKED:
            path, matrix = prepared(Path(work), name, target)
            output = Path(work) / "out.gguf"
            words = ["--prune-layers", layers] if layers else []
            words += ["--imatrix", matrix] if weighted else []
            subprocess.run([str(program), *words, str(path), str(output), target], capture_output=True, check=True)
            row = {"model": name, "target": target, "layers": layers, "weighted": weighted}
            made.append(row | contents(output))
    content = {"magic": MAGIC, "version": VERSION, "command": COMMAND, "made": made}
    text = re.sub(r"\[\s+(\S+),\s+(\S+)\s+\]", r"[\1, \2]", json.dumps(content, indent=1))  # one line for a key
    Path(__file__).with_name("pruned.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

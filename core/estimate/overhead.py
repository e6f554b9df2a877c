"""What a program takes beside what can be counted: libraries, the device's context, the vocabulary's tables.

A starting table, corrected by what real loads on this machine took. This module is light.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from core.estimate.values import Backend, Runtime
from core.values import Value

MIB = 1 << 20
# The program's own memory: for llama.cpp what a chat process of this program takes (measured on Linux), for the others
# Python with torch and CUDA's libraries (assumed, not measured).
HOST: dict[Runtime, int] = {"llama.cpp": 58 * MIB, "transformers": 900 * MIB, "vllm": 2500 * MIB}
# llama.cpp's vocabulary: text, type, score and merges of each token (measured with the sample's 49152).
TOKEN_BYTES = 256
# On the GPU: the driver's context and the kernels that are loaded. What gguf-parser, Ollama and others assume lies
# between 250 and 512 MiB for CUDA; vLLM adds captured graphs. Assumed, not measured: no GPU was at hand.
DEVICE: dict[tuple[Runtime, Backend], int] = {
    ("llama.cpp", "cuda"): 300 * MIB,
    ("llama.cpp", "vulkan"): 150 * MIB,
    ("llama.cpp", "metal"): 0,
    ("transformers", "cuda"): 500 * MIB,
    ("vllm", "cuda"): 1000 * MIB,
}
LOADS_COUNTED = 20


class Load(Value):
    """One real loading: what was predicted without a correction, and the resident memory that was measured."""

    model: str
    backend: Backend
    context: int
    predicted: int
    measured: int
    at: float


def correction(loads: Sequence[Load], backend: Backend) -> int:
    """Bytes to add to the computer's overhead: the median of what the latest loads took more than predicted."""
    differences = [load.measured - load.predicted for load in loads if load.backend == backend][-LOADS_COUNTED:]
    return round(median(differences)) if differences else 0


def host_overhead(runtime: Runtime, vocabulary: int, corrected_by: int = 0) -> int:
    """Bytes of the computer's memory; never less than none."""
    tables = TOKEN_BYTES * vocabulary if runtime == "llama.cpp" else 0
    return max(HOST[runtime] + tables + corrected_by, 0)


def device_overhead(runtime: Runtime, backend: Backend) -> int:
    """Bytes of each GPU's memory."""
    return DEVICE.get((runtime, backend), DEVICE[(runtime, "cuda")])

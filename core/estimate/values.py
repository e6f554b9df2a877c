"""What an estimate is made of and what it says, as values: sizes in bytes, lengths in elements, times in seconds.

This module is light: the window recomputes an estimate from a ModelFacts without asking a worker.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.values import Value

Runtime = Literal["llama.cpp", "transformers", "vllm"]
Backend = Literal["cpu", "cuda", "vulkan", "metal"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


class Layer(Value):
    """One decoder layer: its weights, and what it keeps of the text read so far.

    expert_bytes: that part of `bytes` that a mixture's experts are. repacked_bytes: of what llama.cpp makes a second,
    rearranged copy where the processor computes. key_width, value_width: elements cached for every
    token; 0 where there is no cache. latent_width: the same where only a latent is cached (MLA, in vLLM). window: a
    sliding window in tokens, 0 = the whole context. state: elements of a recurrent state, F32, per sequence.
    """

    bytes: int
    expert_bytes: int = 0
    repacked_bytes: int = 0
    key_width: int = 0
    value_width: int = 0
    latent_width: int = 0
    window: int = 0
    state: int = 0


class ModelFacts(Value):
    """What a model's headers say that its memory depends on.

    problem: why only the weights are known, in words; "" where everything is. output_bytes: 0 where the output layer
    is the token embedding. largest_matrix: bytes of the largest weight in a layer. An unknown size is 0. cache_bytes:
    of one cached element, where that is the model's own type (transformers, vLLM).
    """

    source: str
    name: str
    form: Literal["gguf", "safetensors"]
    architecture: str
    problem: str = ""
    embedding_bytes: int
    output_bytes: int
    output_repacked_bytes: int = 0
    other_bytes: int
    layers: tuple[Layer, ...]
    largest_matrix: int = 0
    heads: int = 0
    head_length: int = 0
    embedding_length: int = 0
    feed_forward_length: int = 0
    vocabulary: int = 0
    experts: int = 0
    experts_used: int = 0
    context_length: int = 0
    cache_bytes: int = 2

    @property
    def weight_bytes(self) -> int:
        """All weights, as stored."""
        return self.embedding_bytes + self.output_bytes + self.other_bytes + sum(layer.bytes for layer in self.layers)

    @property
    def known(self) -> bool:
        """Whether more than the weights can be told."""
        return not self.problem


class RunOptions(Value):
    """How a model is to be run.

    runtime: None = the usual one for its files. context: tokens per sequence, 0 = what the model was trained for.
    sequences: texts at a time. unified: they share one cache. batch: tokens read at a time (llama.cpp's n_ubatch).
    output_rows: tokens of a batch whose probabilities are wanted, 0 = all (llama.cpp reserves room for them).
    gpu_layers: layers on the GPUs, the output layer counting as one, as llama.cpp's -ngl. split: shares of the GPUs.
    experts_on_cpu: a mixture's experts stay in the computer's memory. full_window: sliding windows are cached whole.
    """

    runtime: Runtime | None = None
    backend: Backend = "cpu"
    context: int = Field(default=4096, ge=0, le=1 << 27)
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    sequences: int = Field(default=1, ge=1, le=1024)
    unified: bool = False
    batch: int = Field(default=512, ge=1, le=1 << 16)
    output_rows: int = Field(default=0, ge=0)
    flash_attention: bool = True
    full_window: bool = False
    gpu_layers: int = Field(default=0, ge=0)
    split: tuple[float, ...] = (1.0,)
    experts_on_cpu: bool = False


class Gpu(Value):
    """One graphics processor and its memory, as the driver tells them."""

    name: str
    total: int
    free: int


class Machine(Value):
    """The memory of this computer: what there is, and what can be used without pushing others out."""

    total: int
    free: int
    gpus: tuple[Gpu, ...] = ()


class DeviceMemory(Value):
    """What lies in the memory of one device. kind: the computer's own memory, or a GPU's."""

    name: str
    kind: Literal["host", "gpu"]
    weights: int = 0
    cache: int = 0
    state: int = 0
    compute: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        """Everything together."""
        return self.weights + self.cache + self.state + self.compute + self.overhead


class RunEstimate(Value):
    """The memory a model takes while it runs, by device, the computer's own first.

    context: tokens per sequence it was computed for. assumptions: what it rests on, a sentence each. complete: False
    where only the weights are known.
    """

    runtime: Runtime
    context: int
    devices: tuple[DeviceMemory, ...]
    complete: bool
    assumptions: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All devices together."""
        return sum(device.total for device in self.devices)


class Verdict(Value):
    """Whether a model fits a machine. spare: bytes left on the tightest device, negative where it does not fit.

    level: fits, tight (it fits, with little left), not (does not fit), unknown (only weights known, and they fit).
    """

    level: Literal["fits", "tight", "not", "unknown"]
    spare: int
    words: str

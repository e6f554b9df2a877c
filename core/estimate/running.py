"""The memory that a model takes while it runs, by device: weights, cache, state, computation, overhead.

llama.cpp: layers lie on devices as in llama_model::load_tensors, caches as in core.estimate.cache, and the compute
buffer is the larger of two live sets, the probabilities of a batch and a feed-forward network; the first is exact for
large vocabularies, the second was fitted to what llama.cpp allocates for Llama shapes. transformers and vLLM: on one
device. This module is light.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from core.estimate.cache import layer_cache, layer_state, padded, plain_cache, value_type
from core.estimate.overhead import device_overhead, host_overhead
from core.estimate.values import DeviceMemory, Layer, ModelFacts, RunEstimate, RunOptions, Runtime

HOST = "Computer"
FLOAT = 4
# Live at once in the widest place of a layer, per token: (feed-forward widths, model widths). Fitted to four shapes;
# where the feed-forward network is as narrow as the model it says an eighth too much (18 of 16 MiB, see the tests).
LIVE = (3, 5)
# Tokens that vLLM reads at a time by default (max_num_batched_tokens).
VLLM_BATCH = 8192
USUAL_CONTEXT = 4096


def estimate_run(facts: ModelFacts, options: RunOptions, corrected_by: int = 0) -> RunEstimate:
    """What the model takes; of an unknown architecture the weights alone.

    corrected_by: bytes of overhead that real loads in llama.cpp took on this machine beside what the table says.
    """
    runtime: Runtime = options.runtime or ("llama.cpp" if facts.form == "gguf" else "transformers")
    options = options.model_copy(update={"runtime": runtime})
    context = options.context or facts.context_length or USUAL_CONTEXT
    plan = _Llama(facts, options, context, corrected_by) if runtime == "llama.cpp" else None
    devices = plan.devices() if plan else _one_device(facts, options, context)
    return RunEstimate(
        runtime=runtime,
        context=context,
        devices=tuple(devices),
        complete=facts.known,
        assumptions=tuple(_assumptions(facts, options, context)),
    )


class _Llama:
    """llama.cpp's way: whole layers on devices, the embedding always in the computer's memory."""

    def __init__(self, facts: ModelFacts, options: RunOptions, context: int, corrected_by: int) -> None:
        self._facts, self._options, self._context = facts, options, context
        self._corrected_by = corrected_by
        self._place = places(facts, options)

    def devices(self) -> list[DeviceMemory]:
        """The computer first, then each GPU that holds something."""
        gpus = sorted({place for place in self._place if place is not None})
        return [self._host(), *(self._gpu(number) for number in gpus)]

    def _host(self) -> DeviceMemory:
        facts, layers = self._facts, self._layers(None)
        weights = facts.embedding_bytes + sum(layer.bytes + layer.repacked_bytes for layer in layers)
        if self._place[-1] is None:
            weights += facts.output_bytes + facts.output_repacked_bytes + facts.other_bytes
        if self._options.experts_on_cpu:
            weights += sum(layer.expert_bytes for layer in facts.layers) - sum(layer.expert_bytes for layer in layers)
        return DeviceMemory(
            name=HOST,
            kind="host",
            weights=weights,
            cache=self._cache(None),
            state=self._state(None),
            compute=self._compute(None),
            overhead=host_overhead("llama.cpp", facts.vocabulary, self._corrected_by),
        )

    def _gpu(self, number: int) -> DeviceMemory:
        facts, layers = self._facts, self._layers(number)
        weights = sum(layer.bytes for layer in layers)
        if self._options.experts_on_cpu:
            weights -= sum(layer.expert_bytes for layer in layers)
        if self._place[-1] == number:
            # An output layer that is the token embedding becomes a copy of it.
            weights += (facts.output_bytes or facts.embedding_bytes) + facts.other_bytes
        return DeviceMemory(
            name=f"GPU {number}" if len(self._options.split) > 1 else "GPU",
            kind="gpu",
            weights=weights,
            cache=self._cache(number),
            state=self._state(number),
            compute=self._compute(number),
            overhead=device_overhead("llama.cpp", self._options.backend),
        )

    def _layers(self, place: int | None) -> list[Layer]:
        return [layer for layer, where in zip(self._facts.layers, self._place, strict=False) if where == place]

    def _cache(self, place: int | None) -> int:
        return sum(layer_cache(layer, self._options, self._context) for layer in self._layers(place))

    def _state(self, place: int | None) -> int:
        return sum(layer_state(layer, self._options) for layer in self._layers(place))

    def _compute(self, place: int | None) -> int:
        facts, options = self._facts, self._options
        if not facts.known:
            return 0
        batch = min(options.batch, self._context)
        mask = 2 * padded(self._context) * batch
        if place is None and not self._layers(None) and self._place[-1] is not None:
            return FLOAT * batch * facts.embedding_length + mask
        forward, width = LIVE
        floats = batch * (forward * facts.feed_forward_length + width * facts.embedding_length)
        floats += batch * (facts.experts + facts.embedding_length * facts.experts_used)
        if not options.flash_attention:
            floats += batch * facts.heads * (self._context + facts.head_length)
        live = FLOAT * floats + mask
        if self._place[-1] == place:
            rows = min(options.output_rows or batch, batch)
            live = max(live, FLOAT * rows * (facts.vocabulary + facts.embedding_length))
        return live + (self._copied() if place is not None else 0)

    def _copied(self) -> int:
        """With some layers left on the processor, one of their matrices and one layer's cache visit the GPU."""
        left = self._layers(None)
        if not left and not self._options.experts_on_cpu:
            return 0
        cache = max((layer_cache(layer, self._options, self._context) for layer in left), default=0)
        return self._facts.largest_matrix + cache


def places(facts: ModelFacts, options: RunOptions) -> list[int | None]:
    """The device of every layer and, last, of the output layer: a GPU's number, or None for the computer's memory."""
    count = len(facts.layers) + 1
    on_gpu = min(options.gpu_layers, count)
    first = count - on_gpu
    total = sum(options.split) or 1.0
    ends = [end / total for end in accumulate(options.split)]
    last = len(options.split) - 1
    return [
        None if number < first else min(bisect_right(ends, (number - first) / on_gpu), last) for number in range(count)
    ]


def _one_device(facts: ModelFacts, options: RunOptions, context: int) -> list[DeviceMemory]:
    """What transformers and vLLM take: the whole model on one device, in its own type."""
    assert options.runtime is not None
    on_gpu = options.backend != "cpu"
    read = min(context, VLLM_BATCH) if options.runtime == "vllm" else context
    forward, width = LIVE
    live = read * (forward * facts.feed_forward_length + width * facts.embedding_length) * facts.cache_bytes
    own = host_overhead(options.runtime, facts.vocabulary)
    model = DeviceMemory(
        name="GPU" if on_gpu else HOST,
        kind="gpu" if on_gpu else "host",
        weights=facts.weight_bytes,
        cache=sum(plain_cache(layer, options, context, facts.cache_bytes) for layer in facts.layers),
        state=sum(layer_state(layer, options) for layer in facts.layers),
        compute=live + FLOAT * options.sequences * facts.vocabulary if facts.known else 0,
        overhead=device_overhead(options.runtime, options.backend) if on_gpu else own,
    )
    return [DeviceMemory(name=HOST, kind="host", overhead=own), model] if on_gpu else [model]


def _assumptions(facts: ModelFacts, options: RunOptions, context: int) -> list[str]:
    """What the figures rest on, a sentence each."""
    said = []
    if not facts.known:
        said.append(f"{facts.problem}: weights only, without cache and computation.")
    if options.runtime == "llama.cpp":
        said += _llama_assumptions(facts, options)
    else:
        said.append("The cache is kept in the model's own type, and nothing is quantized while it is loaded.")
    if options.runtime == "vllm":
        said.append("vLLM takes 90 % of the GPU whatever the model needs; this is the least it must have.")
    if facts.context_length and context > facts.context_length:
        said.append(f"The model was trained for {facts.context_length} tokens only.")
    return said


def _llama_assumptions(facts: ModelFacts, options: RunOptions) -> list[str]:
    said = []
    if value_type(options) != options.cache_type_v:
        said.append(f"Without flash attention, values are cached as f16 instead of {options.cache_type_v}.")
    host_layers = [layer for layer, place in zip(facts.layers, places(facts, options), strict=False) if place is None]
    copied = sum(layer.repacked_bytes for layer in host_layers)
    if copied:
        said.append("The processor works on a second, rearranged copy of some weights, which counts as weights here.")
    return said

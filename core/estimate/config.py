"""From a Hugging Face config.json and tensor names to what memory depends on, for transformers and vLLM.

The meaning of the keys is that of transformers' configuration classes. This module is light; it converts nothing, so
it works on families that cannot be quantized here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.estimate.architectures import MODEL_TYPE_WINDOWS, MODEL_TYPES
from core.estimate.metadata import MOST_LAYERS
from core.estimate.values import Layer, ModelFacts

# Where a larger model keeps the configuration of its language model.
_NESTED = ("text_config", "llm_config", "language_config")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_ELSEWHERE = re.compile(r"vision|visual|audio|image")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens\w*|wte|wpe|word_embeddings|embed_in)\.weight$")
_OUTPUT = re.compile(r"(?:^|\.)(?:lm_head|embed_out)\.weight$")
_ELEMENT_BYTES = {"float32": 4, "float64": 8}
_NAMES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "forward": ("intermediate_size", "n_inner", "ffn_dim"),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "used": ("num_experts_per_tok", "num_experts_per_token"),
}


class Config:
    """A config.json's values as numbers; what is missing or of another kind is 0."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        inner: Mapping[str, Any] = next((values[key] for key in _NESTED if isinstance(values.get(key), Mapping)), {})
        self.values: dict[str, Any] = {**values, **inner}

    @property
    def model_type(self) -> str:
        """The name of the configuration class."""
        return str(self.values.get("model_type", ""))

    def number(self, key: str, default: int = 0) -> int:
        """One number under one of the names families use for it."""
        for name in _NAMES.get(key, (key,)):
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
        return default

    @property
    def element_bytes(self) -> int:
        """Bytes of one number in the model's own type."""
        name = self.values.get("dtype") or self.values.get("torch_dtype")
        return _ELEMENT_BYTES.get(str(name).removeprefix("torch."), 2)


@dataclass(slots=True)
class _Weights:
    embedding: int = 0
    output: int = 0
    other: int = 0
    largest: int = 0
    layers: Counter[int] = field(default_factory=Counter)

    def add(self, name: str, n_bytes: int) -> None:
        match = None if _ELSEWHERE.search(name) else _LAYER.search(name)
        if match:
            self.layers[int(match[1])] += n_bytes
            self.largest = max(self.largest, n_bytes)
        elif _EMBEDDING.search(name):
            self.embedding += n_bytes
        elif _OUTPUT.search(name):
            self.output += n_bytes
        else:
            self.other += n_bytes


def facts_of_config(
    source: str, name: str, values: Mapping[str, Any], tensors: Iterable[tuple[str, int]]
) -> ModelFacts:
    """The facts of a checkpoint from its configuration and its tensors (name, bytes). Never raises."""
    config = Config(values)
    sums = _Weights()
    for tensor, n_bytes in tensors:
        sums.add(tensor, n_bytes)
    problem = _problem(config)
    count = min(config.number("layers") if not problem else max(sums.layers, default=-1) + 1, MOST_LAYERS)
    caches = [Layer(bytes=0)] * count if problem else [_layer(config, number, count) for number in range(count)]
    layers = tuple(layer.model_copy(update={"bytes": sums.layers[number]}) for number, layer in enumerate(caches))
    beyond = sum(n_bytes for number, n_bytes in sums.layers.items() if number >= count)
    width, heads = config.number("width"), config.number("heads")
    return ModelFacts(
        source=source,
        name=name,
        form="safetensors",
        architecture=config.model_type,
        problem=problem,
        embedding_bytes=sums.embedding,
        output_bytes=sums.output,
        other_bytes=sums.other + beyond,
        layers=layers,
        largest_matrix=sums.largest,
        heads=heads,
        head_length=_head_length(config),
        embedding_length=width,
        feed_forward_length=_forward_length(config),
        vocabulary=config.number("vocab_size"),
        experts=config.number("experts"),
        experts_used=config.number("used"),
        context_length=config.number("context"),
        cache_bytes=config.element_bytes,
    )


def _problem(config: Config) -> str:
    """Why the caches of a model are not known, or ''."""
    if config.model_type not in MODEL_TYPES:
        return f"The model type {config.model_type or '(none named)'} is not known here"
    if not 0 < config.number("layers") <= MOST_LAYERS or not config.number("width") or not config.number("heads"):
        return "config.json does not say how many layers and heads the model has and how wide it is"
    return ""


def _layer(config: Config, number: int, count: int) -> Layer:
    """What one layer keeps, without its weights."""
    kind = _kind(config, number, count)
    if kind == "linear_attention":
        return Layer(bytes=0, state=_linear_state(config))
    if number >= count - config.number("num_kv_shared_layers"):
        return Layer(bytes=0)
    window = config.number("sliding_window") if kind == "sliding_attention" else 0
    window = config.number("attention_chunk_size") if kind == "chunked_attention" else window
    heads, length = config.number("heads"), _head_length(config)
    if rank := config.number("kv_lora_rank"):
        rope = config.number("qk_rope_head_dim")
        key, value = config.number("qk_nope_head_dim") + rope, config.number("v_head_dim")
        return Layer(bytes=0, key_width=heads * key, value_width=heads * value, latent_width=rank + rope)
    width = config.number("num_key_value_heads", heads) * length
    return Layer(bytes=0, key_width=width, value_width=width, window=window)


def _kind(config: Config, number: int, count: int) -> str:
    """How a layer attends, under the names of transformers' layer_types."""
    kinds = config.values.get("layer_types")
    if isinstance(kinds, Sequence) and not isinstance(kinds, str) and len(kinds) == count:
        return str(kinds[number])
    if not config.number("sliding_window") or config.values.get("use_sliding_window") is False:
        return "full_attention"
    rule = MODEL_TYPE_WINDOWS.get(config.model_type)
    has_window = rule.has(number) if rule else number >= config.number("max_window_layers")
    return "sliding_attention" if has_window else "full_attention"


def _linear_state(config: Config) -> int:
    """Elements of the state of a gated delta net (Qwen3-Next): a matrix for each value head, and its convolution."""
    key = config.number("linear_num_key_heads") * config.number("linear_key_head_dim")
    value = config.number("linear_num_value_heads") * config.number("linear_value_head_dim")
    convolution = max(config.number("linear_conv_kernel_dim") - 1, 0) * (2 * key + value)
    return convolution + value * config.number("linear_key_head_dim")


def _head_length(config: Config) -> int:
    heads = config.number("heads")
    return config.number("head_dim") or (config.number("width") // heads if heads else 0)


def _forward_length(config: Config) -> int:
    """Width of the feed-forward network as far as a token passes through it."""
    experts = config.number("moe_intermediate_size", config.number("forward")) * config.number("used")
    return max(config.number("forward", 4 * config.number("width")), experts)

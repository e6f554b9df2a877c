"""From GGUF's keys and tensors to what memory depends on. Works on a header alone, of a file that need not be here.

Sizes of caches and states follow llama.cpp, src/llama-hparams.cpp. This module is light.
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from core.estimate.architectures import FIRST_SHARED, KNOWN, PLAIN, RECURRENT, WINDOWS
from core.estimate.values import Layer, ModelFacts

MOST_LAYERS = 4096
# Types that llama.cpp keeps a second, rearranged copy of for the processor (ggml-cpu/repack.cpp): with AVX2, with NEON.
_ON_X86 = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
_ON_ARM = _ON_X86 | {"Q5_K", "Q6_K", "Q8_0"}
REPACKED = _ON_ARM if platform.machine().lower() in ("arm64", "aarch64") else _ON_X86
REPACKED_ROWS = 8
_LAYER = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(r"blk\.\d+\.ffn_(up|down|gate_up|gate)_(ch|)exps")
# Kept in the computer's memory by llama.cpp, whatever is on the GPU: rows are looked up in them.
_INPUTS = ("token_embd.", "per_layer_token_embd.", "position_embd.", "token_types.")


class Stored(NamedTuple):
    """One tensor as a file holds it, or will hold it; shape in numpy order."""

    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def repacked(self) -> int:
        """Bytes of the second copy that llama.cpp keeps where the processor computes with it."""
        rows = self.shape[-2] if len(self.shape) > 1 else 0
        return self.bytes if self.type in REPACKED and rows and rows % REPACKED_ROWS == 0 else 0


@dataclass(slots=True)
class Weights:
    """Bytes of all tensors, by the part of the network they belong to."""

    embedding: int = 0
    output: int = 0
    output_repacked: int = 0
    other: int = 0
    largest: int = 0
    layers: Counter[int] = field(default_factory=Counter)
    experts: Counter[int] = field(default_factory=Counter)
    repacked: Counter[int] = field(default_factory=Counter)

    def add(self, tensor: Stored) -> None:
        """Counts one tensor under its GGUF name."""
        match = _LAYER.match(tensor.name)
        if match:
            layer = int(match[1])
            self.layers[layer] += tensor.bytes
            self.repacked[layer] += tensor.repacked
            self.experts[layer] += tensor.bytes if _EXPERTS.match(tensor.name) else 0
            self.largest = max(self.largest, tensor.bytes)
        elif tensor.name.startswith(_INPUTS):
            self.embedding += tensor.bytes
        elif tensor.name.startswith("output."):
            self.output += tensor.bytes
            self.output_repacked += tensor.repacked
        else:
            self.other += tensor.bytes


class Keys:
    """The `<architecture>.*` keys as numbers; what is missing or of another kind is 0."""

    def __init__(self, architecture: str, values: Mapping[str, Any]) -> None:
        self._prefix = f"{architecture}."
        self._values = values

    def number(self, key: str, default: int = 0) -> int:
        """One number; of a list, its largest."""
        value = self._values.get(self._prefix + key)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return max((_whole(item) for item in value), default=default)
        return default if value is None else _whole(value)

    def each(self, key: str, layers: int, default: int = 0) -> list[int]:
        """One number for every layer, from a list or from one number for all."""
        value = self._values.get(self._prefix + key)
        if isinstance(value, Sequence) and not isinstance(value, str):
            found = [_whole(item) for item in value][:layers]
            return found + [default] * (layers - len(found))
        return [self.number(key, default)] * layers

    def has(self, key: str) -> bool:
        """Whether the file has the key."""
        return self._prefix + key in self._values

    def is_list(self, key: str) -> bool:
        """Whether the key has a value for each layer."""
        value = self._values.get(self._prefix + key)
        return isinstance(value, Sequence) and not isinstance(value, str)


def _whole(value: Any) -> int:
    """A number that is not negative; anything else is 0."""
    return int(value) if isinstance(value, int) and value > 0 else 0


def facts_of_gguf(source: str, name: str, values: Mapping[str, Any], tensors: Iterable[Stored]) -> ModelFacts:
    """The facts of a model from its GGUF metadata (key to value) and its tensors. Never raises.

    tensors may be those of a plan: then the facts are those of the file that will be made.
    """
    architecture = str(values.get("general.architecture", ""))
    keys = Keys(architecture, values)
    sums = Weights()
    for tensor in tensors:
        sums.add(tensor)
    problem = _problem(architecture, keys)
    count = keys.number("block_count") if not problem else max(sums.layers, default=-1) + 1
    count = min(count, MOST_LAYERS)
    caches = [Layer(bytes=0)] * count if problem else _caches(architecture, keys, count)
    layers = tuple(
        cache.model_copy(
            update={
                "bytes": sums.layers[number],
                "expert_bytes": sums.experts[number],
                "repacked_bytes": sums.repacked[number],
            }
        )
        for number, cache in enumerate(caches)
    )
    beyond = sum(n_bytes for number, n_bytes in sums.layers.items() if number >= count)
    heads = keys.number("attention.head_count")
    return ModelFacts(
        source=source,
        name=name,
        form="gguf",
        architecture=architecture,
        problem=problem,
        embedding_bytes=sums.embedding,
        output_bytes=sums.output,
        output_repacked_bytes=sums.output_repacked,
        other_bytes=sums.other + beyond,
        layers=layers,
        largest_matrix=sums.largest,
        heads=heads,
        head_length=keys.number("attention.key_length") or _ratio(keys.number("embedding_length"), heads),
        embedding_length=keys.number("embedding_length"),
        feed_forward_length=_forward_length(keys),
        vocabulary=_vocabulary(keys, values),
        experts=keys.number("expert_count"),
        experts_used=keys.number("expert_used_count"),
        context_length=keys.number("context_length"),
    )


def _problem(architecture: str, keys: Keys) -> str:
    """Why the caches of a model are not known, or ''."""
    if architecture not in KNOWN:
        return f"The architecture {architecture or '(none named)'} is not known here"
    count = keys.number("block_count")
    if not 0 < count <= MOST_LAYERS or not keys.number("embedding_length"):
        return "The file does not say how many layers it has and how wide they are"
    if RECURRENT.get(architecture) != "all" and not keys.number("attention.head_count"):
        return "The file does not say how many attention heads it has"
    return ""


def _caches(architecture: str, keys: Keys, count: int) -> list[Layer]:
    """What each layer keeps, without its weights."""
    recurrent = _recurrent_layers(architecture, keys, count)
    beside = RECURRENT.get(architecture) == "beside"
    windows = _windows(architecture, keys, count)
    with_cache = _layers_with_cache(architecture, keys, count)
    state = _state(keys)
    layers = []
    for number in range(count):
        attends = number < with_cache and (beside or not recurrent[number])
        key, value = _widths(keys, number, count, windows[number]) if attends else (0, 0)
        kept = state if recurrent[number] else 0
        layers.append(Layer(bytes=0, key_width=key, value_width=value, window=windows[number], state=kept))
    return layers


def _widths(keys: Keys, number: int, count: int, window: int) -> tuple[int, int]:
    """Elements of keys and of values that one layer caches for a token."""
    heads = keys.each("attention.head_count", count)[number]
    kv_heads = keys.each("attention.head_count_kv", count, heads)[number]
    usual = _ratio(keys.number("embedding_length"), keys.number("attention.head_count"))
    key, value = keys.number("attention.key_length", usual), keys.number("attention.value_length", usual)
    if window:
        key = keys.number("attention.key_length_swa", key)
        value = keys.number("attention.value_length_swa", value)
    # Multi-head latent attention keeps the latent alone, as keys; values are read out of it.
    return kv_heads * key, 0 if keys.has("attention.key_length_mla") else kv_heads * value


def _windows(architecture: str, keys: Keys, count: int) -> list[int]:
    """The sliding window of every layer, 0 = none."""
    rule = WINDOWS.get(architecture)
    if architecture in PLAIN or rule is None or rule.only_at not in (0, count):
        recurrent = RECURRENT.get(architecture) == "no_kv_heads"
        return [keys.number("attention.sliding_window") if recurrent else 0] * count
    length = rule.length if architecture == "llama4" else keys.number("attention.sliding_window", rule.length)
    if keys.has("attention.sliding_window") and not keys.number("attention.sliding_window"):
        length = 0
    pattern = "attention.sliding_window_pattern"
    if keys.is_list(pattern):
        return [length if flag else 0 for flag in keys.each(pattern, count)]
    period = keys.number(pattern, rule.period) or rule.period
    rule = replace(rule, period=period)
    return [length if rule.has(number) else 0 for number in range(count)]


def _layers_with_cache(architecture: str, keys: Keys, count: int) -> int:
    """How many layers, from the first, have a cache of their own; later ones share, or predict further tokens."""
    own = FIRST_SHARED.get(architecture, count) - keys.number("attention.shared_kv_layers")
    return max(min(own, count - keys.number("nextn_predict_layers")), 0)


def _recurrent_layers(architecture: str, keys: Keys, count: int) -> list[bool]:
    rule = RECURRENT.get(architecture)
    kv_heads = keys.each("attention.head_count_kv", count, keys.number("attention.head_count"))
    forward = keys.each("feed_forward_length", count)
    match rule:
        case "all" | "beside":
            return [True] * count
        case "no_kv_heads":
            return [heads == 0 for heads in kv_heads]
        case "no_kv_heads_no_forward":
            return [heads == 0 and width == 0 for heads, width in zip(kv_heads, forward, strict=True)]
        case "interval":
            interval = keys.number("full_attention_interval", 4) or 4
            return [(number + 1) % interval != 0 for number in range(count)]
    return [False] * count


def _state(keys: Keys) -> int:
    """Elements of the recurrent state of one layer and sequence: RWKV's, a short convolution's, or Mamba's."""
    width = keys.number("embedding_length")
    if head := keys.number("wkv.head_size"):
        return width * (keys.number("token_shift_count", 2) + head)
    if length := keys.number("shortconv.l_cache"):
        return width * (length - 1)
    inner, states = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    convolution = max(keys.number("ssm.conv_kernel") - 1, 0) * (inner + 2 * keys.number("ssm.group_count") * states)
    return convolution + states * inner


def _forward_length(keys: Keys) -> int:
    """Width of the feed-forward network as far as a token passes through it: of experts, the ones used together."""
    experts = keys.number("expert_feed_forward_length") * keys.number("expert_used_count")
    shared = keys.number("expert_shared_feed_forward_length")
    return max(keys.number("feed_forward_length"), experts + shared)


def _vocabulary(keys: Keys, values: Mapping[str, Any]) -> int:
    tokens = values.get("tokenizer.ggml.tokens")
    return keys.number("vocab_size") or (len(tokens) if isinstance(tokens, Sequence) else 0)


def _ratio(width: int, heads: int) -> int:
    return width // heads if heads else 0

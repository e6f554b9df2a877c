"""Turns a config.json and a checkpoint's tensors into GGUF's keys, names, and row orders, by a family's row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CannotConvert, NotAModel, UnsupportedType
from core.families.family import REQUIRED, Dimensions, Family, TensorRule
from core.formats.gguf_layout import KeyValue

_SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)
_MAX_SIZE = 1 << 31
# Parameters of yarn that GGUF has keys for; the others would change the result silently.
_YARN_KEYS = {"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow"}
_ROPE_COMMON = frozenset({"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "finetuned"})
_ROPE_LLAMA3 = frozenset({"low_freq_factor", "high_freq_factor"})


@dataclass(frozen=True)
class Config:
    """A config.json that was checked against its family, with the older spellings filled in.

    values: config.json with defaults. rope: the rotary embedding's parameters, `rope_type` among them.
    """

    path: str
    family: Family
    values: dict[str, Any]
    rope: dict[str, Any]
    dimensions: Dimensions


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one GGUF tensor comes from; heads: how many heads its rows are interleaved in, 0 where they stay."""

    rule: TensorRule
    source: str
    target: str
    shape: tuple[int, ...]
    heads: int


def checked_config(path: str, family: Family, config: Mapping[str, Any]) -> Config:
    """Checks a config.json. Raises CannotConvert (a value that would not survive), NotAModel (a size is missing)."""
    values = dict(config)
    values.setdefault("num_key_value_heads", values.get("num_attention_heads"))
    if values["num_key_value_heads"] is None:
        values["num_key_value_heads"] = values.get("num_attention_heads")
    for refusal in family.refusals:
        if values.get(refusal.key) not in refusal.allowed:
            raise CannotConvert(path, f"config.json has {refusal.key} = {_short(values[refusal.key])}")
    if (
        values.get("head_dim") is None
        and _is_size(values.get("hidden_size"))
        and _is_size(values.get("num_attention_heads"))
    ):
        values["head_dim"] = values["hidden_size"] // values["num_attention_heads"]
    for key in _SIZES:
        if not _is_size(values.get(key)):
            raise NotAModel(path, f"config.json has {key} = {_short(values.get(key))} where a size is needed")
    rope = _rope(path, family, values)
    values["rope_theta"] = rope.get("rope_theta", values.get("rope_theta"))
    dimensions = Dimensions(
        layers=values["num_hidden_layers"],
        hidden=values["hidden_size"],
        feed_forward=values["intermediate_size"],
        heads=values["num_attention_heads"],
        kv_heads=values["num_key_value_heads"],
        head=values["head_dim"],
        vocabulary=values["vocab_size"],
    )
    if dimensions.heads % dimensions.kv_heads or dimensions.head % 2:
        raise CannotConvert(path, f"{dimensions.heads} heads, {dimensions.kv_heads} key heads of {dimensions.head}")
    return Config(path, family, values, rope, dimensions)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < _MAX_SIZE


def _fits(type_name: str, value: Any) -> bool:
    """Whether a hyperparameter is a positive number that its GGUF type can hold."""
    if type_name == "UINT32":
        return _is_size(value)
    return type(value) in (int, float) and 0 < value < math.inf


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _rope(path: str, family: Family, values: dict[str, Any]) -> dict[str, Any]:
    """The rotary embedding's parameters from transformers 5's rope_parameters, or rope_scaling of older versions."""
    found = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(found, dict):
        raise CannotConvert(path, f"config.json has the rotary parameters {_short(found)}")
    rope = {key: value for key, value in found.items() if value is not None}
    rope["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    extra = {"llama3": _ROPE_LLAMA3, "yarn": frozenset(_YARN_KEYS)}.get(rope["rope_type"], frozenset())
    unknown = sorted(set(rope) - _ROPE_COMMON - extra)
    if rope["rope_type"] not in family.rope_types or unknown:
        raise CannotConvert(
            path,
            f"its rotary embedding is {_short(rope['rope_type'])}" + (f" with {', '.join(unknown)}" if unknown else ""),
        )
    needed = {"linear": ["factor"], "yarn": ["factor"], "llama3": ["factor", *sorted(_ROPE_LLAMA3)]}
    lengths = {"yarn": ["original_max_position_embeddings"], "llama3": ["original_max_position_embeddings"]}
    for key in needed.get(rope["rope_type"], []) + lengths.get(rope["rope_type"], []):
        if type(rope.get(key)) not in (int, float) or not 0 < rope[key] < _MAX_SIZE:
            raise CannotConvert(path, f"its rotary embedding has {key} = {_short(rope.get(key))}")
    return rope


# ---------------------------------------------------------------- metadata


def hyper_key_values(config: Config) -> tuple[KeyValue, ...]:
    """The `<architecture>.*` keys. Raises NotAModel where config.json lacks one."""
    prefix = config.family.name
    entries = []
    for rule in config.family.keys:
        value = config.values.get(rule.source)
        value = rule.default if value is None else value
        if value is REQUIRED or not _fits(rule.type, value):
            raise NotAModel(config.path, f"config.json has {rule.source} = {_short(config.values.get(rule.source))}")
        entries.append(KeyValue(f"{prefix}.{rule.target}", rule.type, value))
    entries += [KeyValue(f"{prefix}.{key}", kind, value) for key, kind, value in _head_keys(config)]
    entries += [KeyValue(f"{prefix}.{key}", kind, value) for key, kind, value in _rope_keys(config)]
    return tuple(entries)


def _head_keys(config: Config) -> Iterator[tuple[str, str, Any]]:
    """The head's length: always as the rotary dimension, and by itself where it does not follow from the width."""
    sizes = config.dimensions
    yield "rope.dimension_count", "UINT32", sizes.head
    if sizes.head * sizes.heads != sizes.hidden:
        yield "attention.key_length", "UINT32", sizes.head
        yield "attention.value_length", "UINT32", sizes.head


def _rope_keys(config: Config) -> Iterator[tuple[str, str, Any]]:
    """Position scaling; llama3's is a tensor instead (rope_frequency_factors)."""
    rope = config.rope
    if rope["rope_type"] not in ("linear", "yarn"):
        return
    yield "rope.scaling.type", "STRING", rope["rope_type"]
    yield "rope.scaling.factor", "FLOAT32", rope["factor"]
    if rope["rope_type"] == "yarn":
        yield "rope.scaling.original_context_length", "UINT32", int(rope["original_max_position_embeddings"])
        for source, target in _YARN_KEYS.items():
            if source in rope:
                yield target, "FLOAT32", rope[source]


def rope_frequency_factors(config: Config) -> NDArray[np.float32] | None:
    """llama3's divisors of the rotary frequencies, (head / 2,), or None where positions are not scaled that way.

    Short wavelengths stay, long ones are divided by `factor`, between them it is interpolated. Source: Llama 3.1's
    reference code (apply_scaling in meta-llama/llama-models), as llama.cpp's rope_freqs.weight expects it.
    """
    rope = config.rope
    if rope["rope_type"] != "llama3":
        return None
    head, base = config.dimensions.head, config.values.get("rope_theta") or 10000.0
    wavelength = 2 * math.pi * np.float64(base) ** (np.arange(0, head, 2) / head)
    turns = rope["original_max_position_embeddings"] / wavelength
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    smooth = np.clip((turns - low) / max(high - low, 1e-9), 0.0, 1.0)
    return np.asarray(1 / ((1 - smooth) / factor + smooth), np.float32)


# ---------------------------------------------------------------- tensors


def placements(config: Config, stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[Placement, ...]:
    """Which stored tensor becomes which GGUF tensor, in the output's order. stored: name -> (dtype, shape).

    Raises NotAModel (one is missing or has another shape), CannotConvert (one has no place), UnsupportedType.
    """
    found = []
    for place in _expected(config):
        if place.source not in stored:
            if place.rule.optional:
                continue
            raise NotAModel(config.path, f"the tensor {place.source}, which its config.json asks for, is missing")
        dtype, shape = stored[place.source]
        if shape != place.shape:
            raise NotAModel(config.path, f"{place.source} has the shape {shape} where config.json gives {place.shape}")
        if dtype not in ("F32", "F16", "BF16"):
            raise UnsupportedType(config.path, place.source, dtype)
        found.append(place)
    ignored = re.compile("|".join(config.family.ignored) or r"(?!)")
    tied = {"lm_head.weight"} if config.values.get("tie_word_embeddings") else set()
    used = {place.source for place in found} | tied
    left = [name for name in stored if name not in used and not ignored.fullmatch(name)]
    if left:
        raise CannotConvert(config.path, f"the {config.family.label} family has no place for its tensor {left[0]}")
    return tuple(found)


def _expected(config: Config) -> Iterator[Placement]:
    """Every tensor the family may have: those before the layers, the layers in order, those after them."""
    rules = [rule for rule in config.family.tensors if not _is_tied(config, rule)]
    layered = [index for index, rule in enumerate(rules) if rule.per_layer]
    for rule in rules[: layered[0]]:
        yield _placement(config, rule, 0)
    for layer in range(config.dimensions.layers):
        for rule in rules[layered[0] : layered[-1] + 1]:
            yield _placement(config, rule, layer)
    for rule in rules[layered[-1] + 1 :]:
        yield _placement(config, rule, 0)


def _is_tied(config: Config, rule: TensorRule) -> bool:
    """Whether the output layer is the embedding again and so is not stored."""
    return rule.source == "lm_head.weight" and bool(config.values.get("tie_word_embeddings"))


def _placement(config: Config, rule: TensorRule, layer: int) -> Placement:
    shape = tuple(getattr(config.dimensions, name) for name in rule.shape)
    heads = getattr(config.dimensions, rule.heads) if rule.heads else 0
    return Placement(rule, rule.source.format(layer), rule.target.format(layer), shape, heads)


def interleaved_rows(rows: int, heads: int) -> NDArray[np.int64]:
    """Source row of each output row, (rows,), for a query or key projection of `heads` heads.

    Hugging Face rotates element i of a head with element i + head/2, llama.cpp rotates neighbours; so the two halves
    of each head are interleaved: W.reshape(heads, 2, head / 2, columns).swapaxes(1, 2).
    """
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)

"""Turns a config.json and a checkpoint's tensors into GGUF's keys, names, and row orders, by a family's row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CannotConvert, NotAModel, UnsupportedType
from core.families.family import OPTIONAL, REQUIRED, Dimensions, Family, TensorRule
from core.families.numbers import fits, is_size, short
from core.families.rope import rope_keys, rope_parameters
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
_FLOATS = ("F32", "F16", "BF16")


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
    """Where one GGUF tensor comes from: one stored tensor, or one for each expert.

    shape: GGUF's, in numpy's order. stored: the shape that each of the sources must have. heads: how many heads its
    rows are interleaved in, 0 where they stay.
    """

    rule: TensorRule
    sources: tuple[str, ...]
    target: str
    shape: tuple[int, ...]
    stored: tuple[int, ...]
    heads: int


# ---------------------------------------------------------------- configuration


def checked_config(path: str, family: Family, config: Mapping[str, Any]) -> Config:
    """Checks a config.json. Raises CannotConvert (a value that would not survive), NotAModel (a size is missing)."""
    values = _completed(family, config)
    rope = rope_parameters(path, family, values)
    for refusal in family.refusals:
        if values.get(refusal.key) not in refusal.allowed:
            raise CannotConvert(path, f"config.json has {refusal.key} = {short(values.get(refusal.key))}")
    for key in (*_SIZES, *family.sizes):
        if not is_size(values.get(key)):
            raise NotAModel(path, f"config.json has {key} = {short(values.get(key))} where a size is needed")
    problem = next((text for text in (check(values) for check in family.checks) if text), "")
    if problem:
        raise CannotConvert(path, problem)
    values |= {name: derive(values) for name, derive in family.derived.items()}
    dimensions = _dimensions(values)
    if dimensions.heads % dimensions.kv_heads or dimensions.head % 2:
        raise CannotConvert(path, f"{dimensions.heads} heads, {dimensions.kv_heads} key heads of {dimensions.head}")
    return Config(path, family, values, rope, dimensions)


def _completed(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json's values under their usual names, with what follows from the others."""
    values = dict(config)
    nested = values.get(family.nested) if family.nested else None
    if isinstance(nested, dict):
        values |= nested
    for name, others in family.aliases.items():
        if values.get(name) is None:
            values[name] = next((values[other] for other in others if values.get(other) is not None), None)
    for name, default in family.defaults.items():
        if values.get(name) is None:
            values[name] = default
    if values.get("num_key_value_heads") is None:
        values["num_key_value_heads"] = values.get("num_attention_heads")
    hidden, heads = values.get("hidden_size"), values.get("num_attention_heads")
    values["head_dim_given"] = values.get("head_dim") is not None
    if not values["head_dim_given"] and isinstance(hidden, int) and isinstance(heads, int) and is_size(heads):
        values["head_dim"] = hidden // heads
    if family.plain_forward and values.get("intermediate_size") is None and isinstance(hidden, int):
        values["intermediate_size"] = family.plain_forward * hidden
    return values


def _dimensions(values: Mapping[str, Any]) -> Dimensions:
    def size_of(key: str, otherwise: int = 0) -> int:
        return values[key] if is_size(values.get(key)) else otherwise

    return Dimensions(
        layers=values["num_hidden_layers"],
        hidden=values["hidden_size"],
        feed_forward=values["intermediate_size"],
        heads=values["num_attention_heads"],
        kv_heads=values["num_key_value_heads"],
        head=values["head_dim"],
        vocabulary=values["vocab_size"],
        positions=size_of("max_position_embeddings"),
        experts=size_of("num_local_experts"),
        expert_forward=size_of("moe_intermediate_size", values["intermediate_size"]),
        shared_forward=size_of("shared_expert_intermediate_size"),
    )


# ---------------------------------------------------------------- metadata


def hyper_key_values(config: Config) -> tuple[KeyValue, ...]:
    """The `<architecture>.*` keys. Raises NotAModel where config.json lacks one."""
    prefix = config.family.name
    entries = []
    for rule in config.family.keys:
        value = config.values.get(rule.source)
        value = rule.default if value is None else value
        if value is OPTIONAL:
            continue
        if value is REQUIRED or not fits(rule.type, value, rule.zero):
            raise NotAModel(config.path, f"config.json has {rule.source} = {short(config.values.get(rule.source))}")
        entries.append(KeyValue(f"{prefix}.{rule.target}", rule.type, value))
    entries += [KeyValue(f"{prefix}.{key}", kind, value) for key, kind, value in rope_keys(config)]
    return tuple(entries)


# ---------------------------------------------------------------- tensors


def renamed(family: Family, name: str) -> str:
    """A stored tensor's name as the family's rules have it."""
    for pattern, replacement in family.renames:
        match = re.match(pattern, name)
        if match:
            return replacement + name[match.end() :]
    return name


def placements(config: Config, stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[Placement, ...]:
    """Which stored tensor becomes which GGUF tensor, in the output's order. stored: name -> (dtype, shape).

    Raises NotAModel (one is missing or has another shape), CannotConvert (one has no place), UnsupportedType.
    """
    found: dict[str, Placement] = {}
    missing: dict[str, Placement] = {}
    for place in _expected(config):
        if place.sources[0] in stored and place.target not in found:
            found[place.target] = place
        elif not place.rule.optional:
            missing.setdefault(place.target, place)
    for target, place in missing.items():
        if target not in found:
            text = f"the tensor {place.sources[0]}, which its config.json asks for, is missing"
            raise NotAModel(config.path, text)
    for place in found.values():
        _check_stored(config, place, stored)
    _check_none_left(config, found, stored)
    return tuple(found.values())


def _check_stored(config: Config, place: Placement, stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Every source must be there, in the right shape, and all of one type that can be read."""
    for name in place.sources:
        if name not in stored:
            raise NotAModel(config.path, f"the tensor {name}, which its config.json asks for, is missing")
        dtype, shape = stored[name]
        if shape != place.stored:
            raise NotAModel(config.path, f"{name} has the shape {shape} where config.json gives {place.stored}")
        if dtype not in _FLOATS:
            raise UnsupportedType(config.path, name, dtype)
        if dtype != stored[place.sources[0]][0]:
            raise CannotConvert(config.path, f"{name} is of another type than the other experts")


def _check_none_left(config: Config, found: Mapping[str, Placement], stored: Mapping[str, Any]) -> None:
    """Nothing of the checkpoint may be dropped that is not known to be superfluous."""
    ignored = re.compile("|".join(config.family.ignored) or r"(?!)")
    used = {source for place in found.values() for source in place.sources}
    if config.values.get("tie_word_embeddings"):
        used.add("lm_head.weight")
    left = [name for name in stored if name not in used and not ignored.fullmatch(name)]
    if left:
        raise CannotConvert(config.path, f"the {config.family.label} family has no place for its tensor {left[0]}")


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
    experts = range(config.dimensions.experts) if rule.per_expert else range(1)
    stored = shape[1:] if rule.per_expert else shape
    if rule.transposed:
        stored = stored[::-1]
    if rule.part[1] > 1:
        stored = (*stored[:-2], rule.part[1] * stored[-2], stored[-1])
    sources = tuple(rule.source.format(layer, expert) for expert in experts)
    return Placement(rule, sources, rule.target.format(layer), shape, stored, heads)


def interleaved_rows(rows: int, heads: int) -> NDArray[np.int64]:
    """Source row of each output row, (rows,), for a query or key projection of `heads` heads.

    Hugging Face rotates element i of a head with element i + head/2, llama.cpp rotates neighbours; so the two halves
    of each head are interleaved: W.reshape(heads, 2, head / 2, columns).swapaxes(1, 2).
    """
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)

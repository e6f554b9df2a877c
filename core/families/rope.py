"""The rotary embedding of a config.json: its parameters checked, its GGUF keys, and the tensors some kinds need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CannotConvert
from core.families.family import Family
from core.families.numbers import MAX_SIZE, short

if TYPE_CHECKING:
    from core.families.conversion import Config

# Parameters that GGUF has keys for; the others would change the result silently.
_YARN_KEYS = {
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "attention_factor": "rope.scaling.yarn_attn_factor",
    "extrapolation_factor": "rope.scaling.yarn_ext_factor",
}
_COMMON = frozenset({"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "finetuned"})
_LONG = ("long_factor", "short_factor")
_EXTRA: dict[str, frozenset[str]] = {
    "llama3": frozenset({"low_freq_factor", "high_freq_factor"}),
    "yarn": frozenset(_YARN_KEYS),
    "longrope": frozenset(_LONG),
}
_NEEDED: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings"),
}


def rope_parameters(path: str, family: Family, values: dict[str, Any]) -> dict[str, Any]:
    """The parameters from transformers 5's rope_parameters, or rope_scaling of older versions, `rope_type` among them.

    Those that belong to the whole model go into `values`: rope_theta, rope_local_base_freq, partial_rotary_factor.
    Raises CannotConvert.
    """
    found = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if isinstance(found, dict) and isinstance(found.get("full_attention"), dict):
        local = found.get("sliding_attention") or {}
        found = found["full_attention"]
        if local.get("rope_type", "default") != "default":
            raise CannotConvert(path, f"its layers with a window have the rotary parameters {short(local)}")
        values["rope_local_base_freq"] = local.get("rope_theta", values.get("rope_local_base_freq"))
    if not isinstance(found, dict):
        raise CannotConvert(path, f"config.json has the rotary parameters {short(found)}")
    rope = {key: value for key, value in found.items() if value is not None}
    kind = rope.get("rope_type", rope.get("type", "default"))
    rope["rope_type"] = kind = "longrope" if kind == "su" else kind
    for name in ("rope_theta", "partial_rotary_factor"):
        values[name] = rope.get(name, values.get(name, family.defaults.get(name)))
    extra = _EXTRA.get(kind, frozenset())
    unknown = sorted(set(rope) - _COMMON - extra - {"partial_rotary_factor"})
    if kind not in family.rope_types or unknown:
        raise CannotConvert(
            path, f"its rotary embedding is {short(kind)}" + (f" with {', '.join(unknown)}" if unknown else "")
        )
    for key in _NEEDED.get(kind, ()):
        if type(rope.get(key)) not in (int, float) or not 0 < rope[key] < MAX_SIZE:
            raise CannotConvert(path, f"its rotary embedding has {key} = {short(rope.get(key))}")
    return rope


def rope_keys(config: Config) -> Iterator[tuple[str, str, Any]]:
    """(key, type, value) of position scaling, after `<architecture>.`; llama3's is a tensor instead."""
    rope = config.rope
    if rope["rope_type"] == "longrope":
        yield "rope.scaling.attn_factor", "FLOAT32", _long_attention_factor(config)
    if rope["rope_type"] not in ("linear", "yarn"):
        return
    yield "rope.scaling.type", "STRING", rope["rope_type"]
    yield "rope.scaling.factor", "FLOAT32", rope["factor"]
    if rope["rope_type"] == "yarn":
        yield "rope.scaling.original_context_length", "UINT32", int(rope["original_max_position_embeddings"])
        for source, target in _YARN_KEYS.items():
            if source in rope:
                yield target, "FLOAT32", rope[source]


def _long_attention_factor(config: Config) -> float:
    """How attention grows with the context. Source: LongRoPE (Ding et al., 2024), as Phi-3's own code has it."""
    original = _original_length(config)
    scale = config.values["max_position_embeddings"] / original
    return math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0


def _original_length(config: Config) -> int:
    found = config.values.get("original_max_position_embeddings")
    if type(found) is not int or not 1 < found < MAX_SIZE:
        raise CannotConvert(config.path, f"config.json has original_max_position_embeddings = {short(found)}")
    return found


def rope_tensors(config: Config) -> dict[str, NDArray[np.float32]]:
    """The tensors that stand for position scaling, by their GGUF names; {} where it needs none."""
    if config.rope["rope_type"] == "llama3":
        return {"rope_freqs.weight": _llama3_factors(config)}
    if config.rope["rope_type"] == "longrope":
        return {f"rope_factors_{name.split('_')[0]}.weight": _long_factors(config, name) for name in _LONG}
    return {}


def _llama3_factors(config: Config) -> NDArray[np.float32]:
    """llama3's divisors of the rotary frequencies, (head / 2,).

    Short wavelengths stay, long ones are divided by `factor`, between them it is interpolated. Source: Llama 3.1's
    reference code (apply_scaling in meta-llama/llama-models), as llama.cpp's rope_freqs.weight expects it; in float32
    as there, so that the bits agree with those of llama.cpp's converter.
    """
    rope, single = config.rope, np.float32
    head, base = config.dimensions.head, single(config.values.get("rope_theta") or 10000.0)
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    length = rope["original_max_position_embeddings"]
    frequency = single(1) / base ** (np.arange(0, head, 2, dtype=np.float32) / single(head))
    wavelength = (single(1) / frequency) * single(2 * math.pi)
    turns = (single(1) / wavelength) * single(length)
    smooth = (turns - single(low)) / single(max(high - low, 1e-9))
    between = single(1) / ((single(1) - smooth) / single(factor) + smooth)
    is_short, is_long = wavelength < single(length / high), wavelength > single(length / low)
    return np.asarray(np.where(is_short, single(1), np.where(is_long, single(factor), between)), np.float32)


def _long_factors(config: Config, name: str) -> NDArray[np.float32]:
    """LongRoPE's divisors of the rotary frequencies, (rotated / 2,), for long or for short contexts."""
    factors = config.rope.get(name)
    expected = config.values["rotary_dimensions"] // 2
    is_list = isinstance(factors, list) and all(type(item) in (int, float) and item > 0 for item in factors)
    if not is_list or len(factors or ()) != expected:
        raise CannotConvert(config.path, f"its rotary embedding has {name} = {short(factors)}, not {expected} numbers")
    return np.asarray(factors, np.float32)

"""How programs round what meets the packed matrices of a folder while they run it: a part of what quantization costs.

Facts: compressed-tensors' config_groups, with its rule that the first target that finds a layer decides; bitsandbytes'
LLM.int8, which leaves input columns with large numbers as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.sources.stored_rows import Part


@dataclass(frozen=True, slots=True)
class InputRounding:
    """Integers of so many bits. scale, zero: of all inputs; None: each token has its own, by its extremes.

    full_range: the largest magnitude is half of all steps, not the largest integer. threshold: columns of a window that
    reach it are left as they are.
    """

    bits: int = 8
    symmetric: bool = True
    scale: float | None = None
    zero: int = 0
    full_range: bool = True
    threshold: float = float("inf")


def input_roundings(config: Mapping[str, Any], stored: Mapping[str, Part]) -> dict[str, InputRounding]:
    """By the names of the weights that are packed; empty where the configuration says nothing of activations."""
    found = config.get("quantization_config")
    make = _METHODS.get(str(found.get("quant_method", "")).lower()) if isinstance(found, dict) else None
    return make(found, stored) if make is not None and isinstance(found, dict) else {}


def _compressed_tensors(found: Mapping[str, Any], stored: Mapping[str, Part]) -> dict[str, InputRounding]:
    groups = found.get("config_groups")
    known = [group for group in groups.values() if isinstance(group, dict)] if isinstance(groups, dict) else []
    made = {}
    for module, weight in _packed(stored, "weight_scale").items():
        group = next((group for group in known if _finds(group.get("targets"), module)), {})
        rounding = _of_group(group.get("input_activations"), module, stored)
        if rounding is not None:
            made[weight] = rounding
    return made


def _packed(stored: Mapping[str, Part], scale: str) -> dict[str, str]:
    """Module to the name of its weight, of modules that have a scale."""
    modules = [name.removesuffix(f".{scale}") for name in stored if name.endswith(f".{scale}")]
    return {module: f"{module}.weight" for module in modules}


def _finds(targets: Any, module: str) -> bool:
    """Whether one of a group's targets is this module's class, its name, or an expression that finds it."""
    if not isinstance(targets, list):
        return False
    return any(
        target in ("Linear", module) or (target.startswith("re:") and _matches(target[3:], module))
        for target in targets
        if isinstance(target, str)
    )


def _matches(pattern: str, module: str) -> bool:
    try:
        return re.match(pattern, module) is not None
    except re.error:
        return False


def _of_group(inputs: Any, module: str, stored: Mapping[str, Part]) -> InputRounding | None:
    """Whole numbers for each token, or with a scale that is stored; anything else is not computed here."""
    if not isinstance(inputs, dict) or inputs.get("type", "int") != "int" or inputs.get("num_bits") not in range(2, 9):
        return None
    symmetric = inputs.get("symmetric") is not False
    if inputs.get("dynamic") is True and inputs.get("strategy") == "token":
        return InputRounding(inputs["num_bits"], symmetric)
    scale = stored.get(f"{module}.input_scale")
    if inputs.get("strategy") != "tensor" or scale is None or scale.rows * scale.length != 1:
        return None
    zero = None if symmetric else stored.get(f"{module}.input_zero_point")
    return InputRounding(inputs["num_bits"], symmetric, _number(scale), 0 if zero is None else int(_number(zero)))


def _number(part: Part) -> float:
    return float(part.whole().reshape(-1)[0])


def _bitsandbytes(found: Mapping[str, Any], stored: Mapping[str, Part]) -> dict[str, InputRounding]:
    threshold = found.get("llm_int8_threshold", 6.0)
    usable = isinstance(threshold, int | float) and threshold > 0
    rounding = InputRounding(full_range=False, threshold=float(threshold) if usable else float("inf"))
    return dict.fromkeys(_packed(stored, "SCB").values(), rounding)


_METHODS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Part]], dict[str, InputRounding]]] = {
    "compressed-tensors": _compressed_tensors,
    "bitsandbytes": _bitsandbytes,
}

"""Many layers' names as few regular expressions, for configurations that say which layers have which form."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

NUMBER = re.compile(r"(?<=\\.)\d+(?=\\.)")
# Layers that programs which run models join into one, by the last part of their names.
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
Key = TypeVar("Key", bound=Hashable)


def patterns(groups: Mapping[Key, Sequence[str]]) -> dict[Key, list[str]]:
    """Regular expressions that find the names of each group whole, and none of another group.

    Names that differ in numbers alone (of layers, of experts) become one where all such names are in the same group;
    else those that differ in the number of the expert alone; else each is its own.
    """
    found: dict[Key, list[str]] = {key: [] for key in groups}
    left = {name: key for key, names in groups.items() for name in names}
    for shape in (_of_any_layer, _of_any_expert, re.escape):
        owners: dict[str, set[Key]] = {}
        for name, key in left.items():
            owners.setdefault(shape(name), set()).add(key)
        for pattern, keys in owners.items():
            if len(keys) == 1:
                found[next(iter(keys))].append(pattern)
        left = {name: key for name, key in left.items() if len(owners[shape(name)]) > 1}
    return found


def _of_any_layer(name: str) -> str:
    return NUMBER.sub(r"\\d+", re.escape(name))


def _of_any_expert(name: str) -> str:
    """The first number is the layer's."""
    first = NUMBER.search(re.escape(name))
    if first is None:
        return re.escape(name)
    whole = re.escape(name)
    return whole[: first.end()] + NUMBER.sub(r"\\d+", whole[first.end() :])


def with_fused(found: Sequence[str]) -> list[str]:
    """Expressions, and those of the joined layers all parts of which are among them, as vLLM looks them up."""
    joined = [
        pattern.removesuffix(parts[0]) + name
        for pattern in found
        for name, parts in FUSED.items()
        if pattern.endswith(parts[0]) and all(pattern.removesuffix(parts[0]) + part in found for part in parts)
    ]
    return [*found, *joined]


def torn(chosen: Mapping[str, object]) -> str:
    """The first layer that programs join with others, where these do not all have the same; '' where there is none."""
    for name, choice in chosen.items():
        stem, _, last = name.rpartition(".")
        for parts in FUSED.values():
            others = [f"{stem}.{part}" for part in parts]
            if last == parts[0] and any(chosen.get(other) != choice for other in others):
                return name
    return ""

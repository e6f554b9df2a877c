"""The table of model families whose Hugging Face folders can be converted: one row each."""

from __future__ import annotations

from typing import Any

from core.errors import UnknownArchitecture
from core.families.family import Family
from core.families.gemma import GEMMA, GEMMA2, GEMMA3
from core.families.llama import GRANITE, LLAMA, MIXTRAL, SMOLLM3
from core.families.qwen import QWEN2, QWEN2_MOE, QWEN3, QWEN3_MOE
from core.families.single import BITNET, GPT2, OLMO2, OLMO3, PHI3, STARCODER2

FAMILIES: tuple[Family, ...] = (
    LLAMA,
    MIXTRAL,
    SMOLLM3,
    GRANITE,
    QWEN2,
    QWEN3,
    QWEN2_MOE,
    QWEN3_MOE,
    GEMMA,
    GEMMA2,
    GEMMA3,
    OLMO2,
    OLMO3,
    BITNET,
    PHI3,
    STARCODER2,
    GPT2,
)
BY_ARCHITECTURE: dict[str, Family] = {name: family for family in FAMILIES for name in family.architectures}


def family_of(path: str, config: dict[str, Any]) -> Family:
    """The family of a config.json. Raises UnknownArchitecture."""
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else f"{config.get('model_type', 'unknown')} (by model_type)"
    family = BY_ARCHITECTURE.get(first) if isinstance(first, str) else None
    if family is None:
        raise UnknownArchitecture(path, str(first), BY_ARCHITECTURE)
    return family

"""What a Hugging Face folder says about itself beside its weights: name, licence, size in words."""

from __future__ import annotations

import re
from pathlib import Path

from core.formats.gguf_layout import KeyValue

_MAX_CARD_CHARACTERS = 1 << 16
_LICENSE_KEYS = {"license": "general.license", "license_name": "general.license.name"}
_LINE = re.compile(r"(?P<key>[a-z_]+):\s*(?P<value>[^\s#].*?)\s*$")


def general_key_values(folder: Path, architecture: str, name: str, elements: int) -> tuple[KeyValue, ...]:
    """The `general.*` keys: architecture, kind, name, size in words, and the model card's licence."""
    card = front_matter(folder)
    entries = [
        KeyValue("general.architecture", "STRING", architecture),
        KeyValue("general.type", "STRING", "model"),
        KeyValue("general.name", "STRING", name),
        KeyValue("general.size_label", "STRING", size_label(elements)),
    ]
    entries += [KeyValue(key, "STRING", card[field]) for field, key in _LICENSE_KEYS.items() if field in card]
    return tuple(entries)


def size_label(elements: int) -> str:
    """A parameter count as it stands in model names: 134515008 -> '135M', 8030261248 -> '8.0B'."""
    scaled, suffix = next(
        ((elements / unit, suffix) for unit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if elements >= unit),
        (elements / 1e3, "K"),
    )
    return f"{scaled:.1f}{suffix}" if scaled < 10 else f"{scaled:.0f}{suffix}"


def model_name(folder: Path) -> str:
    """The folder's name; for a folder in the Hub's cache, models--OWNER--NAME/snapshots/HASH, the model's name."""
    folder = folder.absolute()
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.split("--")[-1]
    return folder.name


def license_of(folder: Path) -> str:
    """The licence in the model card, or ''."""
    return front_matter(folder).get("license", "")


def front_matter(folder: Path) -> dict[str, str]:
    """The plain `key: value` lines at the top of README.md, between two lines of dashes; {} where there are none."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            lines = file.read(_MAX_CARD_CHARACTERS).splitlines()
    except OSError:
        return {}
    if not lines or lines[0].strip() != "---":
        return {}
    end = next((number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"), 0)
    matches = [match for line in lines[1:end] if (match := _LINE.fullmatch(line))]
    return {match["key"]: match["value"].strip("'\"") for match in matches}

"""A recipe as a TOML file: everything about a quantization but the model, with a name and a few plain words.

This module is light. `KEYS` is THE table of what a file may say; the keys are called as the command line's options.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from core.catalog import ALIASES, TARGETS
from core.errors import InvalidRecipe, RecipeNeedsImatrix, did_you_mean
from core.jobs import Fit, Override, QuantizeOptions
from kernels.blocks import FORMATS

MAX_BYTES = 1 << 20
UNITS = {"M": 1_000_000, "G": 1_000_000_000}

# Whether a recipe can do without an importance matrix, is better with one, or has no use for it.
Importance = Literal["required", "recommended", "unused"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe. id: its file's name without the suffix. options: for the first of the targets, without files."""

    id: str
    name: str
    description: str
    targets: tuple[str, ...]
    options: QuantizeOptions
    importance: Importance = "recommended"

    def completed(self, given: QuantizeOptions) -> QuantizeOptions:
        """The recipe's options where `given` leaves a choice open; rules of `given` are tried before the recipe's.

        The target is the one of `given`. Raises RecipeNeedsImatrix.
        """
        if self.importance == "required" and not given.imatrix:
            raise RecipeNeedsImatrix(self.name)
        own = self.options
        chosen = {key: getattr(own, key) for key in OPEN if not getattr(given, key)}
        joined = {key: getattr(given, key) + getattr(own, key) for key in JOINED}
        if given.keep_split or given.split_max_bytes:  # of these two only one can be wanted
            chosen.pop("keep_split", None)
            chosen.pop("split_max_bytes", None)
        return given.model_copy(update=chosen | joined)


JOINED = ("overrides", "include_weights", "exclude_weights")
OPEN = (
    "output_tensor_type",
    "token_embedding_type",
    "leave_output_tensor",
    "pure",
    "strict",
    "keep_split",
    "split_max_bytes",
)


# ---------------------------------------------------------------- reading


class _Wrong(ValueError):
    """What is wrong with a value; becomes an InvalidRecipe that names file and key."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f"{_shown(value)} is no text")
    return value.strip()


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{_shown(value)} is neither true nor false")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _Wrong(f"{_shown(value)} is no list of texts")
    return tuple(_text(item) for item in value)


def _targets(value: Any) -> tuple[str, ...]:
    names = [name.upper() for name in _texts(value)]
    return tuple(dict.fromkeys(_one_of(ALIASES.get(name, name), TARGETS) for name in names))


def _type(value: Any) -> str:
    return _one_of(_text(value).upper(), FORMATS)


def _rules(value: Any) -> tuple[Override, ...]:
    if not isinstance(value, dict) or not value:
        raise _Wrong(f'{_shown(value)} is no table of rules such as "attn_v" = "Q6_K"')
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            raise _Wrong(f"{pattern} is no regular expression, {error}") from error
    return tuple(Override(tensor=pattern, type=_type(name)) for pattern, name in value.items())


def part_bytes(words: str) -> int:
    """A size as llama-gguf-split writes it, 500M or 2G in decimal units, in bytes. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([MG])B?", words.upper())
    n_bytes = round(float(match[1]) * UNITS[match[2]]) if match else 0
    if n_bytes <= 0:
        raise ValueError(f"{words} is no size such as 500M or 2G")
    return n_bytes


def part_words(n_bytes: int) -> str:
    """A size in the notation that `part_bytes` reads: 2000000000 -> '2000M'."""
    return f"{n_bytes / UNITS['M']:.6f}".rstrip("0").rstrip(".") + "M"


def _part_bytes(value: Any) -> int:
    try:
        return part_bytes(_text(value))
    except ValueError as error:
        raise _Wrong(str(error)) from error


def _one_of(name: str, known: Any) -> str:
    if name not in known:
        raise _Wrong(f"{name} is not known. {did_you_mean(name, known) or 'Known are ' + ', '.join(known)}")
    return name


def _shown(value: Any) -> str:
    return str(value)[:60] or "an empty text"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a recipe. options: what it is called in QuantizeOptions, '' where it says something of the recipe."""

    name: str
    read: Callable[[Any], Any]
    allowed: str
    options: str = ""
    required: bool = False


_YES_OR_NO = "true or false"
_ANY_TYPE = f"one of {', '.join(FORMATS)}"
KEYS: tuple[Key, ...] = (
    Key("name", _text, "a text", required=True),
    Key("description", _text, "a text", required=True),
    Key("targets", _targets, f"a list with some of {', '.join(TARGETS)}", required=True),
    Key("fit", lambda value: _one_of(_text(value), get_args(Fit)), f"one of {', '.join(get_args(Fit))}", "fit"),
    Key(
        "imatrix",
        lambda value: _one_of(_text(value), get_args(Importance)),
        f"one of {', '.join(get_args(Importance))}",
    ),
    Key("output_tensor_type", _type, _ANY_TYPE, "output_tensor_type"),
    Key("token_embedding_type", _type, _ANY_TYPE, "token_embedding_type"),
    Key("leave_output_tensor", _switch, _YES_OR_NO, "leave_output_tensor"),
    Key("pure", _switch, _YES_OR_NO, "pure"),
    Key("strict", _switch, _YES_OR_NO, "strict"),
    Key("include_weights", _texts, "a list of parts of tensor names", "include_weights"),
    Key("exclude_weights", _texts, "a list of parts of tensor names", "exclude_weights"),
    Key("keep_split", _switch, _YES_OR_NO, "keep_split"),
    Key("split_max_size", _part_bytes, "a size such as 500M or 2G", "split_max_bytes"),
    Key("tensor_types", _rules, "a table of regular expressions and types", "overrides"),
)
_KEY = {key.name: key for key in KEYS}


def read_recipe(path: Path) -> Recipe:
    """Reads a file. Raises InvalidRecipe with the file, the key and what is allowed there."""
    values = _contents(path)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _KEY:
            known = did_you_mean(name, _KEY) or f"Allowed are {', '.join(_KEY)}"
            raise InvalidRecipe(str(path), name, "there is no such key", known)
        try:
            read[name] = _KEY[name].read(value)
        except _Wrong as error:
            raise InvalidRecipe(str(path), name, str(error), f"Write {_KEY[name].allowed}") from error
    for key in KEYS:
        if key.required and key.name not in read:
            raise InvalidRecipe(str(path), key.name, "it is missing", f"Write {key.allowed}")
    if read.get("keep_split") and read.get("split_max_size"):
        raise InvalidRecipe(str(path), "keep_split", "it contradicts split_max_size", "Keep one of the two")
    return _recipe(path, read)


def _contents(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidRecipe(str(path), "", "it is too large for a recipe", "Choose a small TOML file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRecipe(
            str(path), "", why or "it is no text", "Write it as TOML, like resources/presets"
        ) from error


def _recipe(path: Path, read: dict[str, Any]) -> Recipe:
    options = {key.options: read[key.name] for key in KEYS if key.options and key.name in read}
    return Recipe(
        id=path.stem,
        name=read["name"],
        description=read["description"],
        targets=read["targets"],
        options=QuantizeOptions(target=read["targets"][0], **options),
        importance=read.get("imatrix", "recommended"),
    )


# ---------------------------------------------------------------- writing


def to_toml(recipe: Recipe) -> str:
    """The file of a recipe; reading it gives the same recipe again."""
    values: dict[str, Any] = {
        "name": recipe.name,
        "description": recipe.description,
        "targets": list(recipe.targets),
        "imatrix": recipe.importance,
    }
    usual = QuantizeOptions(target=recipe.targets[0])
    for key in KEYS:
        value: Any = getattr(recipe.options, key.options) if key.options else None
        if key.options and value != getattr(usual, key.options) and key.name != "tensor_types":
            values[key.name] = part_words(value) if key.name == "split_max_size" else value
    lines = [f"{name} = {_written(value)}" for name, value in values.items()]
    if recipe.options.overrides:
        rules = [f"{_written(rule.tensor)} = {_written(rule.type)}" for rule in recipe.options.overrides]
        lines += ["", "# The first expression that a tensor's name matches decides.", "[tensor_types]", *rules]
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    """A value in TOML, whose texts, lists and switches are written as in JSON (but for the sign DEL)."""
    listed = list(value) if isinstance(value, tuple) else value
    return json.dumps(listed, ensure_ascii=False).replace("\x7f", "\\u007f")

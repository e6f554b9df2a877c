"""Reads the JSON files of a checkpoint folder, with a bound on their size and words for what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.errors import InvalidHeader, NotAModel, ReadFailed, size

MAX_JSON_BYTES = 64 << 20  # the largest tokenizer.json in use has 35 MB


def read_json_object(path: Path, most_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file. Raises NotAModel (missing, no JSON object), InvalidHeader (too large), ReadFailed."""
    try:
        n_bytes = path.stat().st_size
        if n_bytes > most_bytes:
            raise InvalidHeader(
                str(path), f"it has {size(n_bytes)}, and {size(most_bytes)} is the most that makes sense"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotAModel(str(path.parent), f"{path.name} is missing") from error
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    value = parse_json(path, data)
    if not isinstance(value, dict):
        raise NotAModel(str(path.parent), f"{path.name} does not hold a JSON object")
    return value


def parse_json(path: Path, data: bytes) -> Any:
    """Any JSON value. Raises InvalidHeader for what is no JSON, for repeated keys, and for absurd nesting."""
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else f"its JSON is not valid: {error}"
        raise InvalidHeader(str(path), reason) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result

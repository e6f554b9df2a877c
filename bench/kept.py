"""Keeps what `bench.methods` measures as each row ends, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.judge import CATEGORIES, Score, Tokens
from bench.layer_errors import Errors
from bench.method_rows import Row
from bench.orders import Measured

COLUMNS = ("kld", "surprise", "same")


class Kept:
    """Rows' figures in a folder, each with the settings that it was made with."""

    def __init__(self, folder: Path, settings: Mapping[str, int]) -> None:
        self._folder, self._settings = folder, dict(settings)
        folder.mkdir(parents=True, exist_ok=True)

    def forget(self) -> None:
        """Drops all of them."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def get(self, row: Row) -> Measured | None:
        """What was measured of a row with the same settings."""
        path = self._path(row)
        if not path.exists():
            return None
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["key"] != self._key(row):
            return None
        figures = known["figures"]
        with np.load(path.with_suffix(".npz")) as arrays:
            tokens = {
                name: Tokens(*(arrays[f"{name} {column}"].astype(np.float32) for column in COLUMNS))
                for name in CATEGORIES
            }
        return Measured(
            **{name: figures[name] for name in ("bits_per_weight", "seconds", "peak_bytes")},
            errors=figures["errors"] and Errors(**figures["errors"]),
            scores={name: Score(**score) for name, score in figures["scores"].items()},
            tokens=tokens,
        )

    def put(self, row: Row, measured: Measured) -> Measured:
        """Keeps it and hands it back; what is half written does not count."""
        path = self._path(row)
        arrays = {
            f"{name} {column}": getattr(own, column) for name, own in measured.tokens.items() for column in COLUMNS
        }
        np.savez(path.with_suffix(".npz"), **arrays)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps({"key": self._key(row), "figures": figures(measured)}), encoding="utf-8")
        os.replace(unfinished, path)
        return measured

    def _path(self, row: Row) -> Path:
        return self._folder / f"{row.name.replace(' ', '-')}.json"

    def _key(self, row: Row) -> dict[str, Any]:
        return {"words": row.words, "export": row.export, "importance": row.importance, **self._settings}


def figures(measured: Measured) -> dict[str, Any]:
    """All but the tokens, as JSON."""
    return {
        "bits_per_weight": measured.bits_per_weight,
        "seconds": measured.seconds,
        "peak_bytes": measured.peak_bytes,
        "errors": measured.errors and asdict(measured.errors),
        "scores": {name: asdict(score) for name, score in measured.scores.items()},
    }

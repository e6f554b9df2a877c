"""The recipes at hand: those that come with the program, and a user's own in the data folder.

This module is light. What a recipe is, and how its file is written, stands in core.recipe_file.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from core.catalog import MIX
from core.errors import UnknownRecipe
from core.recipe_file import Recipe, read_recipe, to_toml
from core.store import data_dir

PRESETS = Path(__file__).resolve().parents[1] / "resources" / "presets"
SUFFIX = ".toml"


def own_folder() -> Path:
    """Where a user's own recipes lie."""
    return data_dir() / "recipes"


def presets() -> tuple[Recipe, ...]:
    """The recipes that come with the program, the largest result first."""
    found = (read_recipe(path) for path in PRESETS.glob(f"*{SUFFIX}"))
    return tuple(sorted(found, key=lambda recipe: (-MIX[recipe.targets[0]].bits, recipe.id)))


def own_paths() -> tuple[Path, ...]:
    """The files of a user's own recipes, by name; they may be faulty."""
    return tuple(sorted(own_folder().glob(f"*{SUFFIX}")))


def find_recipe(name: str) -> Recipe:
    """A recipe by its id, or by the path of its file. Raises UnknownRecipe and InvalidRecipe."""
    if name.endswith(SUFFIX) or os.sep in name:
        if not Path(name).is_file():
            raise UnknownRecipe(name, _ids())
        return read_recipe(Path(name))
    found = [folder / f"{name.lower()}{SUFFIX}" for folder in (own_folder(), PRESETS)]
    for path in found:
        if path.is_file():
            return read_recipe(path)
    raise UnknownRecipe(name, _ids())


def _ids() -> list[str]:
    return [recipe.id for recipe in presets()] + [path.stem for path in own_paths()]


def recipe_id(name: str) -> str:
    """The id for a name: 'My 4-bit, small' -> 'my-4-bit-small'; 'recipe' where nothing is left."""
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-_") or "recipe"


def save_recipe(recipe: Recipe) -> Path:
    """Writes a recipe among the user's own, whole or not at all; one of the same id is replaced. Raises OSError."""
    folder = own_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recipe.id}{SUFFIX}"
    handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_toml(recipe))
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return path

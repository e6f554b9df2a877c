"""Rules of the source tree that no linter knows: openings, names, light modules, the two folder-name traps."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import CODE, FOLDERS, ROOT, imports, module_name, python_files, syntax, top_level_imports

# The only modules of core that the window process may import, and what they may import besides each other.
LIGHT = (
    "core.jobs",
    "core.jobs.chat",
    "core.jobs.checkpoints",
    "core.jobs.estimating",
    "core.jobs.evaluation",
    "core.jobs.hub",
    "core.jobs.hub_cache",
    "core.jobs.hub_page",
    "core.jobs.importance",
    "core.jobs.models",
    "core.jobs.publishing",
    "core.jobs.quantizing",
    "core.jobs.sensitivity",
    "core.errors",
    "core.progress",
    "core.catalog",
    "core.store",
    "core.engine",
    "core.journal",
    "core.leftovers",
    "core.keeping",
    "core.report",
    "core.report.front",
    "core.report.page",
    "core.report.report",
    "core.report.svg",
    "core.recipe_file",
    "core.recipes",
    "core.values",
    "core.estimate.architectures",
    "core.estimate.cache",
    "core.estimate.config",
    "core.estimate.fitting",
    "core.estimate.machine",
    "core.estimate.metadata",
    "core.estimate.overhead",
    "core.estimate.running",
    "core.estimate.timing",
    "core.estimate.values",
    "core.hub.address",
    "core.hub.cache",
    "core.hub.leftovers",
    "core.hub.token",
)
# What these are made of: tables that import nothing heavy either.
TABLES = ("core.rules", "core.methods.table", "core.unfinished", "core.hub.names", "kernels.blocks")
LIGHT_LIBRARIES = {"pydantic", "platformdirs", "psutil", "keyring"}
ALL_FILES = [*python_files(*FOLDERS), ROOT / "main.py"]


def is_sentence(docstring: str | None) -> bool:
    """Whether a docstring opens with a sentence: several words, and a full stop, semicolon or colon at the end."""
    first = (docstring or "").strip().split("\n\n")[0]
    return re.fullmatch(r"\S+\s.*[.;:]", first, re.DOTALL) is not None


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_opens_with_a_sentence(path: Path) -> None:
    assert is_sentence(ast.get_docstring(syntax(path))), f"{path} does not open with a sentence"


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert [path for path in ALL_FILES if path.stem in drawers or path.parent.name in drawers] == []


def test_packaging_is_not_a_package() -> None:
    assert not (ROOT / "packaging" / "__init__.py").exists(), "it would shadow the `packaging` library"


def test_kernels_opens_without_version_or_imports() -> None:
    """The transformers library probes for a package called `kernels`: it imports ours and reads `__version__`."""
    tree = syntax(ROOT / "kernels" / "__init__.py")
    assert list(imports(tree)) == []
    assert "__version__" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("name", LIGHT + TABLES)
def test_light_modules_import_only_light_things(name: str) -> None:
    place = ROOT / name.replace(".", "/")
    tree = syntax(place / "__init__.py" if place.is_dir() else place.with_suffix(".py"))
    ours = [imported for imported in imports(tree) if imported.partition(".")[0] in {*CODE, "main"}]
    heavy = [imported for imported in ours if not imported.startswith(LIGHT + TABLES)]
    assert heavy == []
    outside = {imported.partition(".")[0] for imported in imports(tree)} - {*CODE}
    assert outside - LIGHT_LIBRARIES - sys.stdlib_module_names - {"__future__"} == set()


def test_the_block_table_is_standard_library_only() -> None:
    """The window reads kernels.blocks, so neither it nor its package may import anything."""
    assert top_level_imports(syntax(ROOT / "kernels" / "blocks.py")) <= sys.stdlib_module_names


def test_main_imports_each_side_only_when_it_is_wanted() -> None:
    tree = syntax(ROOT / "main.py")
    assert top_level_imports(tree) <= {"__future__", "sys"}
    ours = {name.rpartition(".")[0] for name in imports(tree) if name.startswith((*CODE,))}
    assert ours == {"app.bootstrap", "app.cli", "core.worker"}


def test_no_relative_imports() -> None:
    relative = [
        path
        for path in ALL_FILES
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert relative == []


def test_the_engines_functions_exist_where_the_table_says() -> None:
    """core.engine names its functions as text, which no import checker follows."""
    from core.engine import FUNCTIONS

    for target in FUNCTIONS.values():
        name, _, function = target.partition(":")
        tree = syntax(ROOT / f"{name.replace('.', '/')}.py")
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, target


def test_tests_mirror_the_tree() -> None:
    """A test file of app, core or kernels lies in a folder that the tree has too."""
    stray = [
        path
        for path in python_files(*(f"tests/{folder}" for folder in CODE))
        if not (ROOT / path.parent.relative_to(ROOT / "tests")).is_dir()
    ]
    assert stray == []


def test_module_names_are_known() -> None:
    """Guards `module_name`, on which the contract tests rest."""
    assert module_name(ROOT / "core" / "formats" / "__init__.py") == "core.formats"
    assert module_name(ROOT / "core" / "errors.py") == "core.errors"

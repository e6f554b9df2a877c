"""README and docs keep their promises: every command, option, JSON key, target and variable stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from core.catalog import MIXES
from core.jobs import RESULT_TYPES
from tests.architecture.tree import CODE, ROOT, python_files

PAGES = tuple(ROOT / name for name in ("README.md", "docs/command-line.md"))
README = "".join(page.read_text(encoding="utf-8") for page in PAGES)
# Answers that only the window asks for.
COMMANDS = (
    "inspect",
    "plan",
    "quantize",
    "estimate",
    "verify",
    "compare",
    "imatrix",
    "evaluate",
    "sensitivity",
    "chat",
    "search",
    "page",
    "download",
    "upload",
    "token",
    "library",
    "trash",
)

# Commands whose job has another name.
ANSWERS = {"page": "hub_page", "token": "account", "library": "hub_cache"}


def json_keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key in a model's JSON, those of nested values included."""
    definitions = model.model_json_schema(by_alias=True)
    for schema in (definitions, *definitions.get("$defs", {}).values()):
        yield from schema.get("properties", {})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_json_key_is_documented(command: str) -> None:
    section = re.search(rf"^- \*\*{command}\*\*:(.*?)(?=^- \*\*|^#)", README, re.DOTALL | re.MULTILINE)
    assert section, f"no JSON keys of {command} in the README"
    # What two commands share is described once.
    text = section[1] + (README if command in ("compare", "page") else "")
    assert [key for key in json_keys(RESULT_TYPES[ANSWERS.get(command, command)]) if f"`{key}`" not in text] == []


def test_every_command_and_target_is_documented() -> None:
    usage = subprocess.run(
        [sys.executable, "main.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    commands = re.findall(r"^    (\w+)(?: |$)", usage, re.MULTILINE)
    assert set(COMMANDS) < set(commands)
    assert [command for command in commands if f"| `{command}" not in README] == []
    assert [mix.name for mix in MIXES if mix.name not in README] == []


@pytest.mark.parametrize(
    "command",
    [
        "plan",
        "quantize",
        "estimate",
        "imatrix",
        "evaluate",
        "sensitivity",
        "chat",
        "search",
        "page",
        "download",
        "upload",
        "token",
        "library",
        "trash",
        "report",
    ],
)
def test_every_option_is_documented(command: str) -> None:
    usage = subprocess.run(
        [sys.executable, "main.py", command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"--[a-z-]+", usage)) - {"--help"}
    assert [option for option in sorted(options) if option not in README] == []


def test_every_variable_is_documented() -> None:
    found = {
        name
        for path in python_files(*CODE)
        for name in re.findall(r'"(BITWRIGHT_[A-Z]+(?:_[A-Z]+)*)"', path.read_text(encoding="utf-8"))
    }
    assert found
    assert [name for name in sorted(found) if f"| `{name}` |" not in README] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not link.startswith("http") and not (page.parent / link).exists()] == []

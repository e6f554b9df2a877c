"""The Linux desktop entry: installed for one user it starts this checkout, and removing it leaves nothing behind."""

from __future__ import annotations

import configparser
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.architecture.tree import ROOT

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="desktop entries are Linux's")


def install(checkout: Path, share: Path, *arguments: str) -> None:
    """Runs a checkout's install.sh for a user whose data folder is `share`."""
    command = [str(checkout / "packaging/linux/install.sh"), *arguments]
    environment = os.environ | {"XDG_DATA_HOME": str(share)}
    subprocess.run(command, env=environment, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose path holds what a desktop entry must quote."""
    root = tmp_path / 'my "100%" $models & more \\ `these`'
    for part in ("packaging/linux", "resources/icons"):
        shutil.copytree(ROOT / part, root / part)
    return root


def exec_arguments(entry: Path) -> list[str]:
    """The program and arguments of an entry's Exec, unquoted as the Desktop Entry Specification says."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys are case-sensitive
    parser.read(entry, encoding="utf-8")
    # A value's backslashes are doubled; within it an argument's special characters have a backslash, and % is %%.
    value = parser["Desktop Entry"]["Exec"].replace("\\\\", "\\")
    quoted = re.findall(r'"((?:\\.|[^"\\])*)"', value)
    return [re.sub(r"\\(.)", r"\1", argument).replace("%%", "%") for argument in quoted]


def test_entry_starts_the_checkout_it_was_installed_from(checkout: Path, tmp_path: Path) -> None:
    install(checkout, tmp_path / "share")
    python, main = exec_arguments(tmp_path / "share/applications/bitwright.desktop")
    assert python == str(checkout / ".venv/bin/python")
    assert main == str(checkout / "main.py")
    assert (tmp_path / "share/icons/hicolor/scalable/apps/bitwright.svg").is_file()


def test_entry_opens_the_model_that_was_double_clicked(checkout: Path, tmp_path: Path) -> None:
    install(checkout, tmp_path / "share")
    lines = (tmp_path / "share/applications/bitwright.desktop").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line.startswith("Exec=")).endswith('" %f')
    kind = ElementTree.parse(ROOT / "packaging/linux/bitwright-mime.xml").getroot()[0].attrib["type"]
    assert f"MimeType={kind};" in lines


def test_removing_leaves_nothing_of_ours(checkout: Path, tmp_path: Path) -> None:
    install(checkout, tmp_path / "share")
    install(checkout, tmp_path / "share", "remove")
    assert list((tmp_path / "share").rglob("*bitwright*")) == []


def test_icon_and_mime_type_are_well_formed() -> None:
    assert ElementTree.parse(ROOT / "resources/icons/bitwright.svg").getroot().get("viewBox") == "0 0 128 128"
    mime = ElementTree.parse(ROOT / "packaging/linux/bitwright-mime.xml").getroot()
    assert mime[0].get("type") == "application/x-gguf"

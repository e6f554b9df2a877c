"""The check of Qt's system libraries: what it finds missing, and the one line it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def libraries(load_script: Callable[[str], ModuleType]) -> ModuleType:
    """packaging/system_libraries.py, which is a script and no package's module."""
    return load_script("system_libraries")


def test_a_library_that_does_not_exist_is_missing(libraries: ModuleType) -> None:
    assert not libraries.is_loadable("libthere-is-none.so.9")
    assert libraries.is_loadable("libc.so.6") or libraries.platform.system() != "Linux"


def test_rows_name_every_library_once(libraries: ModuleType) -> None:
    names = [row.soname for row in libraries.LIBRARIES]
    assert len(names) == len(set(names))
    assert all(all(row) for row in libraries.LIBRARIES)


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ("ID=debian\n", "sudo apt-get install -y --no-install-recommends fonts-dejavu-core libegl1"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "sudo apt-get install"),
        ("ID=fedora\n", "sudo dnf install -y dejavu-sans-fonts libglvnd-egl"),
        ('ID=endeavouros\nID_LIKE="arch"\n', "sudo pacman -S --needed libglvnd ttf-dejavu"),
        ("ID=plan9\n", "not installed: libEGL.so.1, a font"),
        ("", "not installed: libEGL.so.1, a font"),
    ],
)
def test_advice_is_one_line_for_the_distribution(
    libraries: ModuleType, tmp_path: Path, os_release: str, expected: str
) -> None:
    file = tmp_path / "os-release"
    file.write_text(os_release)
    rows = [libraries.LIBRARIES[0], libraries.FONT]
    line = libraries.advice(rows, libraries.install_command(rows, list(libraries.distribution_names(file))))
    assert expected in line
    assert "\n" not in line


def test_who_is_not_root_is_told_and_nothing_is_installed(
    libraries: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries.platform, "system", lambda: "Linux")
    monkeypatch.setattr(libraries, "missing", lambda: [libraries.LIBRARIES[0]])
    monkeypatch.setattr(libraries, "distribution_names", lambda: ["debian"])
    monkeypatch.setattr(libraries.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(libraries, "install", lambda command: pytest.fail("only root may install"))
    assert libraries.main() == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_all_there_is_silent(
    libraries: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "missing", list)
    assert libraries.main() == 0
    assert capsys.readouterr() == ("", "")

"""Checks the system libraries and the font that Qt needs on Linux; installs them where root may, else prints how.

Silent, and finished in a fraction of a second, where everything is there. Standard library only. Exit code 1 where
something is still missing at the end. The rows are what `readelf -d` names as needed by PySide6's platform plugins
(xcb, offscreen) and QtGui, and by the chat engine, less what every Linux system has.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Library(NamedTuple):
    """A shared library and the packages that hold it on the three families of distributions."""

    soname: str
    debian: str
    fedora: str
    arch: str


LIBRARIES = (
    Library("libEGL.so.1", "libegl1", "libglvnd-egl", "libglvnd"),
    Library("libGL.so.1", "libgl1", "libglvnd-glx", "libglvnd"),
    Library("libX11.so.6", "libx11-6", "libX11", "libx11"),
    Library("libX11-xcb.so.1", "libx11-xcb1", "libX11-xcb", "libx11"),
    Library("libxkbcommon.so.0", "libxkbcommon0", "libxkbcommon", "libxkbcommon"),
    Library("libxkbcommon-x11.so.0", "libxkbcommon-x11-0", "libxkbcommon-x11", "libxkbcommon-x11"),
    Library("libxcb.so.1", "libxcb1", "libxcb", "libxcb"),
    Library("libxcb-cursor.so.0", "libxcb-cursor0", "xcb-util-cursor", "xcb-util-cursor"),
    Library("libxcb-icccm.so.4", "libxcb-icccm4", "xcb-util-wm", "xcb-util-wm"),
    Library("libxcb-image.so.0", "libxcb-image0", "xcb-util-image", "xcb-util-image"),
    Library("libxcb-keysyms.so.1", "libxcb-keysyms1", "xcb-util-keysyms", "xcb-util-keysyms"),
    Library("libxcb-randr.so.0", "libxcb-randr0", "libxcb", "libxcb"),
    Library("libxcb-render.so.0", "libxcb-render0", "libxcb", "libxcb"),
    Library("libxcb-render-util.so.0", "libxcb-render-util0", "xcb-util-renderutil", "xcb-util-renderutil"),
    Library("libxcb-shape.so.0", "libxcb-shape0", "libxcb", "libxcb"),
    Library("libxcb-shm.so.0", "libxcb-shm0", "libxcb", "libxcb"),
    Library("libxcb-sync.so.1", "libxcb-sync1", "libxcb", "libxcb"),
    Library("libxcb-util.so.1", "libxcb-util1", "xcb-util", "xcb-util"),
    Library("libxcb-xfixes.so.0", "libxcb-xfixes0", "libxcb", "libxcb"),
    Library("libxcb-xkb.so.1", "libxcb-xkb1", "libxcb", "libxcb"),
    Library("libfontconfig.so.1", "libfontconfig1", "fontconfig", "fontconfig"),
    Library("libfreetype.so.6", "libfreetype6", "freetype", "freetype2"),
    Library("libdbus-1.so.3", "libdbus-1-3", "dbus-libs", "dbus"),
    Library("libglib-2.0.so.0", "libglib2.0-0", "glib2", "glib2"),
    Library("libgomp.so.1", "libgomp1", "libgomp", "gcc-libs"),
)
# Not a library, but text without any font is empty boxes; found by looking for a file, not by loading.
FONT = Library("a font", "fonts-dejavu-core", "dejavu-sans-fonts", "ttf-dejavu")
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")

# Package manager by the ID or ID_LIKE of /etc/os-release: the field of Library, and the command before the names.
MANAGERS = {
    "debian": ("debian", "apt-get install -y --no-install-recommends"),
    "ubuntu": ("debian", "apt-get install -y --no-install-recommends"),
    "fedora": ("fedora", "dnf install -y"),
    "rhel": ("fedora", "dnf install -y"),
    "arch": ("arch", "pacman -S --needed"),
}


def is_loadable(soname: str) -> bool:
    """Whether the dynamic linker finds the library and all that it needs in turn."""
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def has_font() -> bool:
    """Whether any scalable font file lies in the folders where fontconfig looks."""
    files = (name for folder in FONT_FOLDERS for _, _, names in os.walk(os.path.expanduser(folder)) for name in names)
    return any(name.lower().endswith((".ttf", ".otf", ".ttc")) for name in files)


def missing() -> list[Library]:
    """What is not there, in the order of the rows."""
    return [row for row in LIBRARIES if not is_loadable(row.soname)] + ([] if has_font() else [FONT])


def distribution_names(os_release: Path = Path("/etc/os-release")) -> Iterator[str]:
    """The distribution's own ID and those it says it is like, e.g. linuxmint, ubuntu, debian."""
    if not os_release.is_file():
        return
    lines = (line.partition("=") for line in os_release.read_text(encoding="utf-8").splitlines())
    values = {key: value.strip("\"'") for key, _, value in lines}
    yield from f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".split()


def install_command(rows: list[Library], names: list[str]) -> str:
    """The command that installs `rows` on the distribution called `names`, or '' where it is not known."""
    for name in names:
        if name in MANAGERS:
            field, command = MANAGERS[name]
            return f"{command} {' '.join(sorted({getattr(row, field) for row in rows}))}"
    return ""


def advice(rows: list[Library], command: str) -> str:
    """The one line for a user who must install `rows` by hand."""
    if command:
        return f"Qt needs system libraries that are not installed. Run: sudo {command}"
    return f"Qt needs system libraries that are not installed: {', '.join(row.soname for row in rows)}"


def install(command: str) -> None:
    """Runs apt-get as root, quietly; its errors are shown."""
    print(f"Installing system libraries for Qt: {command}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NOWARNINGS": "yes"}
    for line in ("apt-get update", command):
        subprocess.run([*line.split(), "-qq"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> int:
    """Checks, installs where it may, and returns 1 where something is still missing."""
    if platform.system() != "Linux":
        return 0
    rows = missing()
    if not rows:
        return 0
    command = install_command(rows, list(distribution_names()))
    if command.startswith("apt-get") and os.geteuid() == 0:
        install(command)
        rows = missing()
    if rows:
        print(advice(rows, command), file=sys.stderr)
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main())

"""Tells by its exit code whether a window can be opened: 0 yes, 1 no. A display that does not answer is mentioned.

Qt aborts where DISPLAY or WAYLAND_DISPLAY names a display that is not there, so the display is asked first. Standard
library only. DISPLAY is [host]:number[.screen] (X(7), "Display names"); WAYLAND_DISPLAY is a socket's name or path.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
from pathlib import Path

X_PORT = 6000
PATIENCE_S = 3.0


def answers(family: socket.AddressFamily, address: object) -> bool:
    """Whether something listens at a socket's address."""
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.settimeout(PATIENCE_S)
        try:
            link.connect(address)
        except OSError:
            return False
    return True


def x_answers(display: str) -> bool:
    """Whether an X server listens on this display: a local socket, or a port where a host is named (ssh -X)."""
    found = re.fullmatch(r"(?:unix/?|(.*)):(\d+)(?:\.\d+)?", display)
    if not found:
        return Path(display).exists()  # XQuartz names its socket by a path
    host, number = found[1], int(found[2])
    if host:
        return answers(socket.AF_INET, (host, X_PORT + number))
    path = f"/tmp/.X11-unix/X{number}"
    return any(answers(socket.AF_UNIX, address) for address in (path, f"\0{path}"))


def wayland_answers(name: str) -> bool:
    """Whether a compositor listens on this socket."""
    return answers(socket.AF_UNIX, os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), name))


def main() -> int:
    """Asks the displays that the environment names."""
    if platform.system() != "Linux":
        return 0
    if os.environ.get("QT_QPA_PLATFORM", "").startswith(("offscreen", "minimal", "vnc")):
        return 0
    for variable, listens in (("WAYLAND_DISPLAY", wayland_answers), ("DISPLAY", x_answers)):
        name = os.environ.get(variable)
        if name and listens(name):
            return 0
        if name:
            print(f"The display {variable}={name} does not answer.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

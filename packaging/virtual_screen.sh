#!/bin/sh
# Runs a command with a virtual screen: Xvfb where it is installed, else Qt's own offscreen platform.
if command -v xvfb-run >/dev/null 2>&1; then
    unset WAYLAND_DISPLAY QT_QPA_PLATFORM
    exec xvfb-run -a -s "-screen 0 2560x1600x24" "$@"
fi
QT_QPA_PLATFORM=offscreen exec "$@"

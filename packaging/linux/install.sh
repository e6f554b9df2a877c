#!/bin/sh
# Adds Bitwright to this user's application menu, started from this checkout; `install.sh remove` takes it out again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
share=${XDG_DATA_HOME:-$HOME/.local/share}
entry=$share/applications/bitwright.desktop
icon=$share/icons/hicolor/scalable/apps/bitwright.svg
mime=$share/mime/packages/bitwright-mime.xml

refresh() {
    # The caches are the desktop's own business: where a tool is missing, it reads the files themselves.
    if command -v update-desktop-database >/dev/null; then update-desktop-database "$share/applications"; fi
    if command -v update-mime-database >/dev/null; then update-mime-database "$share/mime"; fi
}

# A path as a quoted argument of Exec, then as the replacement of a sed command.
argument() {
    printf '%s' "$1" | sed -e 's/%/%%/g' -e 's/\\/\\\\\\\\/g' -e 's/["`$]/\\\\&/g' -e 's/[\\&|]/\\&/g'
}

if [ "${1:-}" = remove ]; then
    rm -f "$entry" "$icon" "$mime"
    refresh
    echo "Bitwright is no longer in the application menu."
    exit
fi

mkdir -p "$share/applications" "$(dirname "$icon")" "$(dirname "$mime")"
sed -e "s|@PYTHON@|$(argument "$root/.venv/bin/python")|" -e "s|@MAIN@|$(argument "$root/main.py")|" \
    "$here/bitwright.desktop" >"$entry"
cp "$root/resources/icons/bitwright.svg" "$icon"
cp "$here/bitwright-mime.xml" "$mime"
refresh
echo "Bitwright is in the application menu: $entry"

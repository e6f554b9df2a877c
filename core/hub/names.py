"""What names of files, revisions and hashes from a server are allowed to be before they become paths. Light."""

from __future__ import annotations

import re

LONGEST_PART = 255
LONGEST_NAME = 1024

# Before an id, where files on the Hub are meant and not those downloaded: hub:OWNER/NAME, hub:OWNER/NAME/FILE.
REMOTE = "hub:"
# Before an id, where a dataset on the Hub is meant: dataset:OWNER/NAME, dataset:OWNER/NAME/FILE.
DATASET = "dataset:"
# Files of one are taken until they have so many bytes together, for a calibration many times what it reads; of a larger
# one so many letters are read where nobody says how many tokens.
ENOUGH_BYTES = 4 << 20

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CACHED = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/[0-9a-f]{40}(?:/|$)")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
# Names that Windows gives to devices, in every folder and with every ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_repo(text: str) -> bool:
    """Whether a text has the form of a model's id: OWNER/NAME."""
    return _REPO.fullmatch(text) is not None and ".." not in text and not text.endswith((".git", "."))


def split_id(text: str) -> tuple[str, str]:
    """OWNER/NAME and FILE of OWNER/NAME[/FILE]; two empty texts where the file's name must not become a path."""
    parts = text.split("/", 2)
    file = parts[2] if len(parts) > 2 else ""
    return ("", "") if file and problem_of(file) else ("/".join(parts[:2]), file)


def repo_in(path: str) -> str:
    """The id of the model whose place in the Hub's cache a path is or lies in, '' where it does in none."""
    found = _CACHED.search(path.replace("\\", "/"))
    return f"{found[1]}/{found[2]}" if found else ""


def is_hash(text: str) -> bool:
    """Whether a text is a SHA-1 or SHA-256 in lower-case hexadecimal, as the Hub names contents."""
    return _HASH.fullmatch(text) is not None


def is_commit(text: str) -> bool:
    """Whether a text is a whole commit hash."""
    return _COMMIT.fullmatch(text) is not None


def problem_of(name: str) -> str:
    """Why `name` must not become a path below a folder of ours, or '' where it may."""
    if not name or name.startswith("/") or name[1:2] == ":":
        return "it is an absolute path" if name else "it is empty"
    if "\\" in name or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "it has characters that no file name should have"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it leaves its folder"
    if any(_DEVICE.fullmatch(part) for part in parts):
        return "it is the name of a device on Windows"
    try:
        lengths = [len(part.encode("utf-8")) for part in parts]
    except UnicodeEncodeError:
        return "it is no text"
    if max(lengths) > LONGEST_PART or sum(lengths) + len(lengths) > LONGEST_NAME:
        return "it is longer than file systems allow"
    return ""

"""The settings: one declarative table of rows, and their values in a JSON file in the user's configuration directory.

The file is written beside its place and renamed, carries a version, and keeps what it does not know. A damaged file
is set aside under another name and the defaults are used.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs
from PySide6.QtCore import QT_TRANSLATE_NOOP, QObject, Signal

log = logging.getLogger(__name__)

VERSION = 1
Kind = Literal["choice", "paths", "folder", "integer", "number", "text", "switch"]
Choices = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. section '' keeps it off the Settings page: it is remembered, not chosen there.

    limits: (lowest, highest) of a number. choices: (value, label) of a choice. special: what the lowest number means,
    or an empty folder.
    """

    key: str
    kind: Kind
    default: Any
    section: str
    label: str
    help: str
    limits: tuple[float, float] | None = None
    choices: Choices = ()
    special: str = ""

    def accepts(self, value: object) -> bool:
        """Whether `value` has this setting's type and lies within its limits."""
        return _ACCEPTS[self.kind](self, value)


def _is_number(row: Setting, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return row.limits is None or row.limits[0] <= value <= row.limits[1]


def _is_paths(_row: Setting, value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


_ACCEPTS = {
    "choice": lambda row, value: isinstance(value, str) and value in {choice for choice, _ in row.choices},
    "paths": _is_paths,
    "folder": lambda _row, value: isinstance(value, str),
    "text": lambda _row, value: isinstance(value, str),
    "integer": lambda row, value: isinstance(value, int) and _is_number(row, value),
    "number": _is_number,
    "switch": lambda _row, value: isinstance(value, bool),
}

# Labels are marked for translation here and translated where they are shown.
_T = QT_TRANSLATE_NOOP
LOOK = _T("Settings", "Look")
FOLDERS = _T("Settings", "Folders")
ENGINE = _T("Settings", "Quantizing")
CHAT = _T("Settings", "Chat")
HUB = _T("Settings", "Hugging Face")
WINDOW = _T("Settings", "Window")

ROWS: tuple[Setting, ...] = (
    Setting(
        "theme",
        "choice",
        "system",
        LOOK,
        _T("Settings", "Theme"),
        _T("Settings", "Follow the system, or always light or dark. Applied at once, plots included."),
        choices=(
            ("system", _T("Settings", "Follow the system")),
            ("light", _T("Settings", "Light")),
            ("dark", _T("Settings", "Dark")),
        ),
    ),
    Setting(
        "model_folders",
        "paths",
        (),
        FOLDERS,
        _T("Settings", "Model folders"),
        _T("Settings", "Searched for .gguf files and model folders, and watched for new ones."),
    ),
    Setting(
        "output_folder",
        "folder",
        "",
        FOLDERS,
        _T("Settings", "Output folder"),
        _T("Settings", "Where quantized files are proposed. Empty: beside the source, or your home folder."),
        special=_T("Settings", "Beside the source"),
    ),
    Setting(
        "threads",
        "integer",
        0,
        ENGINE,
        _T("Settings", "Threads"),
        _T("Settings", "Processor threads used for quantizing and chat."),
        limits=(0, max(os.cpu_count() or 1, 1)),
        special=_T("Settings", "All"),
    ),
    Setting(
        "device",
        "choice",
        "auto",
        ENGINE,
        _T("Settings", "Compute on"),
        _T(
            "Settings",
            "Automatic: methods that look at a text, importance matrices and measuring on an NVIDIA GPU, where there "
            "is one and PyTorch is built for CUDA. GPU: types of GGUF files are searched there, too.",
        ),
        choices=(
            ("auto", _T("Settings", "Automatic")),
            ("cpu", _T("Settings", "Processor")),
            ("cuda", _T("Settings", "GPU")),
        ),
    ),
    Setting(
        "converter",
        "folder",
        "",
        ENGINE,
        _T("Settings", "llama.cpp folder"),
        _T(
            "Settings",
            "A checkout of llama.cpp: its converter first makes a 16-bit file of models that no family here is for. "
            "It runs as it is, and may run code that a model brings. Empty: such models are refused.",
        ),
        special=_T("Settings", "None"),
    ),
    Setting(
        "chat_context",
        "integer",
        2048,
        CHAT,
        _T("Settings", "Context"),
        _T("Settings", "Tokens the model can look back on. A longer context needs more memory."),
        limits=(64, 131_072),
    ),
    Setting(
        "chat_max_tokens",
        "integer",
        512,
        CHAT,
        _T("Settings", "Longest answer"),
        _T("Settings", "An answer ends after this many tokens at the latest."),
        limits=(1, 131_072),
    ),
    Setting(
        "chat_temperature",
        "number",
        0.7,
        CHAT,
        _T("Settings", "Temperature"),
        _T("Settings", "0 always takes the likeliest token; higher is more varied."),
        limits=(0.0, 5.0),
    ),
    Setting(
        "chat_top_p",
        "number",
        0.95,
        CHAT,
        _T("Settings", "Top p"),
        _T("Settings", "Only the likeliest tokens that together reach this probability are drawn."),
        limits=(0.01, 1.0),
    ),
    Setting(
        "chat_top_k",
        "integer",
        40,
        CHAT,
        _T("Settings", "Top k"),
        _T("Settings", "Only this many of the likeliest tokens are drawn."),
        limits=(0, 1000),
        special=_T("Settings", "Off"),
    ),
    Setting(
        "chat_seed",
        "integer",
        -1,
        CHAT,
        _T("Settings", "Seed"),
        _T("Settings", "The same seed gives the same answer to the same prompt."),
        limits=(-1, 2**31 - 1),
        special=_T("Settings", "New each time"),
    ),
    Setting(
        "chat_system_prompt",
        "text",
        "",
        CHAT,
        _T("Settings", "System prompt"),
        _T("Settings", "Told to the model before every conversation."),
    ),
    Setting(
        "downloads_at_once",
        "integer",
        2,
        HUB,
        _T("Settings", "Downloads at once"),
        _T("Settings", "Further ones wait. Each has a process of its own, so that none can stop another."),
        limits=(1, 4),
    ),
    Setting(
        "download_limit",
        "integer",
        0,
        HUB,
        _T("Settings", "Speed limit"),
        _T("Settings", "MiB per second for each download, from its next start on."),
        limits=(0, 10_000),
        special=_T("Settings", "None"),
    ),
    Setting(
        "confirm_quit_with_jobs",
        "switch",
        True,
        WINDOW,
        _T("Settings", "Ask before quitting while a job runs"),
        _T("Settings", "A running job is cancelled when the window closes; it can be retried later."),
    ),
    Setting("model_files", "paths", (), "", "", ""),
    Setting("quantize_types", "paths", (), "", "", ""),
    Setting("hub_favourites", "paths", (), "", "", ""),
    Setting("hub_recent", "paths", (), "", "", ""),
    Setting("hub_context", "integer", 4096, "", "", "", limits=(512, 1 << 20)),
    Setting("quantize_fit", "text", "fast", "", "", ""),
    Setting("quantize_goal", "text", "gguf", "", "", ""),
    Setting("quantize_method", "text", "", "", "", ""),
    Setting("quantize_export", "text", "", "", "", ""),
    Setting("quantize_beside", "paths", (), "", "", ""),
    Setting("hidden_models", "paths", (), "", "", ""),
)

ROW: dict[str, Setting] = {row.key: row for row in ROWS}


def config_dir() -> Path:
    """The user's configuration directory (BITWRIGHT_CONFIG_DIR overrides it); not created here."""
    override = os.environ.get("BITWRIGHT_CONFIG_DIR")
    return Path(override) if override else Path(platformdirs.user_config_dir("bitwright", appauthor=False))


class Settings(QObject):
    """The values of ROWS. `changed` carries the key of each value that changed.

    not_saved: the reason why the file could not be written; the value holds until the window closes.
    """

    changed = Signal(str)
    not_saved = Signal(str)

    def __init__(self, path: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path = path or config_dir() / "settings.json"
        self._foreign: dict[str, Any] = {}
        self._values = self._load()

    def value(self, key: str) -> Any:
        """The value of a setting, its default where it was never set. Raises KeyError for an unknown key."""
        return self._values.get(key, ROW[key].default)

    def set(self, key: str, value: object) -> None:
        """Sets, saves and announces. Raises ValueError where the value is not allowed."""
        row = ROW[key]
        if not row.accepts(value):
            raise ValueError(f"{key} cannot be {value!r}")
        kept = tuple(value) if row.kind == "paths" else value  # type: ignore[call-overload]
        if kept == self.value(key):
            return
        self._values[key] = kept
        try:
            self._save()
        except OSError as error:
            log.exception("the settings could not be saved")
            self.not_saved.emit(error.strerror or str(error))
        self.changed.emit(key)

    def reset(self) -> None:
        """Gives every setting shown on the Settings page its default; the list of models is kept."""
        for row in ROWS:
            if row.section and row.key != "model_folders":
                self.set(row.key, row.default)

    def _load(self) -> dict[str, Any]:
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            values = dict(stored["values"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._set_aside(error)
            return {}
        self._foreign = {key: value for key, value in values.items() if key not in ROW}
        return _accepted(values)

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_suffix(".damaged.json")
        log.warning("settings in %s could not be read (%s); kept as %s, defaults are used", self.path, error, aside)
        try:
            self.path.replace(aside)
        except OSError:
            log.exception("the damaged settings could not be set aside")

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.part")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump({"version": VERSION, "values": self._foreign | self._values}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)


def delete_settings() -> Path:
    """Deletes the settings and the remembered window geometry, for `--reset-settings`; returns their directory."""
    directory = config_dir()
    for name in ("settings.json", "window.ini"):
        (directory / name).unlink(missing_ok=True)
    return directory


def _accepted(values: Mapping[str, Any]) -> dict[str, Any]:
    accepted = {key: value for key, value in values.items() if key in ROW and ROW[key].accepts(value)}
    for key in accepted.keys() & {row.key for row in ROWS if row.kind == "paths"}:
        accepted[key] = tuple(accepted[key])
    return accepted

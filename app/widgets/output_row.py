"""Where the output goes: folder and file name, with what will be written there said below."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, Signal
from PySide6.QtWidgets import QFileDialog, QGridLayout, QLabel, QLineEdit, QToolButton, QWidget

from app import text

SUFFIX = ".gguf"
translate = QCoreApplication.translate


class OutputRow(QWidget):
    """Two fields and a button to browse. Signals: changed() by typing, browsing or a new proposal.

    A proposal replaces the name until the user has typed one; `renew` makes the row open for proposals again. Of
    several files only the folder is chosen, their names follow from their types.
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._typed_name = self._typed_folder = False
        self._several: tuple[str, ...] = ()
        self._suffix = SUFFIX
        self.folder, self.name = QLineEdit(), QLineEdit()
        self.folder.setObjectName("output_folder")
        self.name.setObjectName("output_name")
        browse = QToolButton()
        browse.setAccessibleName(self.tr("Browse for the output folder"))
        browse.setToolTip(browse.accessibleName())
        theme.decorate(browse, "folder")
        browse.clicked.connect(self._browse)
        self.folder.textEdited.connect(self._folder_edited)
        self.name.textEdited.connect(self._name_edited)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(8)
        for column, (words, field) in enumerate(
            ((self.tr("Output &folder"), self.folder), (self.tr("File &name"), self.name))
        ):
            label = QLabel(words)
            label.setBuddy(field)
            self._name_label = label
            layout.addWidget(label, 0, 3 * column)
            layout.addWidget(field, 0, 3 * column + 1)
        layout.addWidget(browse, 0, 2)
        layout.setColumnStretch(1, 3)
        layout.setColumnStretch(4, 3)

    @property
    def path(self) -> str:
        """The output's path, '' while folder or name are missing."""
        folder, name = self.folder.text().strip(), self.name.text().strip()
        if not folder or not name:
            return ""
        return str(Path(folder).expanduser() / (name if name.endswith(self._suffix) else f"{name}{self._suffix}"))

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all outputs; none while something is missing."""
        if not self._several:
            return (self.path,) if self.path else ()
        folder = self.folder.text().strip()
        return tuple(str(Path(folder).expanduser() / name) for name in self._several) if folder else ()

    def propose_several(self, folder: str, names: tuple[str, ...]) -> None:
        """Fills in the folder where the user has not typed one; the names are what they are."""
        self._take_kind(SUFFIX, self.tr("File &name"))
        self._several = names
        self.name.setReadOnly(True)
        if not self._typed_folder:
            self.folder.setText(folder)
        self.name.setText(", ".join(names))
        self.name.setCursorPosition(0)
        self.name.setToolTip("\n".join(names))
        self.changed.emit()

    def propose(self, path: str) -> None:
        """Fills in what the user has not typed, of a file."""
        self._take_kind(SUFFIX, self.tr("File &name"))
        self._propose(path)

    def propose_folder(self, path: str) -> None:
        """Fills in what the user has not typed, of an output that is a folder."""
        self._take_kind("", self.tr("&Name"))
        self._propose(path)

    def _take_kind(self, suffix: str, words: str) -> None:
        """A name that was typed for the other kind of output is none for this one."""
        self._typed_name = self._typed_name and suffix == self._suffix
        self._suffix = suffix
        self._name_label.setText(words)

    def _propose(self, path: str) -> None:
        if self._several:
            self._several, self._typed_name = (), False
            self.name.setReadOnly(False)
            self.name.setToolTip("")
        if not self._typed_folder:
            self.folder.setText(str(Path(path).parent))
        if not self._typed_name:
            self.name.setText(Path(path).name)
        self.changed.emit()

    def renew(self) -> None:
        """Forgets that the user typed: another model was chosen."""
        self._typed_name = self._typed_folder = False

    def _browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self.tr("Output folder"), self.folder.text())
        if chosen:
            self.folder.setText(chosen)
            self._folder_edited()

    def _folder_edited(self) -> None:
        self._typed_folder = True
        self.changed.emit()

    def _name_edited(self) -> None:
        self._typed_name = True
        self.changed.emit()


def problem_with(path: str, source: str) -> str:
    """Why nothing can be written there, in words, or ''. Looks at names and permissions only."""
    if not path:
        return translate("OutputRow", "Give a folder and a file name.")
    folder = Path(path).parent
    if not folder.is_dir():
        return translate("OutputRow", "The folder {0} does not exist.").format(folder)
    if not os.access(folder, os.W_OK):
        return translate("OutputRow", "The folder {0} cannot be written: choose another one.").format(folder)
    if path.endswith(SUFFIX) and Path(path).is_dir():
        return translate("OutputRow", "A folder of this name exists: choose another file name.")
    if not path.endswith(SUFFIX) and (Path(path).is_file() or (Path(path).is_dir() and any(Path(path).iterdir()))):
        return translate("OutputRow", "{0} exists and is not empty: choose another name.").format(Path(path).name)
    if os.path.realpath(path) == os.path.realpath(source):
        return translate("OutputRow", "This is the source itself: choose another file name.")
    return ""


def room_words(path: str, n_bytes: int, several: str, count: int) -> str:
    """Exact size of the output and the room on its disk, in words; several: those for `count` outputs together."""
    free = shutil.disk_usage(Path(path).parent).free
    words = translate("OutputRow", "Writes {0} (exactly {1} bytes)").format(text.size(n_bytes), text.exact(n_bytes))
    if several:
        words = several.format(count, text.size(n_bytes))
    room = translate("OutputRow", "{0} free on this disk").format(text.size(free))
    return f"{words}; {room}"

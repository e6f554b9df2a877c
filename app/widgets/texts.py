"""Where texts come from, as the menus that choose them offer it: files, and data sets of the Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QLabel, QLineEdit, QMenu, QVBoxLayout, QWidget

from core.hub.address import PUBLIC, endpoint
from core.hub.cache import DATASET, is_repo, split_id

WIDTH = 460
ENDINGS = "*.txt *.md *.jsonl *.json *.parquet *.gz *.zst"
Take = Callable[[tuple[str, ...]], None]


def add_sources(menu: QMenu, parent: QWidget, title: str, take: Take) -> None:
    """Adds both to a menu. title: of their dialogs. take: hears of what was chosen."""
    menu.addAction(_tr("Text files…")).triggered.connect(lambda: choose_files(parent, title, take))
    menu.addAction(_tr("Data set of the Hub…")).triggered.connect(lambda: choose_dataset(parent, take))


def choose_files(parent: QWidget, title: str, take: Take) -> None:
    """Asks for files."""
    kinds = _tr("Texts ({0})").format(ENDINGS) + ";;" + _tr("All files (*)")
    paths, _ = QFileDialog.getOpenFileNames(parent, title, str(Path.home()), kinds)
    if paths:
        take(tuple(paths))


def choose_dataset(parent: QWidget, take: Take) -> None:
    """Asks for a data set by its id; what is asked with it is not held up meanwhile."""
    dialog = DatasetDialog(parent)
    dialog.accepted.connect(lambda: take((dialog.dataset,)))
    dialog.open()


def text_word(text: str) -> str:
    """A text's name in few words: of a file its name, of a data set its id."""
    return text.removeprefix(DATASET) if text.startswith(DATASET) else Path(text).name


def dataset_of(words: str) -> str:
    """The data set that is meant by an id or an address of its page, as jobs name it; '' where none is."""
    words = words.strip().removeprefix(DATASET)
    for hub in {endpoint(), PUBLIC}:
        words = words.removeprefix(f"{hub}/datasets/")
    parts = [unquote(part) for part in urlsplit(words).path.strip("/").split("/")]
    if "://" in words or not is_repo("/".join(parts[:2])):
        return ""
    if len(parts) > 3 and parts[2] in ("blob", "tree", "resolve"):
        del parts[2:4]
    elif parts[2:3] == ["viewer"]:
        del parts[2:]
    repo, file = split_id("/".join(parts))
    return f"{DATASET}{repo}/{file}".rstrip("/") if is_repo(repo) else ""


class DatasetDialog(QDialog):
    """One line for an id. dataset: what it stands for, `dataset:OWNER/NAME[/FILE]`, or ''.

    For tests: objectNames `dataset_id`, `dataset_ok`.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("dataset_dialog")
        self.setWindowTitle(self.tr("Data set of the Hub"))
        self.setMinimumWidth(WIDTH)
        self.dataset = ""
        label = QLabel(self.tr("&Id of the data set, or the address of its page"))
        self.line = QLineEdit()
        self.line.setObjectName("dataset_id")
        self.line.setPlaceholderText("OWNER/NAME")
        self.line.textChanged.connect(self._read)
        label.setBuddy(self.line)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok.setObjectName("dataset_ok")
        self.ok.setText(self.tr("Use it"))
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        for part in (label, self.line, self._explanation()):
            layout.addWidget(part)
        layout.addSpacing(8)
        layout.addWidget(buttons)
        self._read("")

    def _explanation(self) -> QLabel:
        words = QLabel(
            self.tr(
                "Its first file is fetched when the job runs, and of its rows as many are read as are needed, some "
                "4 MiB of text at most: texts, conversations, or questions with their answers, from JSONL, JSON, "
                "Parquet or text files. For one file or folder of it, write OWNER/NAME/FILE."
            )
        )
        words.setProperty("role", "muted")
        words.setWordWrap(True)
        return words

    def _read(self, words: str) -> None:
        self.dataset = dataset_of(words)
        self.ok.setEnabled(bool(self.dataset))


def _tr(text: str) -> str:
    return QCoreApplication.translate("texts", text)

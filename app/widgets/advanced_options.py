"""The options for those who know: exceptions for output and embedding, files, metadata, where importance counts."""

from __future__ import annotations

import argparse
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QTimer, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from app.cli_options import key_override, layer_numbers
from app.glossary import explain
from app.widgets.note_line import NoteLine
from core.jobs import KeyOverride, QuantizeOptions
from core.recipe_file import part_bytes, part_words
from kernels.blocks import ROWS

_T = QT_TRANSLATE_NOOP
TYPING_MS = 400
LINES_HEIGHT = 64

# name of the option and of the widget: words, glossary entry
SWITCHES: dict[str, tuple[str, str]] = {
    "pure": (_T("AdvancedOptions", "Every tensor in this type (&pure)"), "pure"),
    "leave_output_tensor": (_T("AdvancedOptions", "&Leave the output layer as it is"), "output_layer"),
    "keep_unquantized": (_T("AdvancedOptions", "Keep what the source has not quanti&zed"), "unquantized"),
    "strict": (_T("AdvancedOptions", "Fail where a type does not fi&t (strict)"), "strict"),
}
TYPES: dict[str, tuple[str, str]] = {
    "output_tensor_type": (_T("AdvancedOptions", "Output layer"), "output_layer"),
    "token_embedding_type": (_T("AdvancedOptions", "Token embedding"), "embedding"),
}
PARTS: dict[str, tuple[str, str]] = {
    "include_weights": (_T("AdvancedOptions", "Importance only for"), "importance"),
    "exclude_weights": (_T("AdvancedOptions", "No importance for"), "importance"),
}
ONE, KEEP, SIZE = "one", "keep", "size"
FILES: tuple[tuple[str, str], ...] = (
    (ONE, _T("AdvancedOptions", "One file")),
    (KEEP, _T("AdvancedOptions", "As many as the source")),
    (SIZE, _T("AdvancedOptions", "Parts of at most")),
)


class AdvancedOptions(QWidget):
    """Signals: changed() when a choice is another. `values` are fields of QuantizeOptions.

    For tests: objectNames are the names of the options; `files` and `split_max_size` for the parts.
    """

    changed = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._soon = QTimer(self, singleShot=True, interval=TYPING_MS)
        self._soon.timeout.connect(self.changed)
        self.switches = {name: self._make_switch(name) for name in SWITCHES}
        self.types = {name: self._make_type(name) for name in TYPES}
        self.parts = {name: self._make_parts(name) for name in PARTS}
        self.files, self.part_size = self._make_files()
        self.layers = self._make_layers()
        self.metadata = self._make_metadata()
        self.note = NoteLine(theme, "error", "bad")
        self.note.setObjectName("advanced_problem")
        self._compose()
        self._show_state()

    @property
    def values(self) -> dict[str, Any]:
        """What is chosen; what is faulty is left out, `problem` says it."""
        values: dict[str, Any] = {name: box.isChecked() for name, box in self.switches.items()}
        values |= {name: box.currentData() for name, box in self.types.items()}
        values |= {name: tuple(line.text().split()) for name, line in self.parts.items()}
        values["keep_split"] = self.files.currentData() == KEEP
        values["split_max_bytes"] = self._part_bytes() if self.files.currentData() == SIZE else 0
        values["prune_layers"] = self._layers() or ()
        values["override_kv"] = tuple(entry for entry in map(_entry, self._lines()) if isinstance(entry, KeyOverride))
        return values

    @property
    def problem(self) -> str:
        """What is wrong with a choice, in words; '' where nothing is."""
        if self.files.currentData() == SIZE and not self._part_bytes():
            return self.tr("{0} is no size such as 500M or 2G.").format(self.part_size.text() or "''")
        if self._layers() is None:
            return self.tr("{0} is no list of layer numbers such as 4,5,6.").format(self.layers.text())
        faulty = next((entry for entry in map(_entry, self._lines()) if isinstance(entry, str)), "")
        return f"{faulty}." if faulty else ""

    def set_values(self, options: QuantizeOptions) -> None:
        """Shows the choices of a recipe; says once that they changed."""
        before = self.blockSignals(True)
        for name, box in self.switches.items():
            box.setChecked(getattr(options, name))
        for name, combo in self.types.items():
            combo.setCurrentIndex(max(combo.findData(getattr(options, name)), 0))
        for name, line in self.parts.items():
            line.setText(" ".join(getattr(options, name)))
        chosen = KEEP if options.keep_split else SIZE if options.split_max_bytes else ONE
        self.files.setCurrentIndex(self.files.findData(chosen))
        if options.split_max_bytes:
            self.part_size.setText(part_words(options.split_max_bytes))
        self._soon.stop()
        self.blockSignals(before)
        self._show_state()
        self.changed.emit()

    def count(self) -> int:
        """How many choices differ from what they are at first."""
        return sum(bool(value) for value in self.values.values())

    # ------------------------------------------------------------ composition

    def _make_switch(self, name: str) -> QCheckBox:
        words, term = SWITCHES[name]
        box = QCheckBox(_tr(words))
        box.setObjectName(name)
        explain(box, term)
        box.toggled.connect(self._announce)
        return box

    def _make_type(self, name: str) -> QComboBox:
        combo = QComboBox()
        combo.setObjectName(name)
        _narrow(combo)
        combo.addItem(_tr("As the type says"), "")
        for row in ROWS:
            combo.addItem(row.name, row.name)
        combo.currentIndexChanged.connect(self._announce)
        return combo

    def _make_parts(self, name: str) -> QLineEdit:
        line = QLineEdit()
        line.setObjectName(name)
        line.setPlaceholderText(_tr("parts of tensor names"))
        line.textEdited.connect(self._typed)
        return line

    def _make_files(self) -> tuple[QComboBox, QLineEdit]:
        combo, line = QComboBox(), QLineEdit("2G")
        combo.setObjectName("files")
        line.setObjectName("split_max_size")
        line.setAccessibleName(_tr("Largest size of a part"))
        _narrow(combo)
        for key, words in FILES:
            combo.addItem(_tr(words), key)
        combo.currentIndexChanged.connect(self._announce)
        line.textEdited.connect(self._typed)
        return combo, line

    def _make_layers(self) -> QLineEdit:
        line = QLineEdit()
        line.setObjectName("prune_layers")
        line.setPlaceholderText(_tr("none; such as 4,5,6"))
        line.textEdited.connect(self._typed)
        return line

    def _make_metadata(self) -> QPlainTextEdit:
        lines = QPlainTextEdit()
        lines.setObjectName("override_kv")
        lines.setFixedHeight(LINES_HEIGHT)
        lines.setTabChangesFocus(True)
        lines.setPlaceholderText(_tr("KEY=TYPE:VALUE, one on a line"))
        lines.textChanged.connect(self._typed)
        return lines

    def _compose(self) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        rows: list[tuple[str, QWidget, str]] = [
            *((_tr(TYPES[name][0]), combo, TYPES[name][1]) for name, combo in self.types.items()),
            *((_tr(PARTS[name][0]), line, PARTS[name][1]) for name, line in self.parts.items()),
            (_tr("Files"), self.files, "parts"),
            ("", self.part_size, "parts"),
            (_tr("Layers to drop"), self.layers, "prune_layers"),
            (_tr("Metadata"), self.metadata, "metadata"),
        ]
        for at, (words, widget, term) in enumerate(rows):
            if words:
                label = QLabel(words)
                label.setBuddy(widget)
                explain(label, term)
                grid.addWidget(label, at, 0)
            grid.addWidget(widget, at, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.setSpacing(8)
        for box in self.switches.values():
            layout.addWidget(box)
        layout.addLayout(grid)
        layout.addWidget(self.note)
        layout.addStretch(1)

    # ------------------------------------------------------------ reactions

    def _announce(self) -> None:
        self._show_state()
        if not self.signalsBlocked():
            self._soon.stop()
            self.changed.emit()

    def _typed(self) -> None:
        self._show_state()
        self._soon.start()

    def _show_state(self) -> None:
        self.part_size.setVisible(self.files.currentData() == SIZE)
        self.note.say(self.problem)

    def _part_bytes(self) -> int:
        try:
            return part_bytes(self.part_size.text().strip())
        except ValueError:
            return 0

    def _layers(self) -> tuple[int, ...] | None:
        """The layers to drop; None where the text is no list."""
        text = self.layers.text().strip()
        try:
            return layer_numbers(text) if text else ()
        except argparse.ArgumentTypeError:
            return None

    def _lines(self) -> list[str]:
        return [line.strip() for line in self.metadata.toPlainText().splitlines() if line.strip()]


def _entry(line: str) -> KeyOverride | str:
    """A line as a value, or why it is none."""
    try:
        return key_override(line)
    except argparse.ArgumentTypeError as error:
        return str(error)


def _narrow(combo: QComboBox) -> None:
    """Lets a combo box be narrower than its longest entry."""
    combo.setMinimumContentsLength(6)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)


def _tr(words: str) -> str:
    return QCoreApplication.translate("AdvancedOptions", words)

"""What to measure: models against their original, or which parts of a model are sensitive; on which text, how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from app import job_kinds, text
from app.glossary import explain
from app.models.library import shown_name
from app.models.names import model_title
from app.widgets.source_strip import ModelMenu
from app.widgets.texts import choose_dataset, choose_files, text_word
from core.catalog import COPY, TARGETS
from core.jobs import (
    CONTEXT,
    QUICK_CHUNKS,
    RANKING_CHUNKS,
    RANKING_CONTEXT,
    Category,
    EvaluateJob,
    Grain,
    ModelSummary,
    QuantizeOptions,
    SensitivityJob,
)

USUAL_TARGET = "Q4_K_M"
MAX_WIDTH = 720
_PATH = Qt.ItemDataRole.UserRole


class MeasurePane(QWidget):
    """Chooses an EvaluateJob or a SensitivityJob. Signals: job_requested(job).

    models: what the library has. threads: of the settings. For tests: objectNames `measure_models`,
    `measure_parts`, `measure_original`, `measured_models`, `measure_quick`, `measure_full`, `measure_button`,
    `measure_target`, `measure_grain`.
    """

    job_requested = Signal(object)

    def __init__(
        self, theme: Any, models: Callable[[], Iterable[ModelSummary]], threads: Callable[[], int], parent: Any = None
    ) -> None:
        super().__init__(parent)
        self._theme, self._library, self._threads = theme, models, threads
        self._source = ""
        self._extra: list[str] = []
        self._texts: tuple[str, ...] = ()
        self._build()
        self._show_state()

    # ------------------------------------------------------------ what others ask

    def open(self, source: str = "", model: str = "") -> None:
        """Begins anew with an original, or with a model whose original is to be chosen."""
        self._extra = [model] if model and all(model != each.path for each in self._library()) else []
        self._source = source or self._guess(model)
        self._fill({model} if model else set())
        self._show_state()

    @property
    def job(self) -> EvaluateJob | SensitivityJob | None:
        """What is chosen now; None where something is missing."""
        if not self._source:
            return None
        common: dict[str, Any] = {
            "source": self._source,
            "text": self._texts,
            "categories": () if self._texts or len(self._categories()) == len(self.kinds) else self._categories(),
            "threads": self._threads(),
        }
        if self.of_parts.isChecked():
            target, grain = self.target.currentText(), self.grain.currentData()
            chunks = RANKING_CHUNKS if self.quick.isChecked() else 0
            return SensitivityJob(options=QuantizeOptions(target=target), by=grain, chunks=chunks, **common)
        models = self.chosen_models()
        chunks = QUICK_CHUNKS if self.quick.isChecked() else 0
        return EvaluateJob(models=models, chunks=chunks, **common) if models else None

    def chosen_models(self) -> tuple[str, ...]:
        """Paths of the models that are ticked."""
        items = [self.list.item(row) for row in range(self.list.count())]
        return tuple(item.data(_PATH) for item in items if item.checkState() == Qt.CheckState.Checked)

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        inner = QWidget()
        inner.setMaximumWidth(MAX_WIDTH)
        form = QFormLayout(inner)
        form.setContentsMargins(8, 0, 0, 0)
        form.setVerticalSpacing(16)
        form.setHorizontalSpacing(16)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        title = QLabel(self.tr("Measure what a quantization costs"))
        title.setProperty("role", "section")
        form.addRow(title)
        form.addRow(self.tr("What"), self._make_kind())
        form.addRow(self.tr("Original"), self._make_original())
        self._models_label = QLabel(self.tr("Models made from it"))
        form.addRow(self._models_label, self._make_models())
        self._parts_label = QLabel(self.tr("Quantize to"))
        form.addRow(self._parts_label, self._make_parts())
        form.addRow(self.tr("Text"), self._make_text())
        form.addRow(self.tr("How much"), self._make_length())
        form.addRow(self._make_foot())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(inner, 1)
        layout.addStretch(0)

    def _make_kind(self) -> QWidget:
        self.of_models = QRadioButton(self.tr("&Models against their original: perplexity, divergence, agreement"))
        self.of_models.setObjectName("measure_models")
        self.of_parts = QRadioButton(self.tr("Which &parts of a model suffer most, each quantized alone"))
        self.of_parts.setObjectName("measure_parts")
        self.of_models.setChecked(True)
        group = QButtonGroup(self)
        for button in (self.of_models, self.of_parts):
            group.addButton(button)
            button.toggled.connect(self._show_state)
        return _column(self.of_models, self.of_parts)

    def _make_original(self) -> QPushButton:
        self.original = QPushButton()
        self.original.setObjectName("measure_original")
        menu = ModelMenu(self._library, self.original)
        menu.chosen.connect(self._take_original)
        self.original.setMenu(menu)
        return self.original

    def _make_models(self) -> QWidget:
        self.list = QListWidget()
        self.list.setObjectName("measured_models")
        self.list.setAccessibleName(self.tr("Models to measure"))
        self.list.setMinimumHeight(120)
        self.list.itemChanged.connect(self._show_state)
        self._others = QLabel()
        self._others.setProperty("role", "caption")
        add = QPushButton(self.tr("Add a &file…"))
        self._theme.decorate(add, "add_file")
        add.clicked.connect(self._browse_model)
        folder = QPushButton(self.tr("Add a f&older…"))
        self._theme.decorate(folder, "add_folder")
        folder.clicked.connect(self._browse_folder)
        self._models_box = _column(self.list, _row(add, folder, self._others))
        return self._models_box

    def _make_parts(self) -> QWidget:
        self.target = QComboBox()
        self.target.setObjectName("measure_target")
        self.target.setAccessibleName(self.tr("Type to quantize to"))
        self.target.addItems([name for name in TARGETS if name != COPY.name])
        self.target.setCurrentText(USUAL_TARGET)
        self.grain = QComboBox()
        self.grain.setObjectName("measure_grain")
        words: dict[Grain, str] = {
            "group": self.tr("attention and feed-forward part of each layer"),
            "layer": self.tr("whole layers"),
            "tensor": self.tr("single tensors (slow)"),
        }
        for grain in words:
            self.grain.addItem(words[grain], grain)
        label = QLabel(self.tr("p&iece by piece:"))
        label.setBuddy(self.grain)
        explain(label, "piece")
        self._parts_box = _row(self.target, label, self.grain)
        return self._parts_box

    def _make_text(self) -> QWidget:
        self.kinds: dict[Category, QCheckBox] = {}
        words: dict[Category, str] = {
            "prose": self.tr("prose"),
            "code": self.tr("code"),
            "chat": self.tr("chats"),
            "languages": self.tr("some thirty languages"),
        }
        for category in get_args(Category):
            self.kinds[category] = box = QCheckBox(words[category])
            box.setChecked(True)
            box.toggled.connect(self._show_state)
        self.text_button = QPushButton(self.tr("Own text &files…"))
        self.text_button.setObjectName("measure_texts")
        self.text_button.clicked.connect(self._browse_texts)
        self.dataset_button = QPushButton(self.tr("&Data set of the Hub…"))
        self.dataset_button.setObjectName("measure_dataset")
        self.dataset_button.clicked.connect(lambda: choose_dataset(self, self._take_texts))
        self._text_words = QLabel()
        self._text_words.setProperty("role", "caption")
        return _column(_row(*self.kinds.values()), _row(self.text_button, self.dataset_button, self._text_words))

    def _make_length(self) -> QWidget:
        self.quick = QRadioButton()
        self.quick.setObjectName("measure_quick")
        self.full = QRadioButton(self.tr("F&ull: all of the text, for small standard errors"))
        self.full.setObjectName("measure_full")
        self.quick.setChecked(True)
        group = QButtonGroup(self)
        group.addButton(self.quick)
        group.addButton(self.full)
        return _column(self.quick, self.full)

    def _make_foot(self) -> QWidget:
        self.copy = QPushButton(self.tr("&Copy as command"))
        self._theme.decorate(self.copy, "copy")
        self.copy.clicked.connect(self._copy_command)
        self.button = QPushButton(self.tr("Add to &queue"))
        self.button.setObjectName("measure_button")
        self.button.setProperty("primary", True)
        self.button.clicked.connect(lambda: self.job_requested.emit(self.job))
        self._missing = QLabel()
        self._missing.setProperty("role", "muted")
        self._missing.setWordWrap(True)
        box = QWidget()
        row = QHBoxLayout(box)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(self._missing, 1)
        row.addWidget(self.copy)
        row.addWidget(self.button)
        return box

    # ------------------------------------------------------------ reactions

    def _guess(self, model: str) -> str:
        """The likeliest original of a model: of the same network, the one with the most bytes, if not itself."""
        known = next((each for each in self._library() if each.path == model), None)
        if known is None:
            return ""
        alike = [each for each in self._library() if _is_alike(each, known) and each.bytes > known.bytes]
        return max(alike, key=lambda each: each.bytes).path if alike else ""

    def _take_original(self, path: str) -> None:
        self._source = path
        self._fill(set(self.chosen_models()))
        self._show_state()

    def _fill(self, ticked: set[str]) -> None:
        """Lists the models that can have been made from the original, by name; ticked stay ticked."""
        models = list(self._library())
        original = next((each for each in models if each.path == self._source), None)
        alike = [
            each for each in models if each.path != self._source and (original is None or _is_alike(each, original))
        ]
        self.list.blockSignals(True)
        self.list.clear()
        for each in alike:
            self._add(each.path, f"{shown_name(each)}   {each.type} · {text.size(each.bytes)}", each.path in ticked)
        for path in self._extra:
            self._add(path, model_title(path), ticked=True)
        self.list.blockSignals(False)
        left = len(models) - len(alike) - (original is not None)
        self._others.setText(self.tr("{0} models of other networks are not listed").format(left) if left else "")

    def _add(self, path: str, words: str, ticked: bool) -> None:
        item = QListWidgetItem(words)
        item.setData(_PATH, path)
        item.setToolTip(path)
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self.list.addItem(item)

    def _categories(self) -> tuple[Category, ...]:
        return tuple(category for category, box in self.kinds.items() if box.isChecked())

    def _show_state(self) -> None:
        parts = self.of_parts.isChecked()
        for widget in (self._models_label, self._models_box):
            widget.setVisible(not parts)
        for widget in (self._parts_label, self._parts_box):
            widget.setVisible(parts)
        windows = (RANKING_CHUNKS, RANKING_CONTEXT) if parts else (QUICK_CHUNKS, CONTEXT)
        self.quick.setText(self.tr("&Quick: {0} windows of {1} tokens").format(*windows))
        name = model_title(self._source) if self._source else self.tr("Choose the original")
        self.original.setText(name.replace("&", "&&"))
        self.original.setToolTip(self._source)
        for box in self.kinds.values():
            box.setEnabled(not self._texts)
        self._text_words.setText(", ".join(text_word(text) for text in self._texts))
        self._text_words.setToolTip("\n".join(self._texts))
        self.text_button.setText(self.tr("Use the program's texts") if self._texts else self.tr("Own text &files…"))
        self.dataset_button.setVisible(not self._texts)
        missing = self._what_is_missing()
        self._missing.setText(missing)
        self.button.setEnabled(not missing)
        self.copy.setEnabled(not missing)

    def _what_is_missing(self) -> str:
        if not self._source:
            return self.tr("Choose the original that the models were made from.")
        if self.of_models.isChecked() and not self.chosen_models():
            return self.tr("Tick one model or several.")
        if not self._texts and not self._categories():
            return self.tr("Tick a kind of text, or choose text files or a data set.")
        return ""

    def _browse_model(self) -> None:
        kinds = self.tr("Models (*.gguf *.safetensors)")
        paths, _ = QFileDialog.getOpenFileNames(self, self.tr("Models to measure"), str(Path.home()), kinds)
        self._take_extra(paths)

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.tr("Choose a model folder"), str(Path.home()))
        self._take_extra([path] if path else [])

    def _take_extra(self, paths: list[str]) -> None:
        ticked = {*self.chosen_models(), *paths}
        listed = {self.list.item(row).data(_PATH) for row in range(self.list.count())}
        self._extra += [path for path in paths if path not in listed]
        self._fill(ticked)
        self._show_state()

    def _browse_texts(self) -> None:
        if self._texts:
            self._take_texts(())
        else:
            choose_files(self, self.tr("Texts to measure on"), self._take_texts)

    def _take_texts(self, texts: tuple[str, ...]) -> None:
        self._texts = texts
        self._show_state()

    def _copy_command(self) -> None:
        job = self.job
        if job is not None:
            QGuiApplication.clipboard().setText(job_kinds.command(job))


def _is_alike(one: ModelSummary, other: ModelSummary) -> bool:
    """Whether two models can be forms of one: the same architecture, and the same sizes as far as both tell them."""
    sizes = ("layers", "embedding_length", "vocabulary")
    pairs = [(getattr(one, name), getattr(other, name)) for name in sizes]
    return one.architecture == other.architecture and all(a == b for a, b in pairs if a and b)


def _row(*widgets: QWidget) -> QWidget:
    box = QWidget()
    row = QHBoxLayout(box)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(8)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return box


def _column(*widgets: QWidget) -> QWidget:
    box = QWidget()
    column = QVBoxLayout(box)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(8)
    for widget in widgets:
        column.addWidget(widget)
    return box

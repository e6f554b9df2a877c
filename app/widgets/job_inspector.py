"""The inspector of one job: how it stands, what went wrong and what to do, what can be done with it, and its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QTextCursor, QTextOption
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import text
from app.job_kinds import KINDS
from app.models.jobs import STATES, JobRow, stage_words, standing
from app.models.modules import place
from app.theme import Theme
from app.widgets.error_words import sentences
from app.widgets.filter_table import monospace
from core.errors import ErrorReport
from core.jobs import LayerFigures, outputs_of
from core.progress import LAYER_ERROR, Measured

if TYPE_CHECKING:
    from app.widgets.layer_plot import LayerPlot

MAX_LOG_LINES = 5000
ICON = 18
# The least; a low window has to hold the facts and some lines of the log, too.
PLOT_HEIGHT, LOG_HEIGHT = 172, 40

# key: (states in which it is offered, icon, whether it is the primary button)
BUTTONS: dict[str, tuple[frozenset[str], str, bool]] = {
    "result": (frozenset({"done"}), "results", True),
    "resume": (frozenset({"failed", "cancelled", "paused", "interrupted"}), "play", True),
    "pause": (frozenset({"queued", "running"}), "pause", False),
    "retry": (frozenset({"failed", "cancelled", "interrupted"}), "retry", False),
    "discard": (frozenset({"failed", "cancelled", "paused", "interrupted"}), "remove", False),
    "cancel": (frozenset({"queued", "running"}), "cancel", False),
}
TOOLS: dict[str, tuple[frozenset[str], str]] = {
    "up": (frozenset({"queued"}), "up"),
    "down": (frozenset({"queued"}), "down"),
    "copy": (frozenset(STATES), "copy"),
    "remove": (frozenset({"queued", "done", "failed", "cancelled", "paused", "interrupted"}), "remove"),
}


# Offered only where something was left unfinished.
OF_LEFTOVERS = frozenset({"resume", "discard"})


def is_offered(key: str, row: JobRow) -> bool:
    """Whether a button or tool makes sense for a job as it stands."""
    states, kind = {**BUTTONS, **TOOLS}[key][0], KINDS[row.record.job.kind]
    if row.state not in states or (key == "result" and not kind.page):
        return False
    # What goes on where it was is paused and resumed, whatever it has; it is never begun anew.
    if key in {"pause", "retry"} and (key == "pause") != kind.goes_on:
        return False
    if key in OF_LEFTOVERS and not row.left_bytes and not (key == "resume" and kind.goes_on):
        return False
    return key == "copy" or (row.is_ours and not row.is_cancelling)


class JobInspector(QWidget):
    """Shows one JobRow. `asked` carries a key of BUTTONS or TOOLS."""

    asked = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._row: JobRow | None = None
        self._title = QLabel()
        self._title.setProperty("role", "section")
        self._title.setWordWrap(True)
        self._icon = QLabel()
        self._state = QLabel()
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName(self.tr("Progress"))
        self._doing = QLabel()
        self._doing.setProperty("role", "caption")
        self._error = self._make_error()
        self._facts = QGridLayout()
        self._facts.setColumnStretch(1, 1)
        self._facts.setHorizontalSpacing(16)
        self._facts.setVerticalSpacing(4)
        self._buttons: dict[str, QPushButton | QToolButton] = {}
        self._log = self._make_log()
        # Made for the first job that tells of figures while it runs: the plot library takes its time to load.
        self._plot: LayerPlot | None = None
        self._plot_place = QVBoxLayout()
        self._compose()
        theme.follow(self, self._restyle)

    def show_row(self, row: JobRow) -> None:
        """Shows another job, or the same one as it stands now."""
        is_other = self._row is None or self._row.name != row.name
        is_new_state = is_other or _situation(self._row) != _situation(row)
        self._row = row
        self._show_progress(row)
        if is_new_state:
            self._title.setText(row.title)
            self._show_error(row.record.error)
            self._show_facts(row)
            self._show_buttons(row)
            self._restyle()

    def show_measured(self, measured: Sequence[Measured], of: str) -> None:
        """Draws the errors of the layers solved so far, or takes the plot away where there are none."""
        figures = [_figures(each) for each in measured if each.of == LAYER_ERROR]
        if figures and self._plot is None:
            from app.widgets.layer_plot import LayerPlot

            self._plot = LayerPlot(self._theme)
            self._plot.setMinimumHeight(PLOT_HEIGHT)
            self._plot_place.addWidget(self._plot)
        if self._plot is not None:
            self._plot.setVisible(bool(figures))
        if self._plot is not None and figures:
            self._plot.set_figures(figures, of)

    @property
    def plot(self) -> LayerPlot | None:
        """The plot of what was measured, None while nothing was."""
        return self._plot

    def show_log(self, log: str) -> None:
        """Replaces the log and shows its end."""
        self._log.setPlainText(log)
        self._log.moveCursor(QTextCursor.MoveOperation.End)

    def append_log(self, piece: str) -> None:
        """Adds to the log; the view follows only where its end was in view."""
        bar = self._log.verticalScrollBar()
        follow = bar.value() >= bar.maximum() - 4
        cursor = QTextCursor(self._log.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(piece)
        if follow:
            bar.setValue(bar.maximum())

    def words(self) -> str:
        """State and error as they are shown."""
        return "\n".join(part for part in (self._state.text(), self._error.text()) if part)

    def button(self, key: str) -> QPushButton | QToolButton:
        """A button by its key. Raises KeyError for another key."""
        return self._buttons[key]

    def _show_progress(self, row: JobRow) -> None:
        running = row.state == "running"
        self._bar.setVisible(running)
        self._doing.setVisible(running)
        self._bar.setValue(round(1000 * row.fraction))
        words = standing(row)
        if running and not row.is_ours:
            words = self.tr("Running in another program")
        if row.elapsed_s is not None and row.state != "running":
            words = self.tr("{0} after {1}").format(words, text.duration(row.elapsed_s))
        self._state.setText(words)
        if running and row.snapshot is not None:
            self._doing.setText(self._doing_words(row))

    def _doing_words(self, row: JobRow) -> str:
        assert row.snapshot is not None
        parts = [stage_words(row.snapshot), text.percent(row.fraction)]
        if row.rate is not None:
            parts.append(text.rate(row.rate, row.snapshot.unit))
        if row.left_s is not None:
            parts.append(self.tr("{0} left").format(text.remaining(row.left_s)))
        return "  ·  ".join(parts) + (f"\n{row.snapshot.note}" if row.snapshot.note else "\n")

    def _show_error(self, error: ErrorReport | None) -> None:
        self._error.setVisible(error is not None)
        if error is None:
            self._error.clear()
            return
        self._error.setText("\n".join(sentences(error)))

    def _show_facts(self, row: JobRow) -> None:
        while (item := self._facts.takeAt(0)) is not None:
            item.widget().hide()
            item.widget().deleteLater()
        for at, (name, value) in enumerate(self._facts_of(row)):
            label = QLabel(name)
            label.setProperty("role", "muted")
            shown = QLabel(value)
            shown.setWordWrap(True)
            shown.setToolTip(value)
            shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._facts.addWidget(label, at, 0, Qt.AlignmentFlag.AlignTop)
            self._facts.addWidget(shown, at, 1)

    def _facts_of(self, row: JobRow) -> list[tuple[str, str]]:
        job, record = row.record.job, row.record
        rows = [(self.tr("Added"), text.moment(record.created))]
        if outputs := outputs_of(job):
            count = getattr(job, "threads", 0)
            threads = str(count) if count else self.tr("all")
            rows = [
                (self.tr("From"), _breakable(getattr(job, "source", ""))),
                (self.tr("To"), _breakable("\n".join(outputs))),
                (self.tr("Threads"), threads),
                *rows,
            ]
        if row.left_bytes:
            rows.append((self.tr("Unfinished"), self.tr("{0} kept on the disk").format(text.size(row.left_bytes))))
        return rows

    def _show_buttons(self, row: JobRow) -> None:
        for key, button in self._buttons.items():
            button.setVisible(is_offered(key, row))

    def _restyle(self) -> None:
        if self._row is None:
            return
        _, icon, color = STATES[self._row.state]
        self._icon.setPixmap(self._theme.icon(icon, color).pixmap(QSize(ICON, ICON)))

    def _compose(self) -> None:
        state = QHBoxLayout()
        state.setSpacing(8)
        state.addWidget(self._icon)
        state.addWidget(self._state, 1)
        log_title = QLabel(self.tr("Log"))
        log_title.setProperty("role", "section")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._title)
        layout.addLayout(state)
        layout.addWidget(self._bar)
        layout.addWidget(self._doing)
        layout.addWidget(self._error)
        layout.addLayout(self._make_buttons())
        layout.addLayout(self._facts)
        layout.addLayout(self._plot_place)
        layout.addSpacing(8)
        layout.addWidget(log_title)
        layout.addWidget(self._log, 1)

    def _make_buttons(self) -> QHBoxLayout:
        words = {
            "result": self.tr("Show result"),
            "resume": self.tr("Resume"),
            "pause": self.tr("Pause"),
            "retry": self.tr("Retry"),
            "discard": self.tr("Discard"),
            "cancel": self.tr("Cancel"),
            "up": self.tr("Move up in the queue (Alt+Up)"),
            "down": self.tr("Move down in the queue (Alt+Down)"),
            "copy": self.tr("Copy as command"),
            "remove": self.tr("Remove from this list (Del); the output stays"),
        }
        row = QHBoxLayout()
        row.setSpacing(8)
        for key, (_, icon, primary) in BUTTONS.items():
            button = QPushButton(words[key])
            button.setProperty("primary", primary)
            self._theme.decorate(button, icon, "on_accent" if primary else "text")
            row.addWidget(self._prepare(button, key))
        row.addStretch(1)
        for key, (_, icon) in TOOLS.items():
            tool = QToolButton()
            tool.setToolTip(words[key])
            tool.setAccessibleName(words[key])
            self._theme.decorate(tool, icon)
            row.addWidget(self._prepare(tool, key))
        return row

    def _prepare(self, button: QPushButton | QToolButton, key: str) -> QPushButton | QToolButton:
        button.setObjectName(f"job_{key}")
        button.clicked.connect(lambda: self.asked.emit(key))
        self._buttons[key] = button
        return button

    def _make_error(self) -> QLabel:
        label = QLabel()
        label.setWordWrap(True)
        label.setTextFormat(Qt.TextFormat.PlainText)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setObjectName("jobError")
        label.hide()
        return label

    def _make_log(self) -> QPlainTextEdit:
        log = QPlainTextEdit()
        log.setReadOnly(True)
        log.setFont(monospace())
        log.setMaximumBlockCount(MAX_LOG_LINES)
        log.setMinimumHeight(LOG_HEIGHT)
        log.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        log.setPlaceholderText(self.tr("Nothing yet: the log begins when the job does."))
        log.setAccessibleName(self.tr("Log"))
        return log


def _figures(measured: Measured) -> LayerFigures:
    """A figure of a layer as the plots know it; where rounding was taken, both errors are the same."""
    rounded = measured.value if measured.compared is None else measured.compared
    return LayerFigures(
        name=measured.name,
        layer=place(measured.name).layer or 0,
        error=measured.value,
        rounded_error=rounded,
        guarded=measured.value == rounded,
    )


def _situation(row: JobRow) -> tuple[str, bool, bool, int]:
    return row.state, row.is_ours, row.is_cancelling, row.left_bytes


def _breakable(path: str) -> str:
    """A path that a label may break after each separator."""
    return path.replace("/", "/\u200b")

"""Downloads and uploads that are not done: what each has, how fast it is, and buttons that touch it alone."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import text
from app.models.jobs import STATES, JobRow, stage_words, standing
from app.theme import Theme
from app.widgets.elided_label import ElidedLabel
from app.widgets.job_inspector import is_offered

ROWS_SHOWN = 2
ROW_HEIGHT = 40
ICON = 16
# key: icon; what each asks for, words in _Row.
BUTTONS = {
    "pause": "pause",
    "resume": "play",
    "retry": "retry",
    "cancel": "cancel",
    "discard": "remove",
    "remove": "close",
}


class DownloadsPanel(QFrame):
    """Hidden while there is nothing to show. asked: (key, id of the job). opened: the id of a job, for its log.

    For tests: `row(id)` has `bar`, `words` and `button(key)`.
    """

    asked = Signal(str, str)
    opened = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._theme = theme
        self._rows: dict[str, _Row] = {}
        self._title = QLabel()
        self._title.setProperty("role", "section")
        inside = QWidget()
        inside.setProperty("transparent", True)
        self._list = QVBoxLayout(inside)
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.setSpacing(4)
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setWidget(inside)
        self._fold = QToolButton()
        self._fold.setObjectName("downloads_fold")
        self._fold.setCheckable(True)
        self._fold.setChecked(True)
        self._fold.setToolTip(self.tr("Show or hide the list of downloads"))
        self._fold.setAccessibleName(self._fold.toolTip())
        theme.decorate(self._fold, "fold", "muted")
        self._fold.toggled.connect(self._area.setVisible)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(self._fold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 4, 8, 4)
        layout.setSpacing(0)
        layout.addLayout(head)
        layout.addWidget(self._area)
        self.hide()

    def show_rows(self, rows: list[JobRow]) -> None:
        """Shows these, in this order."""
        names = [row.name for row in rows]
        for gone in [name for name in self._rows if name not in names]:
            self._rows.pop(gone).deleteLater()
        for at, row in enumerate(rows):
            if row.name not in self._rows:
                self._rows[row.name] = self._make_row(row.name)
            self._list.insertWidget(at, self._rows[row.name])
            self._rows[row.name].show_row(row)
        waiting = sum(row.state in {"queued", "running"} for row in rows)
        self._title.setText(self.tr("Downloads: {0} under way").format(waiting) if waiting else self.tr("Downloads"))
        self._area.setFixedHeight(min(len(rows), ROWS_SHOWN) * (ROW_HEIGHT + 4))
        self.setVisible(bool(rows))

    def show_row(self, row: JobRow) -> None:
        """One of them has gone on."""
        if row.name in self._rows:
            self._rows[row.name].show_row(row)

    def row(self, job_id: str) -> _Row:
        """The line of one job. Raises KeyError where it is not shown."""
        return self._rows[job_id]

    def names(self) -> list[str]:
        """The ids of the jobs that are shown."""
        return list(self._rows)

    def _make_row(self, job_id: str) -> _Row:
        row = _Row(self._theme)
        row.asked.connect(lambda key: self.asked.emit(key, job_id))
        row.opened.connect(lambda: self.opened.emit(job_id))
        return row


class _Row(QWidget):
    asked = Signal(str)
    opened = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._row: JobRow | None = None
        self.setFixedHeight(ROW_HEIGHT)
        self._icon = QLabel()
        self._icon.setFixedWidth(ICON)
        self._title = ElidedLabel()
        self.words = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.words.setProperty("role", "caption")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedWidth(160)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(0)
        grid.addWidget(self._icon, 0, 0, 2, 1)
        grid.addWidget(self._title, 0, 1)
        grid.addWidget(self.words, 1, 1)
        grid.addWidget(self.bar, 0, 2, 2, 1)
        grid.setColumnStretch(1, 1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(grid, 1)
        self._buttons = {key: self._make_button(key) for key in BUTTONS}
        for button in self._buttons.values():
            layout.addWidget(button)
        theme.follow(self, self._recolor)

    def show_row(self, row: JobRow) -> None:
        """How it stands now."""
        self._row = row
        self._title.setText(row.title)
        self.bar.setAccessibleName(self.tr("Progress of {0}").format(row.title))
        snapshot = row.snapshot
        self.bar.setVisible(bool(snapshot and snapshot.total))
        self.bar.setValue(round(1000 * row.fraction))
        self.words.setText(self._words(row))
        for key, button in self._buttons.items():
            # What can be cancelled leaves the list once that is done.
            button.setVisible(is_offered(key, row) and not (key == "remove" and is_offered("cancel", row)))
        self._recolor()

    def button(self, key: str) -> QToolButton:
        """One of its buttons. Raises KeyError for another key."""
        return self._buttons[key]

    def _words(self, row: JobRow) -> str:
        snapshot = row.snapshot
        parts = [standing(row)]
        if row.state == "running" and snapshot is not None and not row.is_cancelling:
            parts = [stage_words(snapshot)]
        if snapshot is not None and snapshot.total:
            parts.append(self.tr("{0} of {1}").format(text.size(snapshot.done), text.size(snapshot.total)))
        if row.rate is not None and snapshot is not None:
            parts.append(text.rate(row.rate, snapshot.unit))
        if row.left_s is not None:
            parts.append(self.tr("{0} left").format(text.remaining(row.left_s)))
        if row.record.error is not None:
            parts.append(f"{row.record.error.what}: {row.record.error.why}".rstrip(": "))
        elif row.state == "running" and snapshot is not None and snapshot.note:
            parts.append(snapshot.note)
        return "  ·  ".join(parts)

    def _make_button(self, key: str) -> QToolButton:
        words = {
            "pause": self.tr("Pause; what has arrived stays"),
            "resume": self.tr("Go on with it"),
            "retry": self.tr("Begin anew"),
            "cancel": self.tr("Cancel"),
            "discard": self.tr("Remove what has arrived from the disk"),
            "remove": self.tr("Take it off this list"),
        }
        button = QToolButton()
        button.setObjectName(f"download_{key}")
        button.setToolTip(words[key])
        button.setAccessibleName(words[key])
        button.clicked.connect(lambda: self.asked.emit(key))
        self._theme.decorate(button, BUTTONS[key])
        return button

    def _recolor(self) -> None:
        if self._row is not None:
            _, icon, color = STATES[self._row.state]
            self._icon.setPixmap(self._theme.icon(icon, color).pixmap(QSize(ICON, ICON)))

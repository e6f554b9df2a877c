"""What stands in a quantization's way, and what should be known before it starts: a line for each."""

from __future__ import annotations

from html import escape
from typing import Any

from PySide6.QtCore import QCoreApplication, QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app import text
from app.models.window_words import in_window
from core.jobs import PreflightResult

# level: (icon, colour); the icon's shape says it too.
LOOKS: dict[str, tuple[str, str]] = {
    "error": ("error", "bad"),
    "risk": ("warning", "warn"),
    "fine": ("done", "good"),
}


def step_word(step: str) -> str:
    """A step of the ladder as it is shown."""
    words = {
        "choice": QCoreApplication.translate("PreflightList", "the choice"),
        "files": QCoreApplication.translate("PreflightList", "files"),
        "architecture": QCoreApplication.translate("PreflightList", "architecture"),
        "disk": QCoreApplication.translate("PreflightList", "disk"),
        "memory": QCoreApplication.translate("PreflightList", "memory"),
        "tensors": QCoreApplication.translate("PreflightList", "types of all tensors"),
        "licence": QCoreApplication.translate("PreflightList", "licence"),
        "running": QCoreApplication.translate("PreflightList", "room to run the result"),
    }
    return words[step]


def summary(result: PreflightResult) -> str:
    """All of it in a few words: '1 risk · about 3.1 s'."""
    counts = {level: sum(check.level == level for check in result.checks) for level in ("error", "risk")}
    words = []
    if counts["error"]:
        words.append(QCoreApplication.translate("PreflightList", "cannot start"))
    elif counts["risk"]:
        one = QCoreApplication.translate("PreflightList", "1 thing to know")
        more = QCoreApplication.translate("PreflightList", "{0} things to know").format(counts["risk"])
        words.append(one if counts["risk"] == 1 else more)
    else:
        words.append(QCoreApplication.translate("PreflightList", "nothing in the way"))
    if result.seconds is not None:
        words.append(QCoreApplication.translate("PreflightList", "about {0}").format(text.duration(result.seconds)))
    return " · ".join(words)


def time_words(result: PreflightResult) -> str:
    """'Takes about 3.1 s, an estimate from 4 past jobs.', or '' where it is not known."""
    if result.seconds is None:
        return ""
    took = text.duration(result.seconds)
    if not result.seconds_basis:
        words = QCoreApplication.translate(
            "PreflightList", "Takes about {0}, an estimate from a short timing of this computer."
        )
        return words.format(took)
    words = QCoreApplication.translate("PreflightList", "Takes about {0}, an estimate corrected by {1} past jobs.")
    return words.format(took, result.seconds_basis)


class PreflightList(QWidget):
    """A line for everything to know: an icon, the cause, the nearest fix; what is in order shares one line."""

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        self._icons: list[tuple[QLabel, str]] = []
        theme.follow(self, self._redraw)

    def show_result(self, result: PreflightResult | None) -> None:
        """Shows the gravest first, then what is in order, then the time; None empties."""
        self._icons.clear()
        while (item := self._layout.takeAt(0)) is not None:
            row = item.widget()
            row.setParent(None)
            row.deleteLater()
        if result is None:
            return
        order = list(LOOKS)
        for check in sorted(result.checks, key=lambda check: order.index(check.level)):
            if check.level != "fine":
                self._add(check.level, in_window(check.cause), in_window(check.fix))
        fine = [check for check in result.checks if check.level == "fine"]
        if fine:
            steps = ", ".join(dict.fromkeys(step_word(check.step) for check in fine))
            whole = "\n".join(check.cause for check in fine)
            self._add("fine", self.tr("In order: {0}").format(steps)).setToolTip(whole)
        if words := time_words(result):
            self._add("fine", words)
        self._redraw()

    def lines(self) -> list[str]:
        """The words shown, for tests."""
        labels = self.findChildren(QLabel, "check")
        return [label.accessibleName() for label in labels]

    def _add(self, level: str, cause: str, fix: str = "") -> QLabel:
        row = QWidget()
        icon, words = QLabel(), QLabel()
        words.setObjectName("check")
        words.setWordWrap(True)
        words.setTextFormat(Qt.TextFormat.RichText)
        cause = cause.rstrip(".") + "."
        fix = f"{fix.rstrip('.')}." if fix else ""
        muted = self._theme.color("muted").name()
        behind = f' <span style="color: {muted}">{escape(fix)}</span>' if fix else ""
        words.setText(escape(cause) + behind)
        words.setAccessibleName(f"{level}: {cause} {fix}".strip())
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(8)
        line.addWidget(icon, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(words, 1)
        self._layout.addWidget(row)
        self._icons.append((icon, level))
        return words

    def _redraw(self) -> None:
        for icon, level in self._icons:
            icon.setPixmap(self._theme.icon(*LOOKS[level]).pixmap(QSize(16, 16)))

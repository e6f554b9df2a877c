"""What is planned: a tab for each target, the finding in a sentence, sizes, what comes before a start, every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QTabBar, QVBoxLayout, QWidget

from app import text
from app.glossary import explain
from app.models.sentences import fallback_sentence, size_sentence
from app.models.window_words import in_window
from app.widgets.before_start import BeforeStart
from app.widgets.memory_bars import SizeBars
from app.widgets.note_line import NoteLine
from app.widgets.plan_table import PlanTable
from app.widgets.problem_box import ProblemBox
from core.errors import ErrorReport
from core.jobs import Plan


class PlanPane(QWidget):
    """Signals: turned() when another target's plan is to be shown.

    For tests: objectNames `plan_tabs`, `size_sentence`, `fallback_sentence`, `remarks`, `show_remarks`, and those of
    its parts `before`, `problem`, `table`.
    """

    turned = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_lacking = False
        self.headline = QLabel()
        self.headline.setWordWrap(True)
        self.headline.setObjectName("size_sentence")
        self.bars = SizeBars(theme)
        self.fallbacks = NoteLine(theme, "warning", "warn")
        self.fallbacks.setObjectName("fallback_sentence")
        self.before = BeforeStart(theme)
        self.problem = ProblemBox(theme)
        self.table = PlanTable(theme)
        self.tabs = self._make_tabs()
        self.remarks = self._make_remarks()
        self.remark_button = self._make_remark_button()
        self._compose()
        self.before.opened.connect(self.show_table)
        self.fallbacks.clicked.connect(lambda: self.table.filter_box.setText(self.tr("Fallback:")))
        self.fallbacks.clicked.connect(lambda: self.before.button.setChecked(False))

    def shown(self, targets: Sequence[str]) -> str:
        """The target whose plan is shown: the one of the tab, else the first."""
        at = self.tabs.currentIndex()
        return self.tabs.tabData(at) if len(targets) > 1 and at >= 0 else targets[0]

    def show_tabs(self, targets: Sequence[str], plans: Mapping[str, Plan]) -> None:
        """One tab for each target with the size of its output; none for a single one."""
        shown = self.shown(targets)
        with QSignalBlocker(self.tabs):
            while self.tabs.count():
                self.tabs.removeTab(0)
            for target in targets if len(targets) > 1 else ():
                size = f" · {text.size(plans[target].bytes)}" if target in plans else ""
                self.tabs.setTabData(self.tabs.addTab(f"{target}{size}"), target)
            if shown in targets:
                self.tabs.setCurrentIndex(targets.index(shown))
        self.tabs.setVisible(len(targets) > 1)

    def show_plan(self, plan: Plan | None, fault: ErrorReport | None, instead: str = "", fix: str = "") -> None:
        """Shows a plan, or why there is none; instead: the headline where neither is there; fix: of ProblemBox.

        Where types were chosen for single tensors, the last plan's rows stay beside a problem: one of them may be its
        reason, and is taken back there.
        """
        self._is_lacking = fault is not None or bool(instead)
        if plan is not None:
            self.table.model.set_plan(plan)
        self.problem.show_report(fault, fix)
        self.bars.set_result(plan)
        self.bars.setVisible(plan is not None)
        self.headline.setText(size_sentence(plan) if plan else instead)
        self.headline.setVisible(plan is not None or bool(instead))
        self._show_remarks(plan.warnings if plan else ())
        words = fallback_sentence(plan) if plan else ""
        self.fallbacks.say(words, self.tr("Show them") if words else "")
        self.show_table()

    def show_table(self) -> None:
        """Details of what comes before a start take the table's place."""
        has_rows = not self._is_lacking or bool(self.table.model.overrides)
        self.table.setVisible(has_rows and not (self.before.isVisibleTo(self) and self.before.button.isChecked()))

    def _show_remarks(self, remarks: Sequence[str]) -> None:
        self.remarks.setText("\n".join(f"• {in_window(remark)}" for remark in remarks))
        self.remark_button.setText(self.tr("Remarks ({0})").format(len(remarks)))
        self.remark_button.setVisible(bool(remarks))
        self.remarks.setVisible(bool(remarks) and self.remark_button.isChecked())

    # ------------------------------------------------------------ composition

    def _compose(self) -> None:
        title = QLabel(self.tr("Plan"))
        title.setProperty("role", "section")
        explain(title, "mix")
        row = QHBoxLayout()
        row.addWidget(title)
        row.addStretch(1)
        row.addWidget(self.remark_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(row)
        for part in (self.tabs, self.remarks, self.problem, self.headline, self.bars, self.fallbacks, self.before):
            layout.addWidget(part)
        layout.addWidget(self.table, 1)
        # Takes the room where there is nothing but a problem to show.
        layout.addStretch(0)

    def _make_tabs(self) -> QTabBar:
        tabs = QTabBar()
        tabs.setObjectName("plan_tabs")
        tabs.setDrawBase(False)
        tabs.setExpanding(False)
        tabs.setAccessibleName(self.tr("The type whose plan is shown"))
        tabs.currentChanged.connect(self.turned)
        tabs.hide()
        return tabs

    def _make_remarks(self) -> QLabel:
        remarks = QLabel()
        remarks.setObjectName("remarks")
        remarks.setWordWrap(True)
        remarks.setProperty("role", "muted")
        remarks.hide()
        return remarks

    def _make_remark_button(self) -> QPushButton:
        button = QPushButton()
        button.setObjectName("show_remarks")
        button.setProperty("link", "true")
        button.setCheckable(True)
        button.setStyleSheet("QPushButton { padding: 0; min-height: 0; }")
        button.toggled.connect(self.remarks.setVisible)
        button.hide()
        return button

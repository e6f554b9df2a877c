"""How sensitive each piece of a model is, ranked, and what to keep in higher precision because of it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from app.models.sensitivity import PiecesModel, Ranking, finding
from app.widgets.column_widths import Columns
from app.widgets.elided_label import ElidedLabel
from app.widgets.export_button import ExportButton, csv_button
from app.widgets.filter_table import FilterTable
from app.widgets.plan_table import NameDelegate
from app.widgets.spin_boxes import inset
from core.jobs import Piece
from core.keeping import Keeping, keep, summed
from kernels.blocks import FORMATS

USUAL_TYPE, USUAL_PERCENT = "Q8_0", 5.0
_WIDTHS = (200, 72, 72, 88, 80, 72, 64, 72, 80, 88)


class SensitivityView(QWidget):
    """Shows a Ranking: `show_ranking(ranking)`.

    Signals: rules_requested(Keeping) to quantize with the rules that keep the most sensitive pieces; report_requested()
    to save a report. For tests: `plot`, `table`, `keep_type`, `percent`, `kept_words`, `apply`.
    """

    rules_requested = Signal(object)
    report_requested = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.ranking: Ranking | None = None
        self._plot: Any = None
        self._build()

    @property
    def plot(self) -> Any:
        """The plot, built on first use."""
        if self._plot is None:
            from app.widgets.sensitivity_plot import SensitivityPlot

            self._plot = SensitivityPlot(self._theme)
            self._plot.chosen.connect(self.table.select)
            self._place.layout().addWidget(self._plot)
            if self.ranking:
                self._plot.set_result(self.ranking.result)
        return self._plot

    @property
    def keeping(self) -> Keeping | None:
        """What is to be kept as it is chosen now."""
        if self.ranking is None:
            return None
        return keep(self.ranking.result, self.keep_type.currentText(), self.percent.value())

    def show_ranking(self, ranking: Ranking) -> None:
        """Shows its pieces."""
        self.ranking = ranking
        result = ranking.result
        self._title.setText(self.tr("{0}: sensitivity to {1}").format(ranking.title, result.target))
        self._title.setToolTip(result.source)
        self.sentence.setText(
            finding(result)
            + " "
            + self.tr("All together: {0} ± {1}; the pieces add up to {2}.").format(
                f"{result.together.mean_kld:.5f}",
                f"{result.together.mean_kld_error:.5f}",
                f"{summed(result.pieces):.5f}",
            )
        )
        self.table.source.set_rows(result.pieces)
        if self._plot is not None:
            self._plot.set_result(result)
        self._show_kept()

    def show_plot(self) -> None:
        """Builds the plot where this is the first time."""
        assert self.plot is not None

    # ------------------------------------------------------------ composition

    def _build(self) -> None:
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self._place = QWidget()
        self._place.setMinimumHeight(200)
        QVBoxLayout(self._place).setContentsMargins(0, 0, 0, 0)
        split = QSplitter(Qt.Orientation.Vertical)
        split.setObjectName("sensitivity_split")
        split.setChildrenCollapsible(False)
        split.addWidget(self._place)
        split.addWidget(self._make_table())
        split.setSizes([360, 200])
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(self._make_head())
        layout.addWidget(self.sentence)
        layout.addLayout(self._make_keeping())
        layout.addWidget(self.kept_words)
        layout.addWidget(split, 1)

    def _make_head(self) -> QHBoxLayout:
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self.report = QPushButton(self.tr("Save &report…"))
        self.report.setObjectName("save_ranking_report")
        self._theme.decorate(self.report, "file")
        self.report.clicked.connect(lambda: self.report_requested.emit())
        row = QHBoxLayout()
        row.addWidget(self._title, 1)
        row.addWidget(ExportButton(self._theme, lambda: self._plot, self._stem))
        row.addWidget(self.report)
        return row

    def _make_keeping(self) -> QHBoxLayout:
        self.keep_type = QComboBox()
        self.keep_type.setObjectName("keep_type")
        self.keep_type.addItems([name for name in FORMATS if name not in ("F32",)])
        self.keep_type.setCurrentText(USUAL_TYPE)
        self.percent = QDoubleSpinBox()
        inset(self.percent)
        self.percent.setObjectName("keep_percent")
        self.percent.setRange(0.5, 200)
        self.percent.setSingleStep(0.5)
        self.percent.setDecimals(1)
        self.percent.setSuffix(" %")
        self.percent.setValue(USUAL_PERCENT)
        self.apply = QPushButton(self.tr("&Apply as rules"))
        self.apply.setObjectName("apply_rules")
        self.apply.setProperty("primary", True)
        self.apply.setToolTip(self.tr("Opens the Quantize page with rules that keep these tensors"))
        self._theme.decorate(self.apply, "quantize", "on_accent")
        self.kept_words = QLabel()
        self.kept_words.setObjectName("kept_words")
        self.kept_words.setProperty("role", "muted")
        self.kept_words.setWordWrap(True)
        kept, grow = QLabel(self.tr("&Keep the worst in")), QLabel(self.tr("&for a file larger by"))
        kept.setBuddy(self.keep_type)
        grow.setBuddy(self.percent)
        row = QHBoxLayout()
        row.setSpacing(8)
        for part in (kept, self.keep_type, grow, self.percent):
            row.addWidget(part)
        row.addStretch(1)
        row.addWidget(self.apply)
        self.keep_type.currentIndexChanged.connect(self._show_kept)
        self.percent.valueChanged.connect(self._show_kept)
        self.apply.clicked.connect(lambda: self.rules_requested.emit(self.keeping))
        return row

    def _make_table(self) -> FilterTable:
        self.table = FilterTable(self._theme, PiecesModel(self), "sensitivity_table")
        self.table.set_texts({"filter": self.tr("Filter pieces"), "name": self.tr("Pieces, the most sensitive first")})
        self.table.view.setItemDelegateForColumn(0, NameDelegate(self.table.view))
        self.table.view.set_columns(Columns(_WIDTHS))
        self.table.setMinimumHeight(136)
        self.table.selected.connect(self._on_row)
        self.table.top.addWidget(csv_button(self._theme, self.table.source, self._stem))
        return self.table

    # ------------------------------------------------------------ reactions

    def _on_row(self, row: Piece | None) -> None:
        if self._plot is not None:
            self._plot.select(row.name if row else "")

    def _show_kept(self) -> None:
        keeping = self.keeping
        if keeping is None or self.ranking is None:
            return
        self.apply.setEnabled(bool(keeping.pieces))
        if not keeping.pieces:
            self.kept_words.setText(self.tr("Nothing fits that would gain anything."))
            return
        self.kept_words.setText(
            self.tr("Keeps {0} for {1} % more, where {2} % of the summed divergence comes from.").format(
                _listed([piece.name for piece in keeping.pieces]),
                f"{100 * keeping.bytes / self.ranking.result.bytes:.1f}",
                f"{100 * keeping.share:.0f}",
            )
        )

    def _stem(self) -> str:
        return f"{self.ranking.title if self.ranking else ''}-sensitivity"


def _listed(names: list[str], shown: int = 6) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" + {more}" if more > 0 else "")

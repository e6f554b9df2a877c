"""Finished quantizations as a list, and the figures of one of them as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QAbstractListModel, QCoreApplication, QModelIndex, Qt

from app import text
from app.models.columns import Column, Index, RowsModel
from app.models.comparisons import Comparison, comparisons
from app.models.modules import in_layer_order, order_text
from app.models.names import model_title
from app.models.plan import mib, shape_text
from app.models.sensitivity import Ranking, rankings
from core.jobs import QuantizeResult, results_of
from core.store import JobRecord

JOB_ROLE = Qt.ItemDataRole.UserRole + 3
CAPTION_ROLE = Qt.ItemDataRole.UserRole + 4


def decibels(value: float | None) -> str:
    """An SNR in dB; a tensor without any error has no finite one and says so in words."""
    return QCoreApplication.translate("ResultsModel", "lossless") if value is None else f"{value:.2f}"


def cosine_text(value: float | None) -> str:
    """A cosine with the digits that tell good from very good."""
    return text.DASH if value is None else f"{value:.6f}"


class ResultsModel(RowsModel):
    """Rows of a QuantizeResult: every figure of every tensor, the twin of the plots."""

    CONTEXT = "ResultsModel"
    COLUMNS = (
        Column("name", QT_TRANSLATE_NOOP("ResultsModel", "Tensor"), lambda t: t.name, term="tensor", order=order_text),
        Column("shape", QT_TRANSLATE_NOOP("ResultsModel", "Shape"), lambda t: t.shape, shape_text, True, "shape"),
        Column("from", QT_TRANSLATE_NOOP("ResultsModel", "From"), lambda t: t.source_type, term="type"),
        Column("type", QT_TRANSLATE_NOOP("ResultsModel", "Type"), lambda t: t.type, term="type"),
        Column(
            "relative_rmse",
            QT_TRANSLATE_NOOP("ResultsModel", "Relative RMSE"),
            lambda t: t.relative_rmse,
            text.number,
            True,
            "relative_rmse",
        ),
        Column("snr_db", QT_TRANSLATE_NOOP("ResultsModel", "SNR, dB"), lambda t: t.snr_db, decibels, True, "snr"),
        Column("rmse", QT_TRANSLATE_NOOP("ResultsModel", "RMSE"), lambda t: t.rmse, text.number, True, "rmse"),
        Column(
            "max_error",
            QT_TRANSLATE_NOOP("ResultsModel", "Max error"),
            lambda t: t.max_error,
            text.number,
            True,
            "max_error",
        ),
        Column("cosine", QT_TRANSLATE_NOOP("ResultsModel", "Cosine"), lambda t: t.cosine, cosine_text, True, "cosine"),
        Column(
            "bpw_before",
            QT_TRANSLATE_NOOP("ResultsModel", "Bits before"),
            lambda t: t.bpw_before,
            text.bits,
            True,
            "bpw",
        ),
        Column("bpw", QT_TRANSLATE_NOOP("ResultsModel", "Bits after"), lambda t: t.bpw, text.bits, True, "bpw"),
        Column(
            "source_bytes",
            QT_TRANSLATE_NOOP("ResultsModel", "Before, MiB"),
            lambda t: t.source_bytes,
            mib,
            True,
        ),
        Column("bytes", QT_TRANSLATE_NOOP("ResultsModel", "After, MiB"), lambda t: t.bytes, mib, True),
        Column("reason", QT_TRANSLATE_NOOP("ResultsModel", "Reason"), lambda t: t.reason, term="fallback"),
    )

    def set_result(self, result: QuantizeResult | None) -> None:
        """Shows this result's tensors, or nothing."""
        self.set_rows(in_layer_order(result.tensors) if result else ())

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """Full names and reasons as tooltips."""
        if role == Qt.ItemDataRole.ToolTipRole and column.key in ("name", "reason"):
            return str(column.value(row))
        return None


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished quantization; a job with several targets has one for each. id, finished: of the job."""

    id: str
    finished: float
    result: QuantizeResult

    @property
    def ids(self) -> frozenset[str]:
        """Of the job."""
        return frozenset({self.id})

    @property
    def output(self) -> str:
        """The file written."""
        return self.result.output

    @property
    def title(self) -> str:
        """The first line of its entry."""
        return model_title(self.result.output)

    @property
    def caption(self) -> str:
        """The second line of its entry."""
        return f"{self.result.target} · {text.size(self.result.bytes)} · {text.moment(self.finished)}"


Entry = Finished | Comparison | Ranking


class HistoryModel(QAbstractListModel):
    """What jobs found, newest first. JOB_ROLE is the entry, CAPTION_ROLE the second line."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.records: tuple[Entry, ...] = ()

    def set_records(self, records: Sequence[JobRecord]) -> None:
        """Shows the finished jobs among these, newest first; unchanged lists are left alone."""
        done = [record for record in records if record.state == "done"]
        made = [
            Finished(record.id, record.finished or record.created, result)
            for record in done
            for result in results_of(record.result)
        ]
        entries: list[Entry] = [*made, *comparisons(done), *rankings(done)]
        new = tuple(sorted(entries, key=lambda entry: entry.finished, reverse=True))
        if new == self.records:
            return
        self.beginResetModel()
        self.records = new
        self.endResetModel()

    def row_of(self, job_id: str, output: str = "") -> int:
        """The row of this job, of several that wrote this file, or the first; -1 where it is not in the list."""
        rows = [row for row, each in enumerate(self.records) if job_id in each.ids]
        return next((row for row in rows if self.records[row].output == output), rows[0] if rows else -1)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008  # Qt's own default
        """Entries in the list."""
        return 0 if parent.isValid() else len(self.records)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One entry: what it is of, or the second line, or the entry itself."""
        if not index.isValid():
            return None
        entry = self.records[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.title
        if role == CAPTION_ROLE:
            return entry.caption
        if role == JOB_ROLE:
            return entry
        if role == Qt.ItemDataRole.ToolTipRole:
            return entry.result.output if isinstance(entry, Finished) else entry.result.source
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{entry.title}, {entry.caption}"
        return None

"""Finished rankings of sensitivity, and their pieces as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, Qt

from app import text
from app.models.columns import Column, RowsModel
from app.models.names import model_title
from app.models.plan import mib
from core.jobs import Piece, QuantizeOptions, SensitivityJob, SensitivityResult
from core.keeping import summed
from core.store import JobRecord

_T = QT_TRANSLATE_NOOP
translate = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class Ranking:
    """One finished ranking. id, finished: of the job. options: what was measured with."""

    id: str
    finished: float
    options: QuantizeOptions
    result: SensitivityResult

    @property
    def ids(self) -> frozenset[str]:
        """Of the job."""
        return frozenset({self.id})

    @property
    def output(self) -> str:
        """What tells it from other entries of the history."""
        return self.id

    @property
    def title(self) -> str:
        """The first line of its entry."""
        return model_title(self.result.source)

    @property
    def caption(self) -> str:
        """The second line of its entry."""
        words = translate("Sensitivity", "Sensitivity to {0}").format(self.result.target)
        return f"{words} · {text.moment(self.finished)}"


def rankings(records: Iterable[JobRecord]) -> list[Ranking]:
    """The finished rankings among these."""
    return [
        Ranking(record.id, record.finished or record.created, record.job.options, record.result)
        for record in records
        if isinstance(record.result, SensitivityResult) and isinstance(record.job, SensitivityJob)
    ]


def types(piece: Piece) -> str:
    """The types a piece was measured in."""
    return ", ".join(dict.fromkeys(tensor.type for tensor in piece.tensors))


class PiecesModel(RowsModel):
    """The pieces of a ranking, the most sensitive first: the twin of its plot."""

    CONTEXT = "Sensitivity"
    COLUMNS = (
        Column("name", _T("Sensitivity", "Quantized alone"), lambda row: row.name, term="piece"),
        Column("types", _T("Sensitivity", "Types"), types, term="type"),
        Column("bytes", _T("Sensitivity", "Size, MiB"), lambda row: row.bytes, mib, True),
        Column(
            "mean_kld", _T("Sensitivity", "Mean KLD"), lambda row: row.mean_kld, lambda v: f"{v:.6f}", True, "kld"
        ),
        Column(
            "mean_kld_error",
            _T("Sensitivity", "±"),
            lambda row: row.mean_kld_error,
            lambda v: f"{v:.6f}",
            True,
            "window_error",
        ),
        Column("share", _T("Sensitivity", "Share, %"), lambda row: row.share, lambda v: f"{v:.2f}", True, "share"),
        Column("share_error", _T("Sensitivity", "±"), lambda row: row.share_error, lambda v: f"{v:.2f}", True,
               "window_error"),
        Column("kld_99", _T("Sensitivity", "99 %"), lambda row: row.kld_99, text.number, True, "kld"),
        Column("ln_ratio", _T("Sensitivity", "ln ratio"), lambda row: row.ln_ratio, lambda v: f"{v:.5f}", True,
               "ln_ratio"),
        Column("same_top_p", _T("Sensitivity", "Same top, %"), lambda row: row.same_top_p, lambda v: f"{v:.2f}", True,
               "same_top_p"),
    )  # fmt: skip

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """The tensors of a piece as a tooltip."""
        if role == Qt.ItemDataRole.ToolTipRole and column.key == "name":
            return "\n".join(tensor.name for tensor in row.tensors)
        return None


def finding(result: SensitivityResult) -> str:
    """The ranking in a sentence or two."""
    first = result.pieces[0]
    half = summed(result.pieces) / 2
    count = 1 + sum(so_far < half for so_far in accumulate(piece.mean_kld for piece in result.pieces))
    return translate(
        "Sensitivity", "{0} suffers most: {1} ± {2} nats when it alone is quantized. {3} of {4} pieces make half of it."
    ).format(first.name, f"{first.mean_kld:.5f}", f"{first.mean_kld_error:.5f}", count, len(result.pieces))

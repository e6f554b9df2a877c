"""What would be published, as table rows: the files that go, and those that stay with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication

from app import text
from app.models.columns import Column, RowsModel
from core.jobs import UploadResult

_T = QT_TRANSLATE_NOOP


@dataclass(frozen=True, slots=True)
class UploadRow:
    """One file. reason: why it stays, '' = it goes."""

    name: str
    bytes: int
    reason: str = ""


class UploadFiles(RowsModel):
    """Name, size, and what happens with it."""

    CONTEXT = "UploadFiles"
    COLUMNS = (
        Column("name", _T("UploadFiles", "File"), lambda row: row.name),
        Column("bytes", _T("UploadFiles", "Size"), lambda row: row.bytes, text.size, True),
        Column("fate", _T("UploadFiles", "Published"), lambda row: fate(row)),
    )

    def show_preview(self, preview: UploadResult) -> None:
        """The files of a dry run."""
        going = [UploadRow(file.name, file.bytes) for file in preview.files]
        self.set_rows([*going, *(UploadRow(file.name, file.bytes, file.reason) for file in preview.skipped)])


def fate(row: UploadRow) -> str:
    """Whether a file goes, and why not."""
    tr = QCoreApplication.translate
    return tr("UploadFiles", "no: {0}").format(row.reason) if row.reason else tr("UploadFiles", "yes")

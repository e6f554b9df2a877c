"""Shares the width of a table out: figures are never cut, then comes the name, and the last words are cut first."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetrics
from PySide6.QtWidgets import QTableView

from app.models.columns import RowsFilter, RowsModel

NAME = 0
# A name longer than this share of the table is cut, so that it does not push everything else out.
NAME_SHARE = 0.6
# As the style sheet draws titles: the space around them, and the arrow of the sorted one.
TITLE_PADDING, ARROW = 24, 14


@dataclass(frozen=True, slots=True)
class Columns:
    """How the columns of one table share its width, in pixels.

    least: the least width of each. rest: the column of sentences that takes what is left and is cut first; without
    one the name takes it. spare: columns that are left out, in this order, before the name is cut.
    """

    least: tuple[int, ...]
    rest: int | None = None
    spare: tuple[int, ...] = ()


class ColumnWidths:
    """Keeps the columns of a view over a RowsFilter at their widths. The first column holds names.

    Widths of figures only ever grow, so that nothing moves under the pointer while values change.
    """

    def __init__(self, view: QTableView, columns: Columns) -> None:
        self._view = view
        self._columns = columns
        self._wanted_name = columns.least[NAME]
        for section, width in enumerate(columns.least):
            view.horizontalHeader().resizeSection(section, width)

    def fit(self) -> None:
        """Widens the columns of figures to their contents, learns what the name needs, and shares the width out."""
        header, columns = self._view.horizontalHeader(), self._columns
        self._wanted_name = max(columns.least[NAME], self._needed(NAME))
        for section in range(1, len(columns.least)):
            if section != columns.rest:
                header.resizeSection(section, max(self._size(section), self._needed(section)))
        self.share()

    def share(self) -> None:
        """Gives the name and the rest what the figures leave, without the spare columns where it is not enough."""
        header, columns = self._view.horizontalHeader(), self._columns
        whole = self._view.viewport().width()
        wanted = min(self._wanted_name, max(int(NAME_SHARE * whole), columns.least[NAME]))
        rest, least_rest = columns.rest, 0 if columns.rest is None else columns.least[columns.rest]
        room = whole - self._figures() - least_rest
        for section in columns.spare:
            is_cut = room < wanted
            header.setSectionHidden(section, is_cut)
            if is_cut:
                room += least_rest if section == rest else self._size(section)
        if rest is None or header.isSectionHidden(rest):
            header.resizeSection(NAME, max(room, columns.least[NAME]))
        else:
            name = max(min(wanted, room), columns.least[NAME])
            header.resizeSection(NAME, name)
            header.resizeSection(rest, least_rest + max(room - name, 0))

    def _figures(self) -> int:
        sections = range(1, len(self._columns.least))
        return sum(self._size(section) for section in sections if section != self._columns.rest)

    def _size(self, section: int) -> int:
        """A column's width, also while it is hidden."""
        header = self._view.horizontalHeader()
        hidden = header.isSectionHidden(section)
        return max(self._columns.least[section], self._needed(section)) if hidden else header.sectionSize(section)

    def _needed(self, section: int) -> int:
        """Pixels for the title and the longest cells."""
        rows = self._view.model()
        assert isinstance(rows, RowsFilter)
        source = rows.sourceModel()
        assert isinstance(source, RowsModel)
        cells = (rows.mapFromSource(source.index(row, section)) for row in source.longest(section))
        hints = (self._view.sizeHintForIndex(cell).width() for cell in cells if cell.isValid())
        return max(self._title(section), *hints, 0)

    def _title(self, section: int) -> int:
        """Pixels for a column's title, with the arrow of the column that the rows are sorted by."""
        header = self._view.horizontalHeader()
        font = QFont(header.font())
        font.setPixelSize(11)
        font.setWeight(QFont.Weight.DemiBold)
        arrow = ARROW if header.sortIndicatorSection() == section else 0
        title = self._view.model().headerData(section, Qt.Orientation.Horizontal)
        return QFontMetrics(font).horizontalAdvance(str(title)) + TITLE_PADDING + arrow

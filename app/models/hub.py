"""Models on the Hub as table rows: what the Hub says of them, and whether they run on this computer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QModelIndex, QObject, Qt
from PySide6.QtGui import QIcon

from app import text
from app.models.columns import Column, RowsModel
from core.jobs import FitForm, FitResult, HubModel

_T = QT_TRANSLATE_NOOP
Level = Literal["fits", "tight", "not", "unknown", "asked", "failed", ""]

# level: (word, icon, colour); what the badge shows while nothing better is known.
BADGES: dict[Level, tuple[str, str, str]] = {
    "fits": (_T("HubModels", "Fits"), "done", "good"),
    "tight": (_T("HubModels", "Tight"), "warning", "warn"),
    "not": (_T("HubModels", "Too large"), "cancel", "bad"),
    "unknown": (_T("HubModels", "Unknown"), "help", "muted"),
    "failed": (_T("HubModels", "Unknown"), "help", "muted"),
    "asked": (_T("HubModels", "Looking…"), "queued", "muted"),
    "": ("", "", "muted"),
}
# How a table sorts them, the best first.
_ORDER: dict[Level, int] = {"fits": 0, "tight": 1, "unknown": 2, "not": 3, "failed": 4, "asked": 5, "": 6}


@dataclass(frozen=True, slots=True)
class Badge:
    """Whether a model runs here. result: where that has been looked up. problem: why it could not be."""

    level: Level = ""
    result: FitResult | None = None
    problem: str = ""

    @classmethod
    def of(cls, result: FitResult) -> Badge:
        """The badge of an answer."""
        return cls(result.level, result)


@dataclass(frozen=True, slots=True)
class HubRow:
    """One model; `name` is its id on the Hub."""

    name: str
    model: HubModel
    badge: Badge = Badge()
    is_favourite: bool = False


def badge_words(badge: Badge) -> str:
    """A badge in words: 'Fits', 'Fits as Q4_K_M'. The type is told where the model has to be quantized, or chosen."""
    word = _tr(BADGES[badge.level][0]) if badge.level else ""
    best = best_form(badge.result)
    if best is None or not best.type or badge.level == "unknown" or best.name == "as it is":
        return word
    return _tr("{0} as {1}").format(word, best.type)


def best_form(result: FitResult | None) -> FitForm | None:
    """The largest form that fits, None where none does."""
    return next((form for form in result.forms if form.name == result.best), None) if result else None


def badge_tip(badge: Badge) -> str:
    """A badge explained: every form with its verdict, at the context asked about."""
    if badge.result is None:
        return badge.problem
    head = _tr("At {0} tokens of context:").format(text.exact(badge.result.context))
    lines = [f"{form.name}: {form.verdict.words}" for form in badge.result.forms]
    return "\n".join([head, *lines, *([badge.result.problem] if badge.result.problem else [])])


def access_words(model: HubModel) -> str:
    """Who may download it, '' = everybody."""
    if model.private:
        return _tr("private")
    return _tr("gated") if model.gated else ""


def _formats(model: HubModel) -> str:
    names = {"gguf": "GGUF", "safetensors": "safetensors"}
    return ", ".join(names.get(name, name) for name in model.formats) or text.DASH


def _count(value: float | None) -> str:
    return text.DASH if value is None else text.count(value)


class HubModels(RowsModel):
    """Name, fit, parameters, formats, downloads, likes, date, licence and access."""

    CONTEXT = "HubModels"
    COLUMNS = (
        Column("name", _T("HubModels", "Model"), lambda row: row.name),
        Column(
            "fit", _T("HubModels", "This computer"), lambda row: badge_words(row.badge),
            order=lambda row: _ORDER[row.badge.level], term="fit_badge",
        ),
        Column("parameters", _T("HubModels", "Parameters"), lambda row: row.model.parameters, _count, True),
        Column("formats", _T("HubModels", "Formats"), lambda row: _formats(row.model)),
        Column("downloads", _T("HubModels", "Downloads"), lambda row: row.model.downloads, _count, True),
        Column("likes", _T("HubModels", "Likes"), lambda row: row.model.likes, _count, True),
        Column("modified", _T("HubModels", "Updated"), lambda row: row.model.modified or text.DASH, numeric=True),
        Column("license", _T("HubModels", "License"), lambda row: row.model.license or text.DASH),
        Column("access", _T("HubModels", "Access"), lambda row: access_words(row.model), term="gated"),
    )  # fmt: skip

    def __init__(self, icon: Callable[[str, str], QIcon], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icon = icon
        self._badges: dict[str, Badge] = {}
        self._favourites: frozenset[str] = frozenset()

    def set_models(self, models: Sequence[HubModel]) -> None:
        """Shows these, with the badges that are known; each id once. Further ones at the end move nothing in sight."""
        rows = [self._row(model) for model in {model.repo: model for model in models}.values()]
        known = len(self.rows)
        if known and len(rows) > known and [row.name for row in rows[:known]] == [row.name for row in self.rows]:
            self.beginInsertRows(QModelIndex(), known, len(rows) - 1)
            self.rows = tuple(rows)
            self._row_of = {row.name: at for at, row in enumerate(rows)}
            self.endInsertRows()
        else:
            self.set_rows(rows)

    def set_badge(self, repo: str, badge: Badge) -> None:
        """Shows whether a model runs here, now or once it is in the table."""
        self._badges[repo] = badge
        self._renew(repo)

    def forget_badges(self) -> None:
        """Another context was chosen, or this computer is another one."""
        self._badges.clear()
        self.set_models([row.model for row in self.rows])

    def badge(self, repo: str) -> Badge:
        """What is known of a model."""
        return self._badges.get(repo, Badge())

    def set_favourites(self, repos: Sequence[str]) -> None:
        """Marks these."""
        changed = self._favourites ^ frozenset(repos)
        self._favourites = frozenset(repos)
        for repo in changed:
            self._renew(repo)

    def decorate(self, row: Any, column: Column, role: int) -> Any:
        """The badge's icon, the star of a favourite, a lock where access is to be asked for, and what they mean."""
        if role == Qt.ItemDataRole.DecorationRole:
            if column.key == "fit" and row.badge.level:
                _, icon, color = BADGES[row.badge.level]
                return self._icon(icon, color)
            if column.key == "name" and row.is_favourite:
                return self._icon("favourite", "accent")
            if column.key == "access" and access_words(row.model):
                return self._icon("lock", "muted")
        if role == Qt.ItemDataRole.ToolTipRole:
            return badge_tip(row.badge) if column.key == "fit" else row.name
        return None

    def _row(self, model: HubModel) -> HubRow:
        return HubRow(model.repo, model, self.badge(model.repo), model.repo in self._favourites)

    def _renew(self, repo: str) -> None:
        at = self.row_of(repo)
        if at >= 0:
            row = replace(self.rows[at], badge=self.badge(repo), is_favourite=repo in self._favourites)
            self.rows = (*self.rows[:at], row, *self.rows[at + 1 :])
            self.dataChanged.emit(self.index(at, 0), self.index(at, len(self.COLUMNS) - 1))


def _tr(words: str) -> str:
    return QCoreApplication.translate("HubModels", words)

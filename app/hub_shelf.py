"""Models on the Hub that the user looked at last or marked, kept in the settings with what the Hub said of them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError
from PySide6.QtCore import QObject, Signal

from app.settings import Settings
from core.jobs import HubModel

LONGEST = 30
FAVOURITES, RECENT = "hub_favourites", "hub_recent"


class HubShelf(QObject):
    """changed: one of the two lists is another. They need no network to be shown."""

    changed = Signal()

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        settings.changed.connect(lambda key: self.changed.emit() if key in {FAVOURITES, RECENT} else None)

    def favourites(self) -> tuple[HubModel, ...]:
        """The marked ones, the latest first."""
        return self._read(FAVOURITES)

    def recent(self) -> tuple[HubModel, ...]:
        """Those looked at, the latest first."""
        return self._read(RECENT)

    def is_favourite(self, repo: str) -> bool:
        """Whether a model is marked."""
        return any(model.repo == repo for model in self.favourites())

    def visit(self, model: HubModel) -> None:
        """The user looks at a model: it is the first of the recent ones, and a mark knows its newest figures."""
        self._put(RECENT, model, LONGEST)
        if self.is_favourite(model.repo):
            marked = [model if known.repo == model.repo else known for known in self.favourites()]
            self._write(FAVOURITES, marked)

    def mark(self, model: HubModel) -> None:
        """Makes a model a favourite."""
        self._put(FAVOURITES, model, 1000)

    def unmark(self, repo: str) -> None:
        """It is none any more."""
        self._write(FAVOURITES, [known for known in self.favourites() if known.repo != repo])

    def _put(self, key: str, model: HubModel, longest: int) -> None:
        others = [known for known in self._read(key) if known.repo != model.repo]
        self._write(key, [model, *others][:longest])

    def _read(self, key: str) -> tuple[HubModel, ...]:
        found = []
        for entry in self._settings.value(key):
            try:
                found.append(HubModel.model_validate_json(entry))
            except ValidationError:
                continue  # of another version
        return tuple(found)

    def _write(self, key: str, models: Sequence[HubModel]) -> None:
        self._settings.set(key, tuple(model.model_dump_json() for model in models))

"""What stands in the place of the Hub's models where there are none: why, and what to do."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from app.widgets.empty_state import EmptyState
from app.widgets.error_words import sentences
from core.errors import ErrorReport


class HubStates(QObject):
    """Signals: one for each button. `every` are the widgets, which belong to whoever shows them."""

    trending_wanted = Signal()
    clear_wanted = Signal()
    again_wanted = Signal()
    local_wanted = Signal()

    def __init__(self, theme: Any, parent: QObject) -> None:
        super().__init__(parent)
        again, local = self.tr("Try again"), self.tr("Show this computer")
        self.begin = EmptyState(
            theme,
            "hub",
            self.tr("Find a model on Hugging Face"),
            self.tr(
                "Type what you look for. Nothing is sent before you do. "
                "Every model is marked with whether it runs on this computer, before you download it."
            ),
        )
        self.begin.add_button(self.tr("Show what is trending"), self.trending_wanted.emit, primary=True)
        self.none = EmptyState(
            theme, "search", self.tr("No model found"), self.tr("Try fewer words, or take the filters away.")
        )
        self.none.add_button(self.tr("Clear filters"), self.clear_wanted.emit)
        self.offline = EmptyState(
            theme,
            "offline",
            self.tr("The Hub cannot be reached"),
            self.tr("Everything on this computer works without a network: quantize, compare and chat as usual."),
        )
        self.offline.add_button(again, self.again_wanted.emit, primary=True)
        self.offline.add_button(local, self.local_wanted.emit)
        self.failed = EmptyState(theme, "error", self.tr("The search failed"), "")
        self.failed.add_button(again, self.again_wanted.emit, primary=True)
        self.no_favourites = EmptyState(
            theme,
            "favourite",
            self.tr("No favourites yet"),
            self.tr("Select a model and press the star beside its name."),
        )
        self.no_recent = EmptyState(
            theme, "models", self.tr("No recent models"), self.tr("Models whose pages you look at are kept here.")
        )
        self.every = (self.begin, self.none, self.offline, self.failed, self.no_favourites, self.no_recent)

    def of_failure(self, error: ErrorReport) -> EmptyState:
        """That of a search that has failed."""
        if error.kind == "HubOffline":
            return self.offline
        self.failed.set_words(" ".join(sentences(error)))
        return self.failed

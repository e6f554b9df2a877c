"""What every page is given: the few long-lived objects of the window, as plain fields."""

from __future__ import annotations

from dataclasses import dataclass

from app.computing import Computing
from app.library import Library
from app.questions import Questions
from app.runner import JobQueue
from app.settings import Settings
from app.theme import Theme
from core.store import Store


@dataclass(frozen=True, slots=True)
class AppContext:
    """Made once by app.bootstrap (or a test) and handed to every page.

    timings: a second light worker for what takes seconds, so that no small question waits behind it. hub, fits: two for
    what asks the Hub, which may take long to answer: searches and pages, and whether models run on this computer.
    computing: what jobs are computed with.
    """

    settings: Settings
    store: Store
    jobs: JobQueue
    questions: Questions
    timings: Questions
    hub: Questions
    fits: Questions
    library: Library
    theme: Theme
    computing: Computing

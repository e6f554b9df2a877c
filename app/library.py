"""The models known on this computer: the sample, the folders and files of the settings, and the cache of the Hub.

Reading headers is the light worker's business; this object keeps its answers and says when they change.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.library_watch import LibraryWatch, folders_between
from app.models.library import PartialModel, partial_models, shown_name
from app.questions import Questions
from app.settings import Settings
from core.catalog import sample_path
from core.errors import ErrorReport
from core.hub.cache import repo_in
from core.jobs import HubCacheJob, HubCacheResult, ModelSummary, ScanJob, ScanProblem, ScanResult, Value

SCANNED_KEYS = frozenset({"model_folders", "model_files", "hidden_models"})


class Library(QObject):
    """Lists models. `changed`: the models or the problems are others. `busy_changed`: a scan began or ended.

    `arrived` carries the path of a model that was asked for by `add` once it is in the list, `refused` what could not
    be added (path, reason).
    """

    changed = Signal()
    busy_changed = Signal(bool)
    arrived = Signal(str)
    refused = Signal(str, str)

    def __init__(self, settings: Settings, questions: Questions, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._questions = questions
        self._models: tuple[ModelSummary, ...] = ()
        self._problems: tuple[ScanProblem, ...] = ()
        self._error: ErrorReport | None = None
        self._awaited: set[str] = set()
        self._busy = False
        self._scanned = False
        self._cache: HubCacheResult | None = None
        self._watch = LibraryWatch(self)
        self._watch.changed.connect(self._scan)
        settings.changed.connect(self._on_setting)

    def models(self) -> tuple[ModelSummary, ...]:
        """The models without tensors and metadata, the sample first, then by name."""
        return self._models

    def problems(self) -> tuple[ScanProblem, ...]:
        """Files that look like models and cannot be read."""
        return self._problems

    def partial(self) -> tuple[PartialModel, ...]:
        """What downloads have left unfinished."""
        if self._cache is None:
            return ()
        files = [*(file for repo in self._cache.repos for file in repo.partial), *self._cache.loose]
        # Of a download that was refused nothing is here.
        return tuple(one for one in partial_models(files) if one.done or one.running)

    def cache(self) -> HubCacheResult | None:
        """What is in the cache of the Hub, None before it was looked at."""
        return self._cache

    def error(self) -> ErrorReport | None:
        """Why the last scan failed altogether."""
        return self._error

    def find(self, path: str) -> ModelSummary | None:
        """The model at that path."""
        return next((model for model in self._models if model.path == path), None)

    @property
    def is_busy(self) -> bool:
        """Whether a scan is under way."""
        return self._busy

    @property
    def is_scanned(self) -> bool:
        """Whether the first scan has been answered."""
        return self._scanned

    def rescan(self) -> None:
        """Looks at all places again; a scan under way is dropped for the new one."""
        self._set_busy(True)
        self._scan()

    def _scan(self) -> None:
        """The cache first: what lies in it tells where to look."""
        folders = tuple(self._settings.value("model_folders"))
        self._questions.ask(HubCacheJob(folders=folders), self._take_cache, self._scan_without, owner=self)

    def _take_cache(self, answer: Value) -> None:
        assert isinstance(answer, HubCacheResult)
        self._cache = answer
        self._scan_models()

    def _scan_without(self, report: ErrorReport) -> None:
        self._cache = None
        self._scan_models()

    def _scan_models(self) -> None:
        self._questions.ask(ScanJob(paths=tuple(self._places())), self._take, self._fail, owner=self)

    def add(self, path: str) -> None:
        """Adds a folder or a file to the list for good, and looks at it; `arrived` or `refused` follows.

        A folder in Hugging Face layout is one model; any other folder is searched. The Hub's cache is in it anyway.
        """
        place = str(Path(path).absolute())
        self._awaited.add(place)
        hidden = tuple(known for known in self._settings.value("hidden_models") if not _is_within(known, place))
        self._settings.set("hidden_models", hidden)
        if repo_in(place):
            self.rescan()
            return
        key = "model_folders" if _is_collection(Path(place)) else "model_files"
        if place not in self._settings.value(key):
            self._settings.set(key, (*self._settings.value(key), place))
        else:
            self.rescan()

    def include(self, path: str) -> None:
        """Adds a file or folder without announcing it: the output of a job."""
        self.add(path)
        self._awaited.discard(str(Path(path).absolute()))

    def remove(self, path: str) -> None:
        """Takes a model off the list; its file stays where it is."""
        files = self._settings.value("model_files")
        if path in files:
            self._settings.set("model_files", tuple(file for file in files if file != path))
        self._settings.set("hidden_models", tuple({*self._settings.value("hidden_models"), path}))

    def _places(self) -> list[str]:
        sample = sample_path()
        places = [*self._settings.value("model_folders"), *self._settings.value("model_files")]
        here = [place for place in places if Path(place).exists()]
        return ([str(sample)] if sample else []) + here + self._cached_places()

    def _cached_places(self) -> list[str]:
        """The models of the revisions in the cache that have a name, or of the latest one."""
        places = []
        for repo in self._cache.repos if self._cache else ():
            named = [revision for revision in repo.revisions if revision.refs] or list(repo.revisions[:1])
            for revision in named:
                files = [str(Path(revision.folder) / name) for name in revision.models]
                places += files or [revision.folder]
        return places

    def _watch_places(self) -> None:
        """The folders of the settings and of the models in them, and the cache down to the revisions."""
        roots = list(self._settings.value("model_folders"))
        folders = [*roots]
        for model in self._models:
            root = next((root for root in roots if _is_within(model.path, root)), "")
            folders += folders_between(model.path, root) if root else [str(Path(model.path).parent)]
        if self._cache is not None:
            folders.append(self._cache.root)
            for repo in self._cache.repos:
                folders += [str(Path(repo.folder) / "snapshots"), *(revision.folder for revision in repo.revisions)]
        self._watch.watch(folders)

    def _take(self, answer: Value) -> None:
        assert isinstance(answer, ScanResult)
        hidden = set(self._settings.value("hidden_models"))
        models = [model for model in answer.models if model.path not in hidden]
        self._models = tuple(sorted(models, key=_order))
        begun = {one.repo for one in self.partial() if one.repo}
        self._problems = tuple(
            problem for problem in answer.problems if problem.path not in hidden and repo_in(problem.path) not in begun
        )
        self._error = None
        self._settle()

    def _fail(self, report: ErrorReport) -> None:
        self._error = report
        self._settle()

    def _settle(self) -> None:
        self._scanned = True
        self._watch_places()
        self._set_busy(False)
        self.changed.emit()
        awaited, self._awaited = self._awaited, set()
        for place in sorted(awaited):
            self._report(place)

    def _report(self, place: str) -> None:
        found = next((model.path for model in self._models if _is_within(model.path, place)), None)
        problem = next((known.problem for known in self._problems if _is_within(known.path, place)), None)
        if found:
            self.arrived.emit(found)
        else:
            self.refused.emit(place, problem or self.tr("There is no model in it."))

    def _set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self.busy_changed.emit(busy)

    def _on_setting(self, key: str) -> None:
        if key in SCANNED_KEYS:
            self.rescan()


def _order(model: ModelSummary) -> tuple[bool, str, str]:
    return not model.is_sample, shown_name(model).casefold(), model.path


def _is_within(path: str, place: str) -> bool:
    """Whether a path is that place or below it, links followed."""
    real, real_place = Path(path).resolve(), Path(place).resolve()
    return real == real_place or real_place in real.parents


def _is_collection(path: Path) -> bool:
    """Whether a path is a folder to be searched rather than one model in Hugging Face layout."""
    return path.is_dir() and not (path / "config.json").is_file()

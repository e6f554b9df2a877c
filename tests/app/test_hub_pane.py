"""The Hub's pane with a Hub on this machine: search, badges, pages, downloads, and what is said where nothing comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from app.hub_fits import HubFits
from app.hub_search import HubSearch, plain_query
from app.main_window import MainWindow
from core.errors import ErrorReport, HubOffline
from core.jobs import HubModel, SearchJob, SearchResult
from tests.app.accessibility import nameless, silent
from tests.hub_models import llama_repo
from tests.hub_server import HubServer, Repo

WAIT_MS = 180_000
TOKEN = "hf_TokenOfThisTest0123456789"
LONG = "an-organisation-with-a-long-name/a-model-whose-name-goes-on-and-on-and-on-instruct-preview-2026-11-distilled"
HUGE = "big/huge"
GATED = "meta/gated"


@pytest.fixture(scope="module")
def server(sample: Path):
    gguf = sample.read_bytes()
    repos = {
        "owner/small": llama_repo(2, 256, downloads=900),
        GATED: llama_repo(2, 256, downloads=800, access={TOKEN}),
        HUGE: llama_repo(80, 16_384, downloads=700),
        LONG: llama_repo(2, 256, downloads=600),
        "owner/quants": Repo({f"small-{kind}.gguf": gguf for kind in ("Q4_0", "Q8_0")} | {"README.md": b"# Quants"},
                             tags=("gguf",), downloads=500, library="gguf"),
        "owner/nothing": Repo({"README.md": b"# Nothing"}, downloads=400),
    }  # fmt: skip
    with HubServer(repos) as made:
        made.tokens = {TOKEN}
        made.page = 4
        yield made


@pytest.fixture
def hub(server: HubServer, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    server.log.clear()
    return server


@pytest.fixture
def pane(window: MainWindow, hub, qtbot):
    page = window.page("models")
    page.search_hub()
    page.hub.search._timer.setInterval(0)
    return page.hub


def rows(pane) -> list[str]:
    return [row.name for row in pane.results.model.rows]


def find(pane, qtbot, words: str = "") -> None:
    pane.filters.query.setText(words)
    if not words:
        pane._show_trending()
    qtbot.waitUntil(lambda: pane.search.job is not None and not pane.search.is_busy, timeout=WAIT_MS)


def open_page(pane, qtbot, repo: str):
    assert pane.results.select(repo)
    qtbot.waitUntil(lambda: pane.inspector.page is not None and pane.inspector.page.repo == repo, timeout=WAIT_MS)
    return pane.inspector


def wait_for_badge(pane, qtbot, repo: str):
    qtbot.waitUntil(lambda: pane.fits.badge(repo).level not in ("", "asked"), timeout=WAIT_MS)
    return pane.fits.badge(repo)


def test_search_page_badge_and_download(window: MainWindow, pane, hub, qtbot):
    """The window's part of the whole way: search, badge, page, download, in the library."""
    assert pane.results.state() is pane.states.begin
    assert hub.log == [], "nothing is sent before the user looks for something"
    find(pane, qtbot, "  small ")
    assert rows(pane) == ["owner/small"]
    assert wait_for_badge(pane, qtbot, "owner/small").level == "fits"
    inspector = open_page(pane, qtbot, "owner/small")
    assert "A Llama" in inspector.card.words()
    assert "window.stolen" not in inspector.card.words()
    reasons = {file.name: file.skipped for file in inspector.files.rows}
    assert not reasons["model.safetensors"]
    assert "pickled" in reasons["pytorch_model.bin"]
    assert (nameless(window), silent(window)) == ([], [])
    find(pane, qtbot, "quants")
    inspector = open_page(pane, qtbot, "owner/quants")
    wait_for_badge(pane, qtbot, "owner/quants")
    inspector.choice.variant.setCurrentIndex(inspector.choice.variant.findData("small-Q4_0.gguf"))
    with qtbot.waitSignal(window.context.library.changed, timeout=WAIT_MS):
        qtbot.mouseClick(inspector.download, Qt.MouseButton.LeftButton)
        assert window.page("models").downloads.panel.isVisible()
    qtbot.waitUntil(lambda: "small-Q4_0" in library_names(window), timeout=WAIT_MS)
    assert not window.page("models").downloads.panel.isVisible()
    qtbot.waitUntil(lambda: bool(inspector.page and inspector.choice.chosen.here), timeout=WAIT_MS)
    assert inspector.local.isVisible()
    qtbot.mouseClick(inspector.local, Qt.MouseButton.LeftButton)
    assert window.page("models").selected().path.endswith("small-Q4_0.gguf")
    assert [model.repo for model in pane.shelf.recent()] == ["owner/quants", "owner/small"]


def library_names(window: MainWindow) -> list[str]:
    from app.models.library import shown_name

    return [shown_name(model) for model in window.context.library.models()]


def test_filters_pages_favourites_and_states(window: MainWindow, pane, hub, qtbot, monkeypatch):
    window.resize(1024, 700)
    find(pane, qtbot)
    qtbot.waitUntil(lambda: pane.search.has_more or len(rows(pane)) > 4, timeout=WAIT_MS)
    assert set(rows(pane)) == set(hub.repos)
    assert wait_for_badge(pane, qtbot, HUGE).level == "not"
    assert wait_for_badge(pane, qtbot, GATED).level == "failed"
    column = pane.results.model.column_of("fit")
    shown = {row.name: pane.results.model.COLUMNS[column].value(row) for row in pane.results.model.rows}
    assert (shown[HUGE], shown[GATED]) == ("Too large", "Unknown")
    # a long name
    inspector = open_page(pane, qtbot, LONG)
    assert inspector._title.toolTip() == LONG
    assert pane.results.view.horizontalScrollBar().maximum() == 0
    pane._star(inspector.model)
    # gated
    inspector = open_page(pane, qtbot, GATED)
    assert "accept its terms" in inspector.access.text()
    assert inspector.again.isVisible()
    assert not inspector.download.isEnabled()
    hub.repos[GATED].access = None
    qtbot.mouseClick(inspector.again, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(inspector.download.isEnabled, timeout=WAIT_MS)
    assert not inspector.access.isVisible()
    hub.repos[GATED].access = {TOKEN}
    # nothing to quantize
    inspector = open_page(pane, qtbot, "owner/nothing")
    assert "Nothing of it can be quantized" in inspector._amount.text()
    # filters, and nothing found
    pane.filters.format.setCurrentIndex(pane.filters.format.findData("gguf"))
    qtbot.waitUntil(lambda: rows(pane) == ["owner/quants"], timeout=WAIT_MS)
    find(pane, qtbot, "no model has this name")
    assert pane.results.state() is pane.states.none
    assert not inspector.isVisible()
    # offline: at once, and what was kept is still there
    hub.stop()
    try:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        window.context.hub.renew()
        find(pane, qtbot, "small")
        assert pane.results.state() is pane.states.offline
        assert "without a network" in pane.states.offline.words()
        pane._scopes.button(1).click()
        assert rows(pane) == [LONG]
    finally:
        hub.start()
        monkeypatch.delenv("HF_HUB_OFFLINE")
    # another context is asked about anew
    window.context.hub.renew()
    pane.filters.context.setCurrentIndex(pane.filters.context.findData(8192))
    assert window.context.settings.value("hub_context") == 8192
    qtbot.waitUntil(lambda: pane.fits.badge(LONG).result is not None, timeout=WAIT_MS)
    assert pane.fits.badge(LONG).result.context == 8192


class Answers:
    """A worker that answers when told to."""

    def __init__(self):
        self.asked, self.open = [], {}

    def ask(self, job, on_result, on_error=None, owner=None):
        self.open[owner] = (job, on_result, on_error)
        self.asked.append(job)

    def drop(self, owner):
        self.open.pop(owner, None)


def found(*names: str, more: str = "") -> SearchResult:
    return SearchResult(query="", endpoint="", models=tuple(HubModel(repo=name) for name in names), next_page=more)


def test_typing_asks_once_and_forgets_what_is_stale(qtbot):
    answers = Answers()
    search = HubSearch(answers)
    for words in ("l", "ll", "lla", "llama"):
        search.look_for(SearchJob(query=words))
    qtbot.waitUntil(lambda: bool(answers.asked), timeout=WAIT_MS)
    assert [job.query for job in answers.asked] == ["llama"]
    search.look_for(SearchJob(query="qwen"))
    assert not answers.open, "the answer to what is no longer looked for is not wanted"
    qtbot.waitUntil(lambda: len(answers.asked) == 2, timeout=WAIT_MS)
    answers.open[search][1](found("a/one", "a/two", more="p2"))
    assert [model.repo for model in search.models()] == ["a/one", "a/two"]
    search.more()
    search.more()
    assert [job.page for job in answers.asked] == ["", "", "p2"]
    answers.open[search][1](found("a/three"))
    assert len(search.models()) == 3
    assert not search.has_more
    search.look_for(SearchJob(query=" qwen  "))
    assert not search.is_busy, "the same is not asked twice"
    search.again()
    answers.open[search][2](ErrorReport.of(HubOffline("https://x", "no route")))
    assert search.error.kind == "HubOffline"
    assert len(search.models()) == 3, "what was found stays in sight"


def test_one_badge_at_a_time_and_only_of_what_is_in_sight(qtbot):
    answers = Answers()
    fits = HubFits(answers, 4096)
    fits.want(["a/1", "a/2", "a/3"])
    assert [job.repo for job in answers.asked] == ["a/1"]
    fits.want(["a/9"])
    answers.open[fits][2](ErrorReport("HubGated", "gated", "", ""))
    assert [job.repo for job in answers.asked] == ["a/1", "a/9"]
    answers.open[fits][2](ErrorReport("HubOffline", "offline", "", ""))
    fits.want(["a/1", "a/9"])
    assert [job.repo for job in answers.asked] == ["a/1", "a/9", "a/9"], "what failed for good is not asked again"
    fits.set_context(8192)
    assert fits.badge("a/1").level == ""


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("  two   words ", "two words"),
        ("https://huggingface.co/owner/name", "owner/name"),
        ("https://huggingface.co/owner/name/tree/main?x=1", "owner/name"),
        ("https://huggingface.co/owner", "https://huggingface.co/owner"),
    ],
)
def test_an_address_is_looked_up_as_its_model(typed, query):
    assert plain_query(typed) == query

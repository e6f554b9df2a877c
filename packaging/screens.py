"""`make screens`: photographs every page of the real window, after real jobs on the sample, into build/screens/.

Files are named PAGE-WIDTHxHEIGHT-THEME.png. The window runs in this process with its own data and configuration
folders and real worker processes; each step waits until the window has the answer it asked for.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "screens"
SIZES = ((1024, 700), (1280, 800), (1920, 1080))
THEMES = ("light", "dark")
# A 16-bit copy of the sample comes first, so that the other jobs start from where a user should: not from 4 bits.
ORIGINAL, *TARGETS = ("F16", "Q6_K", "Q4_K_M")
TENSOR = "blk.12.ffn_down.weight"
QUESTION = "Explain in two sentences why the sky is blue."
PATIENCE_MS = 180_000
HEARTBEAT_MS = 20


@dataclass
class Stage:
    """The window on show: a helper of the steps below.

    jobs: ids of the quantize jobs, in their order. measured: of an evaluation and a ranking. hub: one on this machine.
    """

    application: Any
    window: Any
    sample: str
    output_folder: Path
    jobs: list[str]
    hub: Any = None
    measured: list[str] = field(default_factory=list)

    def wait(self, what: str, is_there: Callable[[], bool]) -> None:
        """Runs the window until something is there. Raises TimeoutError after three minutes."""
        from PySide6.QtCore import QDeadlineTimer, QEventLoop, QTimer

        deadline = QDeadlineTimer(PATIENCE_MS)
        heart = QTimer()
        heart.start(HEARTBEAT_MS)
        while not is_there():
            if deadline.hasExpired():
                raise TimeoutError(f"waited too long for {what}")
            self.application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)

    def settle(self) -> None:
        """Waits until no question is open, then lets everything be laid out and drawn."""
        self.wait("answers of the light worker", lambda: not self.window.context.questions.is_busy)
        self.wait("what is timed", lambda: not self.window.context.timings.is_busy)
        self.wait("the Hub", lambda: not self.window.context.hub.is_busy and not self.window.context.fits.is_busy)
        for _ in range(3):
            self.application.processEvents()

    def photograph(self, name: str) -> None:
        """One picture for each size and theme."""
        for theme in THEMES:
            self.window.context.settings.set("theme", theme)
            for width, height in SIZES:
                self.window.resize(width, height)
                self.settle()
                self.window.status.say("")  # a message would name this machine's folders
                path = FOLDER / f"{name}-{width}x{height}-{theme}.png"
                self.window.grab().save(str(path))
                print(path.relative_to(ROOT), flush=True)

    def output(self, target: str) -> str:
        """Where the job for `target` writes."""
        from core.catalog import output_name

        return str(self.output_folder / output_name(Path(self.sample), target))


def raise_stage(folder: Path) -> Stage:
    """Opens the window as the program does, and waits for the sample to be in the library."""
    sys.path.insert(0, str(ROOT))
    from app import bootstrap, logs
    from core.catalog import sample_path

    logs.open_logs()
    application = bootstrap.make_application()
    window = bootstrap.open_window()
    # Errors belong on the terminal here, not in a dialog that nobody sees.
    sys.excepthook = sys.__excepthook__
    window.context.settings.set("output_folder", str(folder / "Models"))
    (folder / "Models").mkdir()
    window.show()
    stage = Stage(application, window, str(sample_path()), folder / "Models", [])
    stage.wait("the library", lambda: bool(window.context.library.models()))
    return stage


# ---------------------------------------------------------------- one function per page: brings it to what is shown


def show_models(stage: Stage) -> None:
    """The sample with its tensors, and the histogram of one of them: alone, or later beside what was made of it."""
    stage.window.show_page("models")
    page = stage.window.page("models")
    page.select(stage.sample)
    stage.wait("the sample's tensors", lambda: bool(page.selected() and page.selected().tensors))
    page.local.inspector.tensor_table.select(TENSOR)
    stage.settle()


def show_quantize(stage: Stage) -> None:
    """The plan of the sample for the recommended type."""
    stage.window.quantize(stage.sample)
    page = stage.window.page("quantize")
    stage.wait("the model", lambda: page.plan is not None)
    page.gguf.pane.allow.setChecked(True)
    stage.wait("the plan", page.button.isEnabled)


def show_several(stage: Stage) -> None:
    """Several types at once, after a recipe, with a faulty rule beside good ones."""
    from core.recipes import find_recipe

    page = stage.window.page("quantize")
    page.gguf.pane.load(find_recipe("published-set"))
    stage.wait("the plans", lambda: len(page.planner.plans) == len(page.gguf.pane.targets))


def show_rules(stage: Stage) -> None:
    """Rules by pattern, one of them no expression."""
    from core.jobs import Override
    from core.recipes import find_recipe

    page = stage.window.page("quantize")
    page.gguf.pane.load(find_recipe("best-4bit"))
    rules = (("attn_(v|qkv)", "Q6_K"), ("blk\\.(0|1|2)\\.", "Q8_0"), ("ffn_(down", "Q5_0"))
    page.gguf.pane.rules.model.set_overrides(tuple(Override(tensor=name, type=kind) for name, kind in rules))
    page.gguf.pane.tabs.setCurrentIndex(1)
    stage.wait("the plan", lambda: page.plan is not None and any(row.rule for row in page.plan.tensors))


def show_advanced(stage: Stage) -> None:
    """The rare options."""
    page = stage.window.page("quantize")
    page.gguf.pane.tabs.setCurrentIndex(2)
    page.gguf.pane.recipes.save_button.setChecked(True)


def show_methods(stage: Stage) -> None:
    """The same model as a folder, to be made into a checkpoint."""
    from tests.core.hf_sample import build_hf_sample

    folder = stage.output_folder / "SmolLM2-135M-Instruct"
    stage.window.quantize(str(build_hf_sample(folder)))
    page = stage.window.page("quantize")
    page.goal_row.choose("checkpoint")
    page.checkpoint.pane.apply({"group": 64})  # the sample's rows of 576 are no multiple of 128
    stage.wait("the plan", page.button.isEnabled)


def show_refusal(stage: Stage) -> None:
    """A form that cannot hold what is chosen, with the button that mends it."""
    pane = stage.window.page("quantize").checkpoint.pane
    pane.cards.choose("int")
    pane.apply({"export": "awq"})
    stage.wait("the refusal", lambda: not stage.window.page("quantize").problem.isHidden())


def show_method_settings(stage: Stage) -> None:
    """What GPTQ can be told."""
    page = stage.window.page("quantize")
    page.checkpoint.pane.cards.choose("gptq")
    page.checkpoint.pane.apply({"samples": 8, "length": 128, "group": 64})
    page.checkpoint.pane.tabs.setCurrentIndex(1)
    stage.wait("the plan", page.button.isEnabled)


def show_method_rules(stage: Stage) -> None:
    """Mixed precision by pattern."""
    from core.jobs import MethodRule

    page = stage.window.page("quantize")
    rules = page.checkpoint.pane.rules
    rules.set_rules((MethodRule(pattern="down_proj", bits=8), MethodRule(pattern="layers\\.0\\.", keep=True)))
    rules.table.view.selectRow(0)
    page.checkpoint.pane.tabs.setCurrentIndex(2)
    stage.wait("the plan", page.button.isEnabled)


def show_solving(stage: Stage) -> None:
    """GPTQ under way, with the errors of the layers solved so far."""
    page = stage.window.page("quantize")
    page.checkpoint.pane.rules.set_rules(())
    stage.wait("the plan", page.button.isEnabled)
    page.button.click()
    queue = stage.window.context.jobs
    stage.wait("the job", lambda: queue.running() is not None)
    stage.jobs.append(queue.running())
    stage.window.page("jobs").select(stage.jobs[-1])
    stage.wait("some layers", lambda: len(queue.measured(stage.jobs[-1])) > 60)


def show_figures(view: str) -> Callable[[Stage], None]:
    """What GPTQ found, in one of the views of its result."""

    def show(stage: Stage) -> None:
        store = stage.window.context.store
        stage.wait("the checkpoint", lambda: bool(store.get(stage.jobs[-1]).finished))
        show_results(view)(stage)

    return show


def show_running(stage: Stage) -> None:
    """A job under way and others waiting."""
    stage.jobs.append(submit(stage, stage.sample, ORIGINAL))
    stage.jobs.extend(submit(stage, stage.output(ORIGINAL), target) for target in TARGETS)
    stage.window.show_page("jobs")
    queue = stage.window.context.jobs
    stage.wait("the second job", lambda: queue.running() == stage.jobs[1] and queue.snapshot() is not None)
    stage.wait("its progress", lambda: queue.snapshot() is None or queue.snapshot().done > 0)


def submit(stage: Stage, source: str, target: str) -> str:
    """Puts a quantization into the window's queue and returns its id."""
    from core.jobs import QuantizeJob, QuantizeOptions

    options = QuantizeOptions(target=target, allow_requantize=source == stage.sample)
    return stage.window.context.jobs.submit(QuantizeJob(source=source, output=stage.output(target), options=options))


def show_jobs(stage: Stage) -> None:
    """Every job ended."""
    store = stage.window.context.store
    stage.wait("the jobs", lambda: all(store.get(job).finished for job in stage.jobs))
    states = [store.get(job).state for job in stage.jobs]
    if set(states) != {"done"}:
        raise RuntimeError(f"the jobs ended as {states}")
    stage.window.show_page("jobs")


def show_results(view: str) -> Callable[[Stage], None]:
    """The last job's result, in one of its views."""

    def show(stage: Stage) -> None:
        stage.window.show_result(stage.jobs[-1])
        stage.window.page("results").show_view(view)

    return show


def show_measure(stage: Stage) -> None:
    """What is to be measured, beginning with a model that was just made."""
    from core.jobs import EvaluateJob, QuantizeOptions, SensitivityJob

    original, models = stage.output(ORIGINAL), tuple(map(stage.output, TARGETS))
    queue = stage.window.context.jobs
    options = QuantizeOptions(target=TARGETS[-1])
    stage.measured = [
        queue.submit(EvaluateJob(source=original, models=models, context=256, chunks=4)),
        queue.submit(SensitivityJob(source=original, options=options, by="layer", context=128, chunks=4)),
    ]
    stage.window.measure(models[-1])


def show_comparison(tab: int) -> Callable[[Stage], None]:
    """The models made so far against their original, in one of the tabs."""

    def show(stage: Stage) -> None:
        store, job = stage.window.context.store, stage.measured[0]
        stage.wait("the evaluation", lambda: store.get(job).finished is not None)
        stage.window.show_result(job)
        stage.window.page("results").comparison.tabs.setCurrentIndex(tab)

    return show


def show_ranking(stage: Stage) -> None:
    """How sensitive each layer is."""
    store, job = stage.window.context.store, stage.measured[1]
    stage.wait("the ranking", lambda: store.get(job).finished is not None)
    stage.window.show_result(job)


def show_chat(stage: Stage) -> None:
    """The last result beside its source, both with an answer to the same question."""
    stage.window.context.settings.set("chat_temperature", 0.0)
    stage.window.chat(stage.output(TARGETS[-1]), stage.output(ORIGINAL))
    page = stage.window.page("chat")
    page.send(QUESTION)
    stage.wait("the answers", lambda: not page.conversation.is_busy)


# ---------------------------------------------------------------- the Hub: a small one on this machine

LONG = "an-organisation-with-a-long-name/a-model-whose-name-goes-on-and-on-instruct-preview-2026-11-distilled"
GATED, QUANTS, LARGE = "guarded/Terms-3B-Instruct", "quants/SmolLM2-135M-Instruct-GGUF", "big/Huge-70B"
SLOW = 400_000


def make_hub(sample: Path) -> Any:
    """A Hub with models of all sizes, whose weights are only pretended to be there, and GGUF files of the sample."""
    from tests.hub_models import llama_repo
    from tests.hub_server import HubServer, Repo

    quants = {f"SmolLM2-135M-Instruct-{kind}.gguf": sample.read_bytes() for kind in ("Q4_K_M", "Q6_K", "Q8_0")}
    repos = {
        "small/Tiny-150M-Instruct": llama_repo(12, 768, downloads=1_534_201, likes=812),
        "middle/Seven-7B-Instruct": llama_repo(32, 4096, downloads=905_112, likes=1790),
        GATED: llama_repo(28, 2560, downloads=2_810_394, likes=1412, access={"hf_another"}),
        LONG: llama_repo(8, 1024, downloads=412, likes=3),
        QUANTS: Repo(quants | {"README.md": b"# Quants"}, tags=("gguf",), downloads=20_311, likes=20, library="gguf"),
        LARGE: llama_repo(80, 8192, downloads=120_000, likes=900),
        **{f"collector/model-{number:02}": llama_repo(2, 256, downloads=99 - number) for number in range(14)},
    }
    hub = HubServer(repos)
    hub.page = 50
    return hub


def show_hub_begin(stage: Stage) -> None:
    """Before anything is looked for."""
    stage.window.search_hub()


def find_on_hub(stage: Stage, words: str) -> Any:
    """Searches, and waits for the models and their badges."""
    pane = stage.window.page("models").hub
    pane.filters.query.setText(words)
    if not words:
        pane.begin_state.findChildren(_button())[0].click()
    stage.wait("the search", lambda: pane.search.job is not None and not pane.search.is_busy)
    stage.settle()
    return pane


def show_hub_model(repo: str, tab: int) -> Callable[[Stage], None]:
    """The page of one model at one of its tabs."""

    def show(stage: Stage) -> None:
        stage.window.search_hub()
        pane = find_on_hub(stage, "")
        pane.results.select(repo)
        stage.wait("its page", lambda: pane.inspector.page is not None and pane.inspector.page.repo == repo)
        pane.inspector.tabs.setCurrentIndex(tab)

    return show


def show_hub_nothing(stage: Stage) -> None:
    """A search that finds nothing."""
    find_on_hub(stage, "no model has this name")


def show_hub_offline(stage: Stage) -> None:
    """A search without a network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    stage.window.context.hub.renew()
    find_on_hub(stage, "offline")
    del os.environ["HF_HUB_OFFLINE"]
    stage.window.context.hub.renew()


def show_downloads(stage: Stage) -> None:
    """Downloads: one under way, one paused, one that failed; what they have left in the list of this computer."""
    from core.jobs import DownloadJob

    window, jobs = stage.window, stage.window.context.jobs
    stage.hub.faults.rate = SLOW
    ids = [jobs.submit(DownloadJob(repo=repo, include=("*Q6_K*",) * (repo == QUANTS))) for repo in (QUANTS, GATED)]
    stage.wait("the refusal", lambda: window.context.store.get(ids[1]).state == "failed")
    stage.wait("some bytes", lambda: bool(jobs.snapshot(ids[0])) and jobs.snapshot(ids[0]).done > 0)
    jobs.pause(ids[0])
    stage.wait("the pause", lambda: window.context.store.get(ids[0]).state == "paused")
    jobs.submit(DownloadJob(repo=QUANTS, include=("*Q8_0*",)))
    page = window.page("models")
    page.show_local()
    window.show_page("models")
    library = window.context.library
    library.rescan()
    stage.wait("the list", lambda: not library.is_busy and bool(library.partial()))
    page.select(library.partial()[0].name)


def _button() -> type:
    from PySide6.QtWidgets import QPushButton

    return QPushButton


def show_settings(stage: Stage) -> None:
    """The settings."""
    stage.window.show_page("settings")


STEPS: dict[str, Callable[[Stage], None]] = {
    "models-first": show_models,
    "quantize": show_quantize,
    "quantize-several": show_several,
    "quantize-rules": show_rules,
    "quantize-advanced": show_advanced,
    "jobs-running": show_running,
    "jobs": show_jobs,
    "models": show_models,
    "results": show_results("errors"),
    "results-layers": show_results("layers"),
    "results-size": show_results("size"),
    "measure": show_measure,
    "comparison": show_comparison(0),
    "comparison-kinds": show_comparison(1),
    "comparison-tokens": show_comparison(2),
    "sensitivity": show_ranking,
    "chat": show_chat,
    "settings": show_settings,
    "hub-begin": show_hub_begin,
    "hub-card": show_hub_model("middle/Seven-7B-Instruct", 0),
    "hub-files": show_hub_model(LONG, 1),
    "hub-memory": show_hub_model(QUANTS, 2),
    "hub-gated": show_hub_model(GATED, 0),
    "hub-nothing": show_hub_nothing,
    "hub-offline": show_hub_offline,
    "downloads": show_downloads,
    "quantize-methods": show_methods,
    "quantize-refused": show_refusal,
    "quantize-method-settings": show_method_settings,
    "quantize-method-rules": show_method_rules,
    "jobs-solving": show_solving,
    "results-solved": show_figures("solved"),
    "results-clipping": show_figures("clipping"),
    "results-activations": show_figures("activations"),
}


def main() -> int:
    """Takes all pictures, or those named as arguments that need none before them, and closes the window."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bitwright-") as name:
        folder = Path(name)
        os.environ.update({f"BITWRIGHT_{kind}_DIR": str(folder / kind.lower()) for kind in ("DATA", "CONFIG", "LOG")})
        # No token, cache or keyring of the user's is looked at, and no network.
        os.environ.update(HF_HUB_CACHE=str(folder / "hub"), NO_PROXY="*")
        os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
        os.environ.pop("HF_TOKEN", None)
        os.environ["HF_TOKEN_PATH"] = str(folder / "no-token")
        stage = raise_stage(folder)
        with make_hub(Path(stage.sample)) as hub:
            os.environ["HF_ENDPOINT"] = hub.endpoint
            stage.hub = hub
            try:
                for page in sys.argv[1:] or STEPS:
                    STEPS[page](stage)
                    stage.photograph(page)
            finally:
                stage.window.close_unasked()
    return 0


if __name__ == "__main__":
    sys.exit(main())

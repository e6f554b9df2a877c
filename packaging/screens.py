"""`make screens`: photographs every page of the real window, after real jobs on the sample, into build/screens/.

Files are named PAGE-WIDTHxHEIGHT-THEME.png. The window runs in this process with its own data and configuration
folders and real worker processes; each step waits until the window has the answer it asked for. A page that cannot be
brought to what is shown is left out and named at the end; the others are still photographed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
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
# The longest single wait is for GPTQ on the sample, on a machine that is busy with something else.
PATIENCE_MS = 1_200_000
HEARTBEAT_MS = 20
CHECK_MS = 2000


@dataclass
class Stage:
    """The window on show: a helper of the steps below.

    jobs: ids of the quantize jobs, in their order. solving: the id of a GPTQ job. measured: of an evaluation and a
    ranking. hub: one on this machine. shown: what is photographed in the place of the window. folder, sizes: of the
    pictures.
    """

    application: Any
    window: Any
    sample: str
    output_folder: Path
    folder: Path
    sizes: tuple[tuple[int, int], ...]
    jobs: list[str] = field(default_factory=list)
    solving: str = ""
    hub: Any = None
    measured: list[str] = field(default_factory=list)
    shown: Any = None

    def wait(self, what: str, is_there: Callable[[], bool]) -> None:
        """Runs the window until something is there. Raises TimeoutError where it does not come."""
        from PySide6.QtCore import QDeadlineTimer, QEventLoop, QTimer

        deadline, next_check = QDeadlineTimer(PATIENCE_MS), QDeadlineTimer(CHECK_MS)
        heart = QTimer()
        heart.start(HEARTBEAT_MS)
        while not is_there():
            if deadline.hasExpired():
                raise TimeoutError(f"waited too long for {what}")
            if next_check.hasExpired():
                self.check_jobs()
                next_check = QDeadlineTimer(CHECK_MS)
            self.application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)

    def check_jobs(self) -> None:
        """Raises RuntimeError where a job ended in another way than it should: nothing will come of it."""
        for job in (*self.jobs, *self.measured, *filter(None, [self.solving])):
            record = self.window.context.store.get(job)
            if record.state == "failed":
                raise RuntimeError(f"a job failed: {record.error}")

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
            for width, height in self.sizes:
                self.window.resize(width, height)
                self.settle()
                self.window.status.say("")  # a message would name this machine's folders
                path = self.folder / f"{name}-{width}x{height}-{theme}.png"
                (self.shown or self.window).grab().save(str(path))
                print(path, flush=True)
        if self.shown is not None:
            self.shown.close()
            self.shown = None

    def output(self, target: str) -> str:
        """Where the job for `target` writes."""
        from core.catalog import output_name

        return str(self.output_folder / output_name(Path(self.sample), target))


def raise_stage(folder: Path, pictures: Path, sizes: tuple[tuple[int, int], ...]) -> Stage:
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
    stage = Stage(application, window, str(sample_path()), folder / "Models", pictures, sizes)
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
    queue, store = stage.window.context.jobs, stage.window.context.store
    stage.solving = next(record.id for record in store.summaries() if record.job.kind == "checkpoint")
    stage.window.page("jobs").select(stage.solving)
    stage.wait(
        "some layers", lambda: len(queue.measured(stage.solving)) > 60 or bool(store.get(stage.solving).finished)
    )


def show_figures(view: str) -> Callable[[Stage], None]:
    """What GPTQ found, in one of the views of its result."""

    def show(stage: Stage) -> None:
        store = stage.window.context.store
        stage.wait("the checkpoint", lambda: bool(store.get(stage.solving).finished))
        show_view(stage, stage.solving, view)

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
    stage.window.show_page("jobs")


def show_results(view: str) -> Callable[[Stage], None]:
    """The last job's result, in one of its views."""

    def show(stage: Stage) -> None:
        show_view(stage, stage.jobs[-1], view)

    return show


def show_view(stage: Stage, job: str, view: str) -> None:
    """The result of a job, in one of its views."""
    stage.window.show_result(job)
    stage.window.page("results").show_view(view)


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
        pane.states.begin.findChildren(_button())[0].click()
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


def show_settings_end(stage: Stage) -> None:
    """What is below on the page of settings."""
    stage.window.enter_token()


def show_publish(stage: Stage) -> None:
    """The form to publish with, before anything is sent."""
    from app.dialogs.publish import PublishDialog

    stage.window.publish(stage.sample)
    dialog = stage.window.findChildren(PublishDialog)[-1]
    stage.wait("the card", lambda: dialog.preview is not None)
    stage.shown = dialog


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
    "settings-end": show_settings_end,
    "publish": show_publish,
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


# What has to be done before a step that is asked for alone.
BEFORE = {
    "quantize-several": "quantize",
    "quantize-rules": "quantize",
    "quantize-advanced": "quantize",
    "jobs": "jobs-running",
    "models": "jobs",
    "results": "jobs",
    "results-layers": "jobs",
    "results-size": "jobs",
    "measure": "jobs",
    "comparison": "measure",
    "comparison-kinds": "measure",
    "comparison-tokens": "measure",
    "sensitivity": "measure",
    "chat": "jobs",
    "quantize-refused": "quantize-methods",
    "quantize-method-settings": "quantize-methods",
    "quantize-method-rules": "quantize-method-settings",
    "jobs-solving": "quantize-method-settings",
    "results-solved": "jobs-solving",
    "results-clipping": "jobs-solving",
    "results-activations": "jobs-solving",
}


def take(stage: Stage, pages: list[str]) -> list[str]:
    """Photographs pages, what comes before them done first; returns those that could not be."""
    done: set[str] = set()
    failed = []

    def bring(page: str) -> None:
        if page in BEFORE and BEFORE[page] not in done:
            bring(BEFORE[page])
        STEPS[page](stage)
        done.add(page)

    for page in pages:
        try:
            bring(page)
            stage.photograph(page)
        except Exception:
            traceback.print_exc()
            failed.append(page)
    return failed


def asked() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Photographs the pages of the window.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"of {', '.join(STEPS)}; all where none is named")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of the pictures")
    parser.add_argument("--size", action="append", metavar="WIDTHxHEIGHT", help="may be repeated")
    options = parser.parse_args()
    unknown = set(options.pages) - set(STEPS)
    if unknown:
        parser.error(f"there is no page {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Takes all pictures, or those named as arguments, and closes the window."""
    options = asked()
    sizes = tuple((int(w), int(h)) for w, h in (size.split("x") for size in options.size or ())) or SIZES
    pictures = options.out.absolute()
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bitwright-") as name:
        folder = Path(name)
        os.environ.update({f"BITWRIGHT_{kind}_DIR": str(folder / kind.lower()) for kind in ("DATA", "CONFIG", "LOG")})
        # No token, cache or keyring of the user's is looked at, and no network.
        os.environ.update(HF_HUB_CACHE=str(folder / "hub"), NO_PROXY="*")
        os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
        os.environ.pop("HF_TOKEN", None)
        os.environ["HF_TOKEN_PATH"] = str(folder / "no-token")
        stage = raise_stage(folder, pictures, sizes)
        with make_hub(Path(stage.sample)) as hub:
            os.environ["HF_ENDPOINT"] = hub.endpoint
            stage.hub = hub
            try:
                failed = take(stage, options.pages or list(STEPS))
            finally:
                stage.window.close_unasked()
    if failed:
        print(f"not photographed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

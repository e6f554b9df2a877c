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

    jobs: ids of the quantize jobs, in their order. measured: of an evaluation and a ranking.
    """

    application: Any
    window: Any
    sample: str
    output_folder: Path
    jobs: list[str]
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
    page.inspector.tensor_table.select(TENSOR)
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
    """Takes all pictures and closes the window."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bitwright-") as name:
        folder = Path(name)
        os.environ.update({f"BITWRIGHT_{kind}_DIR": str(folder / kind.lower()) for kind in ("DATA", "CONFIG", "LOG")})
        stage = raise_stage(folder)
        try:
            for page, show in STEPS.items():
                show(stage)
                stage.photograph(page)
        finally:
            stage.window.close_unasked()
    return 0


if __name__ == "__main__":
    sys.exit(main())
